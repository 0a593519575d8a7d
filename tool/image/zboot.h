// SPDX-License-Identifier: MIT
// EFI zboot: a small EFI program with a compressed Image, as CONFIG_EFI_ZBOOT makes it (Linux,
// include/linux/pe.h: "struct linux_efi_zboot_header" as documented there).
#pragma once

#include <string>

#include "tool/image/source.h"

namespace khop::image {

// Compressors whose data does not end with the unpacked size have it appended: older kernels count
// these bytes as payload.
inline constexpr uint64_t kZbootTail = 4;

struct Zboot {
  Slice payload;            // relative to the image
  std::string compression;  // "gzip", "zstd22", …
};

// `head`: its first kHeadSize bytes, or all of it. Errors: kTruncated, kOtherArchitecture.
Result<Zboot> ParseZboot(std::span<const std::byte> head, uint64_t file_size,
                         const std::string& name);

}  // namespace khop::image
