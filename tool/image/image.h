// SPDX-License-Identifier: MIT
// The raw arm64 kernel: Image (Documentation/arch/arm64/booting.rst of Linux).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tool/base/error.h"

namespace khop::image {

// How many bytes from the start of a file ParseImage() and Identify() want to see: enough for the
// headers of every format. Fewer do if the file is shorter.
inline constexpr size_t kHeadSize = 4096;
// Kernels are placed relative to a multiple of this.
inline constexpr uint64_t kImageAlignment = uint64_t{2} << 20;

struct ImageHeader {
  // Bytes that the kernel lies above a 2 MiB boundary. 0x80000 for kernels before 3.17 whatever
  // they say.
  uint64_t text_offset = 0;
  // Bytes in memory from the first byte on, BSS included: at least the file's size.
  uint64_t image_size = 0;
  // The header says how much memory it needs. If not (before 3.17), image_size is an estimate.
  bool image_size_known = true;
  uint64_t file_size = 0;
  uint32_t page_size = 0;  // bytes: 4096, 16384, 65536; 0: not said
  // The 2 MiB boundary may be anywhere; else it should be as near to the start of RAM as can be, as
  // memory below it is lost to the kernel.
  bool placed_anywhere = false;
  uint32_t pe_offset = 0;  // 0: no PE header, so the kernel has no EFI stub
};

// Reads the header. `head` is the first kHeadSize bytes of the file, or all of it if it is shorter;
// `name` is the path, for messages.
// Errors: kFileEmpty; kNotAKernel (says what the file is instead); kTruncated (shorter than the
// header, or than the sections of its PE header); kBigEndian.
Result<ImageHeader> ParseImage(std::span<const std::byte> head, uint64_t file_size,
                               std::string_view name);

// Whether the kernel can start on this machine as far as khop can prove: its page size is that of
// the running kernel, or the header does not say, or `other_is_known`: every CPU is known to have
// it too. Errors: kPageSize.
Result<void> CheckPageSize(const ImageHeader& header, uint64_t running_page_size,
                           bool other_is_known, std::string_view name);

// The kernel's release ("6.12.94+deb13-arm64"), from the banner "Linux version …" in its contents.
// `content` is any stretch of the file that may hold it. Empty if it is not there.
std::string FindRelease(std::span<const std::byte> content);

// The same in bytes that come one stretch after the other.
class VersionScan {
 public:
  void Add(std::span<const std::byte> bytes);
  const std::string& version() const { return version_; }

 private:
  std::vector<std::byte> kept_;
  std::string version_;
};

}  // namespace khop::image
