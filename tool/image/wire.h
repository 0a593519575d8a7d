// SPDX-License-Identifier: MIT
// Contents as bytes, from the process that read a file to the one that asked.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "tool/image/contents.h"

namespace khop::image {

// More than this is not listed.
inline constexpr size_t kMaxItems = 1000;

std::vector<std::byte> ToBytes(const Contents& contents);

// The reader is not trusted: every number is checked against the file's size and what can be.
// Errors: kInternal.
Result<Contents> FromBytes(std::span<const std::byte> bytes, uint64_t file_size);

}  // namespace khop::image
