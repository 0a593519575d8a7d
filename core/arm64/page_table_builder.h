// SPDX-License-Identifier: MIT
// Builds stage 1 translation tables in memory that the caller provides, for a physical address
// where that memory will be when the tables are used. Nothing here touches a system register: the
// tables are data.
#pragma once

#include <array>
#include <cstdint>
#include <expected>
#include <span>

#include "core/arm64/descriptors.h"
#include "core/arm64/geometry.h"
#include "core/base/addr.h"
#include "core/base/error.h"

namespace khop::arm64 {

// [virt, virt + size) to [phys, phys + size). All three are multiples of the granule and size is
// not 0.
struct Mapping {
  VirtAddr virt;
  PhysAddr phys;
  uint64_t size = 0;
  Access access = Access::kReadOnly;
  MemoryType type = MemoryType::kNormal;
};

// The checks that need no tables: kNotAligned (the offending value); kOutOfRange (virt or phys) if
// an end is beyond the geometry's VA size or 2^48; kInvalidArgument (virt) for a size of 0, and for
// executable memory that is not Normal.
std::expected<void, Error> CheckMapping(PageGeometry geometry, const Mapping& mapping);

// Counts the table pages that mappings will take, without building them. Exact if the mappings
// come in ascending order of virtual address; otherwise an upper bound.
class PageTableSizer {
 public:
  explicit PageTableSizer(PageGeometry geometry);

  // Errors: as CheckMapping().
  std::expected<void, Error> Add(const Mapping& mapping);
  // Pages of one granule, the first-level table included.
  uint64_t pages() const { return pages_; }

 private:
  PageGeometry geometry_;
  uint64_t pages_ = 1;
  // Per level, which of its tables was counted last: what the virtual addresses in it have in
  // common.
  std::array<uint64_t, PageGeometry::kLastLevel + 1> last_table_;
};

// PageTableSizer over a list. Errors: as CheckMapping().
std::expected<uint64_t, Error> PageTablePages(PageGeometry geometry,
                                              std::span<const Mapping> mappings);

// Blocks and the Contiguous bit are used wherever the addresses and the size of one mapping allow.
class PageTableBuilder {
 public:
  // `memory` is used from its start on as tables are needed; its contents do not matter. The
  // builder keeps the span: it must outlive it. `memory_phys` is where the memory's first byte will
  // be when the tables are in use, aligned to the granule and with its end within 48 bits.
  // Errors: kNotAligned, kOutOfRange (memory_phys), kOutOfMemory (less than one page).
  static std::expected<PageTableBuilder, Error> Make(PageGeometry geometry,
                                                     std::span<uint64_t> memory,
                                                     PhysAddr memory_phys);

  // Errors: as CheckMapping(); kOverlap with the first virtual address that is already mapped,
  // whatever to; kOutOfMemory with the number of pages there are. CheckMapping()'s errors leave
  // the tables as they were. After one of the last two a part of the mapping may be in place: the
  // tables are not to be used any more.
  std::expected<void, Error> Map(const Mapping& mapping);

  // For TTBR0_ELx.
  PhysAddr root() const { return memory_phys_; }
  // Table pages in use; they are the first ones of the memory, without holes.
  uint64_t pages_used() const { return pages_used_; }
  PageGeometry geometry() const { return geometry_; }

 private:
  PageTableBuilder(PageGeometry geometry, std::span<uint64_t> memory, PhysAddr memory_phys)
      : geometry_(geometry), memory_(memory), memory_phys_(memory_phys) {}

  uint64_t pages_available() const { return memory_.size() / geometry_.entries_per_table(); }
  std::expected<PhysAddr, Error> AllocateTable();
  // The table's entries, in the memory at hand.
  std::span<uint64_t> TableAt(PhysAddr table) const;
  // The table of `level` that translates `virt`, made if it is not there.
  std::expected<std::span<uint64_t>, Error> FindTable(VirtAddr virt, int level);

  PageGeometry geometry_;
  std::span<uint64_t> memory_;
  PhysAddr memory_phys_;
  uint64_t pages_used_ = 0;
};

}  // namespace khop::arm64
