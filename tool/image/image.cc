// SPDX-License-Identifier: MIT
#include "tool/image/image.h"

#include <algorithm>

#include "tool/image/bytes.h"
#include "tool/image/identify.h"
#include "tool/image/pe.h"

namespace khop::image {
namespace {

// Offsets of the header's fields (booting.rst, "Call the kernel image").
constexpr uint64_t kHeaderSize = 64;
constexpr uint64_t kOffsetOfTextOffset = 8;
constexpr uint64_t kOffsetOfImageSize = 16;
constexpr uint64_t kOffsetOfFlags = 24;
constexpr uint64_t kOffsetOfPeOffset = 60;

constexpr uint64_t kFlagBigEndian = 1U << 0;
constexpr uint64_t kFlagPlacedAnywhere = 1U << 3;

constexpr uint64_t kOldTextOffset = 0x80000;
// Old headers do not tell how large BSS is; booting.rst says "as much memory as possible".
constexpr uint64_t kOldKernelSlack = uint64_t{16} << 20;
// Code reaches its data by ADRP, +-4 GiB, so nothing larger can be a kernel.
constexpr uint64_t kMaxImageSize = uint64_t{4} << 30;

constexpr std::string_view kGetAgain = "get the file again";

std::unexpected<Failure> Truncated(std::string_view name, uint64_t file_size, uint64_t wanted) {
  return Fail(ExitCode::kTruncated, name,
              "the kernel is cut short: it has " + std::to_string(file_size) +
                  " bytes of at least " + std::to_string(wanted),
              kGetAgain);
}

uint32_t PageSize(uint64_t flags) {
  switch (flags >> 1 & 3) {
    case 1:
      return 4096;
    case 2:
      return 16384;
    case 3:
      return 65536;
    default:
      return 0;
  }
}

}  // namespace

Result<ImageHeader> ParseImage(std::span<const std::byte> head, uint64_t file_size,
                               std::string_view name) {
  if (file_size == 0 || head.empty()) {
    return Fail(ExitCode::kFileEmpty, name, "the file is empty", "give an arm64 kernel");
  }
  if (head.size() < std::min<uint64_t>(file_size, kHeadSize)) {
    return Fail(ExitCode::kTruncated, name, "the file became shorter while it was read", kGetAgain);
  }
  const Format format = Identify(head);
  if (format != Format::kImage) {
    const FormatInfo info = Describe(format);
    return Fail(ExitCode::kNotAKernel, name,
                "this is not an arm64 kernel Image but " + std::string(info.name), info.todo);
  }
  const auto text_offset = ReadLittle<uint64_t>(head, kOffsetOfTextOffset);
  const auto image_size = ReadLittle<uint64_t>(head, kOffsetOfImageSize);
  const auto flags = ReadLittle<uint64_t>(head, kOffsetOfFlags);
  const auto pe_offset = ReadLittle<uint32_t>(head, kOffsetOfPeOffset);
  if (!text_offset || !image_size || !flags || !pe_offset) {
    return Truncated(name, file_size, kHeaderSize);
  }

  ImageHeader header;
  header.file_size = file_size;
  if (*image_size == 0) {
    // Before 3.17: text_offset is of the kernel's endianness, the flags mean nothing.
    header.text_offset = kOldTextOffset;
    header.image_size = file_size + kOldKernelSlack;
    header.image_size_known = false;
  } else {
    if ((*flags & kFlagBigEndian) != 0) {
      return Fail(ExitCode::kBigEndian, name, "the kernel is big-endian",
                  "give a little-endian one (CONFIG_CPU_LITTLE_ENDIAN)");
    }
    header.text_offset = *text_offset;
    // A signature behind the image may make the file the longer of the two.
    header.image_size = std::max(*image_size, file_size);
    header.page_size = PageSize(*flags);
    header.placed_anywhere = (*flags & kFlagPlacedAnywhere) != 0;
  }
  if (header.text_offset >= kImageAlignment || header.text_offset % 4096 != 0) {
    return Fail(ExitCode::kNotAKernel, name,
                "the kernel's header is damaged: text_offset is " + Hex(header.text_offset),
                kGetAgain);
  }
  if (file_size > kMaxImageSize || header.image_size > kMaxImageSize) {
    return Fail(ExitCode::kNotAKernel, name,
                "the kernel's header is damaged: it claims " + HumanBytes(header.image_size),
                kGetAgain);
  }
  if (const auto pe = ParsePe(head)) {
    header.pe_offset = pe->offset;
    if (pe->FileEnd() > file_size) return Truncated(name, file_size, pe->FileEnd());
  } else if (HasAt(head, 0, "MZ") && *pe_offset != 0 && file_size < kHeadSize) {
    // No kernel is that small: the PE header is not readable because the file ends within it.
    return Truncated(name, file_size, kHeadSize);
  }
  return header;
}

Result<void> CheckPageSize(const ImageHeader& header, uint64_t running_page_size,
                           bool other_is_known, std::string_view name) {
  if (header.page_size == 0 || header.page_size == running_page_size || other_is_known) return {};
  return Fail(ExitCode::kPageSize, name,
              "the kernel has pages of " + HumanBytes(header.page_size) +
                  " and the running one of " + HumanBytes(running_page_size) +
                  ", and these CPUs are not known to have it too",
              "give a kernel with pages of " + HumanBytes(running_page_size));
}

std::string FindRelease(std::span<const std::byte> content) {
  static constexpr std::string_view kBanner = "Linux version ";
  static constexpr size_t kMaxRelease = 64;  // __NEW_UTS_LEN
  const std::string_view text(reinterpret_cast<const char*>(content.data()), content.size());
  for (size_t at = text.find(kBanner); at != std::string_view::npos;
       at = text.find(kBanner, at + 1)) {
    const std::string_view rest = text.substr(at + kBanner.size(), kMaxRelease + 1);
    const size_t end = rest.find(' ');
    if (end == std::string_view::npos || end == 0) continue;
    const std::string_view release = rest.substr(0, end);
    const bool plausible =
        release.front() >= '0' && release.front() <= '9' &&
        std::ranges::all_of(release, [](char c) { return c > 0x20 && c < 0x7f; });
    if (plausible) return std::string(release);
  }
  return {};
}

void VersionScan::Add(std::span<const std::byte> bytes) {
  constexpr size_t kOverlap = 512;  // what a banner may straddle
  if (!version_.empty()) return;
  if (!kept_.empty()) {
    const size_t old = kept_.size();
    kept_.insert(kept_.end(), bytes.begin(),
                 bytes.begin() + static_cast<ptrdiff_t>(std::min(bytes.size(), kOverlap)));
    version_ = FindRelease(kept_);
    kept_.resize(old);
  }
  if (version_.empty()) version_ = FindRelease(bytes);
  if (bytes.size() >= kOverlap) kept_.assign(bytes.end() - kOverlap, bytes.end());
}

}  // namespace khop::image
