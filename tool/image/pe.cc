// SPDX-License-Identifier: MIT
#include "tool/image/pe.h"

#include <algorithm>

#include "tool/image/bytes.h"

namespace khop::image {
namespace {

constexpr uint64_t kOffsetOfPeOffset = 0x3c;
constexpr uint64_t kCoffSize = 20;  // the file header, after the 4 bytes of signature
constexpr uint64_t kSectionSize = 40;

// In the optional header of PE32+: the number of data directories, and the one that tells where in
// the file the certificates are.
constexpr uint16_t kPe32Plus = 0x20b;
constexpr uint64_t kOffsetOfDirectoryCount = 108;
constexpr uint32_t kCertificateDirectory = 4;
constexpr uint64_t kOffsetOfCertificates = 112 + 8 * kCertificateDirectory;

}  // namespace

uint64_t PeHeaders::FileEnd() const {
  uint64_t end = certificates_end;
  for (const PeSection& s : sections) {
    // A section without bytes in the file (BSS) may point anywhere.
    if (s.file_bytes != 0) end = std::max(end, uint64_t{s.file_offset} + s.file_bytes);
  }
  return end;
}

bool PeHeaders::HasSection(std::string_view name) const {
  return std::ranges::any_of(sections, [&](const PeSection& s) { return s.name == name; });
}

std::optional<PeHeaders> ParsePe(std::span<const std::byte> head) {
  if (!HasAt(head, 0, "MZ")) return std::nullopt;
  const auto offset = ReadLittle<uint32_t>(head, kOffsetOfPeOffset);
  if (!offset || !HasAt(head, *offset, std::string_view("PE\0\0", 4))) return std::nullopt;
  const uint64_t coff = uint64_t{*offset} + 4;
  const auto machine = ReadLittle<uint16_t>(head, coff);
  const auto count = ReadLittle<uint16_t>(head, coff + 2);
  const auto optional_size = ReadLittle<uint16_t>(head, coff + 16);
  if (!machine || !count || !optional_size) return std::nullopt;
  PeHeaders pe = {.offset = *offset, .machine = *machine, .sections = {}};
  const uint64_t optional = coff + kCoffSize;
  if (*optional_size >= kOffsetOfCertificates + 8 &&
      ReadLittle<uint16_t>(head, optional) == kPe32Plus &&
      ReadLittle<uint32_t>(head, optional + kOffsetOfDirectoryCount).value_or(0) >
          kCertificateDirectory) {
    const auto start = ReadLittle<uint32_t>(head, optional + kOffsetOfCertificates);
    const auto size = ReadLittle<uint32_t>(head, optional + kOffsetOfCertificates + 4);
    if (start && size && *size != 0) pe.certificates_end = uint64_t{*start} + *size;
  }
  const uint64_t table = coff + kCoffSize + *optional_size;
  for (uint64_t i = 0; i < *count; ++i) {
    const uint64_t entry = table + i * kSectionSize;
    const auto memory_bytes = ReadLittle<uint32_t>(head, entry + 8);
    const auto file_bytes = ReadLittle<uint32_t>(head, entry + 16);
    const auto file_offset = ReadLittle<uint32_t>(head, entry + 20);
    if (!memory_bytes || !file_bytes || !file_offset || head.size() < entry + kSectionSize) {
      return std::nullopt;
    }
    std::string name(reinterpret_cast<const char*>(head.data() + entry), 8);
    name.resize(std::min(name.find('\0'), name.size()));
    pe.sections.push_back({std::move(name), *file_offset, *file_bytes, *memory_bytes});
  }
  return pe;
}

}  // namespace khop::image
