// SPDX-License-Identifier: MIT
// The legacy image of U-Boot: a header of 64 bytes, big-endian, and the data; or several parts
// (type "multi"), each behind a list of their sizes (U-Boot, doc/usage: mkimage).
#include <zlib.h>

#include <array>

#include "tool/image/bytes.h"
#include "tool/image/reader.h"

namespace khop::image {
namespace {

constexpr uint64_t kHeaderSize = 64;
constexpr uint64_t kOffsetOfHeaderCrc = 4;
constexpr uint64_t kOffsetOfSize = 12;
constexpr uint64_t kOffsetOfDataCrc = 24;
constexpr uint64_t kOffsetOfOs = 28;
constexpr uint64_t kOffsetOfArch = 29;
constexpr uint64_t kOffsetOfType = 30;
constexpr uint64_t kOffsetOfName = 32;
constexpr uint8_t kLinux = 5;
constexpr uint8_t kArm64 = 22;
constexpr uint8_t kKernel = 2;
constexpr uint8_t kMulti = 4;
constexpr size_t kMaxParts = 16;

Result<uint32_t> Crc(Source& file, Slice slice) {
  std::vector<std::byte> buffer(size_t{256} << 10);
  uLong crc = crc32_z(0, nullptr, 0);
  for (uint64_t at = 0; at < slice.size;) {
    const auto size = std::min<uint64_t>(buffer.size(), slice.size - at);
    const auto got =
        file.ReadAt(std::span(buffer).first(static_cast<size_t>(size)), slice.offset + at);
    if (!got) return Forward(got);
    if (*got == 0) break;
    crc = crc32_z(crc, reinterpret_cast<const Bytef*>(buffer.data()), *got);
    at += *got;
  }
  return static_cast<uint32_t>(crc);
}

// Kernel, initrd, device tree: in this order, as U-Boot takes them.
Result<Slice> ReadParts(Reader& reader, Slice data, uint32_t depth) {
  const auto list = reader.file.Read(data, (kMaxParts + 1) * 4);
  if (!list) return Forward(list);
  std::vector<uint32_t> sizes;
  for (uint64_t at = 0;; at += 4) {
    const auto size = ReadBig<uint32_t>(*list, at);
    if (!size || sizes.size() > kMaxParts) return reader.Damaged("its list of parts");
    if (*size == 0) break;
    sizes.push_back(*size);
  }
  if (sizes.empty()) return reader.Damaged("it has no parts");
  std::vector<Slice> parts;
  uint64_t at = data.offset + 4 * (sizes.size() + 1);
  for (size_t i = 0; i < sizes.size(); ++i) {
    const Slice part{at, sizes[i]};
    const std::string name = "part " + std::to_string(i + 1);
    if (const auto within = reader.CheckWithin(part, data, "its " + name); !within) {
      return Forward(within);
    }
    if (i == 1) reader.contents.initrds.push_back({name, part});
    if (i == 2) reader.contents.trees.push_back({name, part});
    if (i > 0) {
      reader.AddItem(depth, name, i == 1 ? "an initrd" : i == 2 ? "a device tree" : "a part", part);
    }
    parts.push_back(part);
    at += (uint64_t{sizes[i]} + 3) & ~uint64_t{3};
  }
  return parts.front();
}

}  // namespace

Result<void> ReadUImage(Reader& reader, Slice where, std::span<const std::byte> head,
                        uint32_t depth, const std::string& name) {
  if (head.size() < kHeaderSize) {
    return reader.Fails(ExitCode::kTruncated, "the uImage header is cut short",
                        "get the file again");
  }
  std::array<std::byte, kHeaderSize> header;
  std::copy_n(head.begin(), kHeaderSize, header.begin());
  const uint32_t header_crc = *ReadBig<uint32_t>(header, kOffsetOfHeaderCrc);
  for (size_t i = 0; i < 4; ++i) header[kOffsetOfHeaderCrc + i] = std::byte{0};
  if (crc32_z(0, reinterpret_cast<const Bytef*>(header.data()), header.size()) != header_crc) {
    return reader.Damaged("the checksum of the uImage header is wrong");
  }
  const uint8_t arch = std::to_integer<uint8_t>(header[kOffsetOfArch]);
  const uint8_t os = std::to_integer<uint8_t>(header[kOffsetOfOs]);
  const uint8_t type = std::to_integer<uint8_t>(header[kOffsetOfType]);
  if (arch != kArm64) {
    return reader.Fails(ExitCode::kOtherArchitecture, "this uImage is not for arm64",
                        "give one for arm64");
  }
  if (os != kLinux || (type != kKernel && type != kMulti)) {
    return reader.Fails(ExitCode::kNotAKernel, "this uImage holds no Linux kernel",
                        "give an arm64 kernel");
  }
  const Slice data{where.offset + kHeaderSize, *ReadBig<uint32_t>(header, kOffsetOfSize)};
  if (const auto within = reader.CheckWithin(data, where, "the uImage"); !within) return within;
  const auto crc = Crc(reader.file, data);
  if (!crc) return Forward(crc);
  if (*crc != *ReadBig<uint32_t>(header, kOffsetOfDataCrc)) {
    return reader.Damaged("the checksum of the uImage's data is wrong");
  }
  std::string title(reinterpret_cast<const char*>(header.data()) + kOffsetOfName, 32);
  title.resize(std::min(title.find('\0'), title.size()));
  reader.contents.formats.emplace_back("uImage");
  reader.AddItem(depth, name, std::string(Describe(Format::kUImage).name), where, title);
  if (type == kKernel) return reader.ReadKernel(data, depth + 1, "data");
  const auto kernel = ReadParts(reader, data, depth + 1);
  if (!kernel) return Forward(kernel);
  return reader.ReadKernel(*kernel, depth + 1, "part 1");
}

}  // namespace khop::image
