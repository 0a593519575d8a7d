// SPDX-License-Identifier: MIT
#include "tool/image/elf.h"

#include <algorithm>

#include "tool/image/bytes.h"

namespace khop::image {
namespace {

// Offsets in Elf64_Ehdr and Elf64_Phdr.
constexpr uint64_t kHeaderSize = 64;
constexpr uint64_t kOffsetOfPhoff = 32;
constexpr uint64_t kOffsetOfPhentsize = 54;
constexpr uint64_t kOffsetOfPhnum = 56;
constexpr uint64_t kProgramHeaderSize = 56;
constexpr uint32_t kLoad = 1;  // PT_LOAD
constexpr uint16_t kMaxHeaders = 256;

}  // namespace

Result<std::vector<ElfSegment>> ParseElf(Source& file, Slice where, const std::string& name) {
  const auto cut = [&](const std::string& what) {
    return Fail(ExitCode::kTruncated, name, what + " is cut short", "get the file again");
  };
  const auto damaged = [&](const std::string& why) {
    return Fail(ExitCode::kDamagedImage, name, "the ELF file is damaged: " + why,
                "get the file again");
  };
  const auto header = file.Read(where, kHeaderSize);
  if (!header) return Forward(header);
  if (header->size() < kHeaderSize) return cut("the ELF header");
  const uint64_t table = *ReadLittle<uint64_t>(*header, kOffsetOfPhoff);
  const uint16_t entry = *ReadLittle<uint16_t>(*header, kOffsetOfPhentsize);
  const uint16_t count = *ReadLittle<uint16_t>(*header, kOffsetOfPhnum);
  if (count == 0) {
    return Fail(ExitCode::kUnsupportedImage, name, "the ELF file has no segments: it is no program",
                "give vmlinux itself");
  }
  if (entry != kProgramHeaderSize || count > kMaxHeaders) return damaged("its program headers");
  const uint64_t table_size = uint64_t{count} * kProgramHeaderSize;
  if (table > where.size || where.size - table < table_size) return cut("the ELF program headers");
  const auto headers =
      file.Read({where.offset + table, table_size}, static_cast<size_t>(table_size));
  if (!headers) return Forward(headers);
  if (headers->size() < table_size) return cut("the ELF program headers");

  struct Load {
    Slice in_file;
    uint64_t physical;
    uint64_t in_memory;
  };
  std::vector<Load> loads;
  for (uint64_t at = 0; at < table_size; at += kProgramHeaderSize) {
    if (*ReadLittle<uint32_t>(*headers, at) != kLoad) continue;
    const Load load{
        {*ReadLittle<uint64_t>(*headers, at + 8), *ReadLittle<uint64_t>(*headers, at + 32)},
        *ReadLittle<uint64_t>(*headers, at + 24),
        *ReadLittle<uint64_t>(*headers, at + 40)};
    if (load.in_file.size == 0) continue;  // BSS
    if (load.in_file.size > load.in_memory) return damaged("a segment is larger than its memory");
    if (load.in_file.offset > where.size || where.size - load.in_file.offset < load.in_file.size) {
      return cut("a segment of the ELF file");
    }
    loads.push_back(load);
  }
  if (loads.empty()) return damaged("no segment has anything in it");
  std::ranges::sort(loads, {}, &Load::physical);
  std::vector<ElfSegment> segments;
  uint64_t end = 0;
  for (const Load& load : loads) {
    const uint64_t at = load.physical - loads.front().physical;
    if (at < end) return damaged("its segments overlap");
    if (at > UINT64_MAX - load.in_file.size) return damaged("a segment's address");
    end = at + load.in_file.size;
    segments.push_back({load.in_file, at});
  }
  return segments;
}

}  // namespace khop::image
