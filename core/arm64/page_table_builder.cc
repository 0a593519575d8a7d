// SPDX-License-Identifier: MIT
#include "core/arm64/page_table_builder.h"

#include <cstddef>
#include <limits>

namespace khop::arm64 {
namespace {

// Adjacent entries of one table.
struct Run {
  int level;
  uint64_t count;
};

// The next entries to write for `size` bytes from virt to phys: at the level of the largest leaf
// that fits, up to the end of that table or of what this size of leaf can map.
Run NextRun(PageGeometry geometry, VirtAddr virt, PhysAddr phys, uint64_t size) {
  for (int level = geometry.start_level(); level < PageGeometry::kLastLevel; ++level) {
    const uint64_t span = geometry.entry_span(level);
    if (geometry.is_leaf_level(level) && size >= span && IsAligned(virt.value | phys.value, span)) {
      const uint64_t to_table_end = geometry.entries(level) - geometry.index(virt, level);
      const uint64_t fitting = size >> geometry.level_shift(level);
      return {level, fitting < to_table_end ? fitting : to_table_end};
    }
  }
  constexpr int kPages = PageGeometry::kLastLevel;
  const uint64_t to_table_end = geometry.entries(kPages) - geometry.index(virt, kPages);
  const uint64_t pages = size >> geometry.granule_shift();
  return {kPages, pages < to_table_end ? pages : to_table_end};
}

bool EndsWithin(uint64_t start, uint64_t size, uint64_t limit) {
  return start < limit && size <= limit - start;
}

}  // namespace

std::expected<void, Error> CheckMapping(PageGeometry geometry, const Mapping& mapping) {
  for (const uint64_t value : {mapping.virt.value, mapping.phys.value, mapping.size}) {
    if (!IsAligned(value, geometry.granule_size())) {
      return std::unexpected(Error{ErrorCode::kNotAligned, value});
    }
  }
  if (mapping.size == 0 ||
      (mapping.access == Access::kExecute && mapping.type != MemoryType::kNormal)) {
    return std::unexpected(Error{ErrorCode::kInvalidArgument, mapping.virt.value});
  }
  if (!EndsWithin(mapping.virt.value, mapping.size, geometry.va_size())) {
    return std::unexpected(Error{ErrorCode::kOutOfRange, mapping.virt.value});
  }
  if (!EndsWithin(mapping.phys.value, mapping.size, uint64_t{1} << kOutputAddressBits)) {
    return std::unexpected(Error{ErrorCode::kOutOfRange, mapping.phys.value});
  }
  return {};
}

PageTableSizer::PageTableSizer(PageGeometry geometry) : geometry_(geometry) {
  last_table_.fill(std::numeric_limits<uint64_t>::max());
}

std::expected<void, Error> PageTableSizer::Add(const Mapping& mapping) {
  if (auto checked = CheckMapping(geometry_, mapping); !checked) {
    return checked;
  }
  for (uint64_t done = 0; done < mapping.size;) {
    const VirtAddr virt = mapping.virt + done;
    const Run run = NextRun(geometry_, virt, mapping.phys + done, mapping.size - done);
    for (int level = geometry_.start_level() + 1; level <= run.level; ++level) {
      const uint64_t table = virt.value >> geometry_.level_shift(level - 1);
      uint64_t& last = last_table_[static_cast<size_t>(level)];
      if (last != table) {
        last = table;
        ++pages_;
      }
    }
    done += run.count << geometry_.level_shift(run.level);
  }
  return {};
}

std::expected<uint64_t, Error> PageTablePages(PageGeometry geometry,
                                              std::span<const Mapping> mappings) {
  PageTableSizer sizer(geometry);
  for (const Mapping& mapping : mappings) {
    if (auto added = sizer.Add(mapping); !added) {
      return std::unexpected(added.error());
    }
  }
  return sizer.pages();
}

std::expected<PageTableBuilder, Error> PageTableBuilder::Make(PageGeometry geometry,
                                                              std::span<uint64_t> memory,
                                                              PhysAddr memory_phys) {
  if (!IsAligned(memory_phys.value, geometry.granule_size())) {
    return std::unexpected(Error{ErrorCode::kNotAligned, memory_phys.value});
  }
  if (!EndsWithin(memory_phys.value, memory.size_bytes(), uint64_t{1} << kOutputAddressBits)) {
    return std::unexpected(Error{ErrorCode::kOutOfRange, memory_phys.value});
  }
  PageTableBuilder builder(geometry, memory, memory_phys);
  if (auto root = builder.AllocateTable(); !root) {
    return std::unexpected(root.error());
  }
  return builder;
}

std::expected<PhysAddr, Error> PageTableBuilder::AllocateTable() {
  if (pages_used_ == pages_available()) {
    return std::unexpected(Error{ErrorCode::kOutOfMemory, pages_available()});
  }
  const PhysAddr table = memory_phys_ + (pages_used_ << geometry_.granule_shift());
  ++pages_used_;
  for (uint64_t& entry : TableAt(table)) {
    entry = 0;
  }
  return table;
}

std::span<uint64_t> PageTableBuilder::TableAt(PhysAddr table) const {
  return memory_.subspan((table - memory_phys_) / sizeof(uint64_t), geometry_.entries_per_table());
}

std::expected<std::span<uint64_t>, Error> PageTableBuilder::FindTable(VirtAddr virt,
                                                                      int target_level) {
  std::span<uint64_t> table = TableAt(root());
  for (int level = geometry_.start_level(); level < target_level; ++level) {
    uint64_t& entry = table[geometry_.index(virt, level)];
    const Descriptor descriptor = Descriptor::FromRaw(entry);
    if (!descriptor.valid()) {
      const auto next = AllocateTable();
      if (!next) {
        return std::unexpected(next.error());
      }
      entry = TableDescriptor::To(*next).raw;
    } else if (!descriptor.is_table(level)) {
      return std::unexpected(Error{ErrorCode::kOverlap, virt.value});
    }
    table = TableAt(TableDescriptor::FromRaw(entry).table());
  }
  return table;
}

std::expected<void, Error> PageTableBuilder::Map(const Mapping& mapping) {
  if (auto checked = CheckMapping(geometry_, mapping); !checked) {
    return checked;
  }
  for (uint64_t done = 0; done < mapping.size;) {
    VirtAddr virt = mapping.virt + done;
    PhysAddr phys = mapping.phys + done;
    const Run run = NextRun(geometry_, virt, phys, mapping.size - done);
    const auto table = FindTable(virt, run.level);
    if (!table) {
      return std::unexpected(table.error());
    }
    const uint64_t span = geometry_.entry_span(run.level);
    const uint64_t group = geometry_.contiguous_entries(run.level);
    const uint64_t group_span = geometry_.contiguous_span(run.level);
    const uint64_t first = geometry_.index(virt, run.level);
    uint64_t group_left = 0;  // entries still to come of a group joined by the Contiguous bit
    for (uint64_t i = 0; i < run.count; ++i) {
      uint64_t& entry = (*table)[first + i];
      if (Descriptor::FromRaw(entry).valid()) {
        return std::unexpected(Error{ErrorCode::kOverlap, virt.value});
      }
      if (group > 1 && group_left == 0 && run.count - i >= group &&
          IsAligned(virt.value | phys.value, group_span)) {
        group_left = group;
      }
      entry = LeafDescriptor::To(run.level, phys, mapping.access, mapping.type)
                  .With<LeafDescriptor::CONTIGUOUS>(group_left != 0 ? 1 : 0)
                  .raw;
      group_left -= group_left != 0 ? 1 : 0;
      virt = virt + span;
      phys = phys + span;
    }
    done += run.count << geometry_.level_shift(run.level);
  }
  return {};
}

}  // namespace khop::arm64
