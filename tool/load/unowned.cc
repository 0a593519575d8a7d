// SPDX-License-Identifier: MIT
#include "tool/load/unowned.h"

#include <algorithm>

namespace khop::load {
namespace {

Part PartNamed(const report::Plan& plan, std::string_view name, uint64_t page_size) {
  const auto segment = std::ranges::find(plan.segments, name, &report::Segment::name);
  if (segment == plan.segments.end()) return {};
  // The kernel's file may be larger than the memory that it asks for: it is all there then.
  const uint64_t file = name == "kernel" ? segment->file_bytes : segment->size;
  const PhysAddr start{segment->start};
  return {.file = {start, AlignUp(file, page_size)},
          .whole = {start, AlignUp(std::max(file, segment->size), page_size)}};
}

}  // namespace

Parts PartsOf(const report::Plan& plan, uint64_t page_size) {
  return {.kernel = PartNamed(plan, "kernel", page_size),
          .initrd = PartNamed(plan, "initrd", page_size),
          .dtb = PartNamed(plan, "dtb", page_size)};
}

Ranges AllDestinations(const report::Plan& plan, uint64_t page_size) {
  const Parts parts = PartsOf(plan, page_size);
  return Joined({parts.kernel.whole,
                 parts.initrd.whole,
                 parts.dtb.whole,
                 {PhysAddr{plan.control.start}, plan.control.size}});
}

Ranges FileDestinations(const Parts& parts) {
  Ranges files = {parts.kernel.file, parts.initrd.file, parts.dtb.file};
  std::erase_if(files, [](const PhysRange& range) { return range.empty(); });
  std::ranges::sort(files, {}, &PhysRange::start);
  return files;
}

Result<Ranges> FindBusyDestinations(system::System& system, const Loaded& loaded,
                                    std::span<const PhysRange> owned, system::Unflagged unflagged) {
  const Ranges all = AllDestinations(loaded.plan, system.PageSize());
  return system::FindBusy(system, Without(all, owned), unflagged);
}

}  // namespace khop::load
