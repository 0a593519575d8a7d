// SPDX-License-Identifier: MIT
#include "tool/load/file_places.h"

#include <algorithm>
#include <array>
#include <optional>

#include "tool/devicetree/machine.h"

namespace khop::load {

using system::System;

namespace {

constexpr uint64_t kBlock = uint64_t{2} << 20;  // MIN_KIMG_ALIGN, and the most that a tree takes

// locate_mem_hole_bottom_up() of the first range that has room.
std::optional<PhysRange> Lowest(const Ranges& free, PhysAddr from, uint64_t size, uint64_t align) {
  for (const PhysRange& range : free) {
    const uint64_t start = AlignUp(std::max(range.start, from).value, align);
    if (start < range.end().value && size <= range.end().value - start) {
      return PhysRange{{start}, size};
    }
  }
  return std::nullopt;
}

}  // namespace

Ranges KexecFilePlaces(const Ranges& free, const PayloadSizes& sizes, uint64_t page_size) {
  const auto kernel =
      Lowest(free, {}, AlignUp(sizes.text_offset + sizes.image_size, page_size), kBlock);
  if (!kernel) return {};
  Ranges places = {*kernel};
  Ranges trees;
  if (sizes.initrd_size != 0) {
    const auto initrd =
        Lowest(free, kernel->end(), AlignUp(sizes.initrd_size, page_size), page_size);
    if (!initrd) return {};
    places.push_back(*initrd);
  }
  // How much the tree takes is not known, but not more than a block: all blocks down to a whole
  // one.
  for (size_t i = free.size(); i-- > 0;) {
    const uint64_t end = free[i].end().value;
    const uint64_t last = AlignDown(end - 1, kBlock);
    const uint64_t lowest = AlignUp(std::max(free[i].start, places.back().end()).value, kBlock);
    if (last < lowest) continue;
    const uint64_t start = std::max(lowest, last - kBlock);
    trees.push_back({{start}, end - start});
    if (end - start >= kBlock) break;
  }
  places.insert(places.end(), trees.rbegin(), trees.rend());
  return places;
}

Result<std::string> CheckGicAgainstKexecFile(System& system, const Prepared& prepared) {
  const system::LpiTables& tables = prepared.lpi_tables;
  static constexpr std::string_view kWhat = "route file";
  if (!tables.missing.empty()) {
    return Fail(ExitCode::kUnsafeSystem, kWhat,
                "the kernel log does not tell any more where the GIC keeps " + tables.missing +
                    " for LPIs, and the running kernel may put the next one there",
                "boot with a larger log_buf_len=, or take another route");
  }
  const auto reserved = devicetree::ReservedRanges(*prepared.tree);
  if (!reserved) return Forward(reserved);
  Ranges unreserved = tables.ranges;
  std::erase_if(unreserved, [&](const PhysRange& table) {
    return std::ranges::any_of(*reserved,
                               [&](const auto& entry) { return entry.range.Contains(table); });
  });
  if (unreserved.empty()) return std::string();

  const auto map = system::ReadMemoryMap(system);
  if (!map) return Forward(map);
  // The initrd's place is free again unless somebody wanted it kept: both are looked at.
  const std::array<Ranges, 2> views = {map->plain, PlainWithInitrd(system, *map)};
  for (const Ranges& free : views) {
    for (const PhysRange& place : KexecFilePlaces(free, prepared.sizes, system.PageSize())) {
      for (const PhysRange& table : unreserved) {
        if (!place.Overlaps(table)) continue;
        return Fail(ExitCode::kUnsafeSystem, kWhat,
                    "the running kernel would put the next one at " + Hex(place.start.value) +
                        ", over the GIC's tables for LPIs at " + Hex(table.start.value) +
                        ", which cannot be turned off",
                    "take another route, or hop by one once: the tables are reserved from then on");
      }
    }
  }
  return "the running kernel's tree for the next one does not reserve the GIC's tables for LPIs: "
         "the next kernel may warn \"Booted with LPIs enabled\", and give memory out that the GIC "
         "writes to";
}

}  // namespace khop::load
