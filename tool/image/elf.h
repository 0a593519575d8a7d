// SPDX-License-Identifier: MIT
// vmlinux: the segments of a 64-bit little-endian arm64 ELF file (System V ABI), as they lie in
// memory.
#pragma once

#include <string>
#include <vector>

#include "tool/image/source.h"

namespace khop::image {

struct ElfSegment {
  Slice in_file;    // relative to the ELF file
  uint64_t at = 0;  // from the lowest segment's physical address
};

// The loadable segments that have bytes in the file, ascending by `at`, without overlap; the first
// begins at 0. Errors: kTruncated, kDamagedImage, kUnsupportedImage.
Result<std::vector<ElfSegment>> ParseElf(Source& file, Slice where, const std::string& name);

}  // namespace khop::image
