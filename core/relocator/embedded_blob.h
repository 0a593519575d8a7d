// SPDX-License-Identifier: MIT
// The relocator blob as data inside a program.
#pragma once

#include <cstddef>
#include <span>

namespace khop::relocator {

// The whole blob, its BlobHeader first; static storage, never changes.
std::span<const std::byte> Blob();

}  // namespace khop::relocator
