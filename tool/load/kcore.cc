// SPDX-License-Identifier: MIT
#include "tool/load/kcore.h"

#include <elf.h>

#include <algorithm>
#include <cstring>
#include <span>

namespace khop::load {

std::vector<KcoreSegment> ReadKcoreSegments(system::System& system, int fd) {
  Elf64_Ehdr header;
  const auto got = ReadFully(system, fd, std::as_writable_bytes(std::span(&header, 1)), 0);
  if (!got || *got != sizeof(header) || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
      header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_phentsize != sizeof(Elf64_Phdr)) {
    return {};
  }
  std::vector<Elf64_Phdr> headers(header.e_phnum);
  const auto bytes = std::as_writable_bytes(std::span(headers));
  const auto read = ReadFully(system, fd, bytes, header.e_phoff);
  if (!read || *read != bytes.size()) return {};
  std::vector<KcoreSegment> segments;
  for (const Elf64_Phdr& segment : headers) {
    const bool known = segment.p_paddr != UINT64_MAX && segment.p_paddr != 0;
    if (segment.p_type != PT_LOAD || !known) continue;
    segments.push_back({{{segment.p_paddr}, segment.p_memsz}, segment.p_vaddr, segment.p_offset});
  }
  std::ranges::sort(segments, {}, &KcoreSegment::virt);
  return segments;
}

}  // namespace khop::load
