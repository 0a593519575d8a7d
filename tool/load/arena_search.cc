// SPDX-License-Identifier: MIT
// The in-place route's pages: grow the pool, take the pages, see where they lie, until they hold
// the runs that are wanted.
#include <algorithm>

#include "tool/load/arena.h"
#include "tool/load/placement.h"

namespace khop::load {

using system::kHugePageSize;
using system::System;

namespace {

// There is enough memory, or nothing would have been taken: what is missing are whole pages of it.
std::unexpected<Failure> TooLittle(uint64_t pages, uint64_t had) {
  return Fail(ExitCode::kNoContiguousMemory, "memory for the next kernel",
              HumanBytes(pages * kHugePageSize) + " of 2 MiB pages are needed and " +
                  HumanBytes(had * kHugePageSize) + " could be had",
              "free memory, try after: echo 3 > /proc/sys/vm/drop_caches, or take --route gather");
}

}  // namespace

Result<Arena> Arena::Create(System& system, const system::MemoryMap& map, const Request& request,
                            const Journal& journal) {
  Arena arena(system);
  arena.record_.slot = request.slot;
  if (const auto found = arena.Search(map, request, journal); !found) return Forward(found);
  if (const auto settled = arena.SettlePools(); !settled) return Forward(settled);
  return arena;
}

Result<void> Arena::Search(const system::MemoryMap& map, const Request& request,
                           const Journal& journal) {
  uint64_t needed = 0;
  for (const uint64_t pages : request.run_pages) needed += pages;
  const uint64_t limit = std::max(needed, request.transient_limit / kHugePageSize);
  uint64_t taken = 0;
  std::vector<Extent> usable;
  uint64_t step = needed;
  bool exhausted = false;
  bool compacted = false;
  while (true) {
    const auto got = Grow(kHugePageSize, step, journal);
    if (!got) return Forward(got);
    if (*got < step && !compacted) {
      // The kernel gives up early. Whole pages may be had once it has put small ones together.
      compacted = true;
      (void)system::WriteFile(*system_, "/proc/sys/vm/compact_memory", "1\n");
    } else {
      exhausted = *got == 0;
    }
    if (*got != 0) {
      if (const auto added = AddSegment(request.slot, kHugePageSize, *got); !added) return added;
      taken += *got;
      const auto read = ForEachPage(record_.segments.size() - 1, [&](const Extent& page) {
        if (UsablePage(map, request.forbidden, {page.address, page.size})) usable.push_back(page);
      });
      if (!read) return read;
    }
    if (usable.size() >= needed) {
      std::ranges::sort(usable, {}, &Extent::address);
      std::vector<PhysAddr> addresses;
      std::ranges::transform(usable, std::back_inserter(addresses), &Extent::address);
      if (auto runs = FindRuns(addresses, request.run_pages)) {
        runs_ = std::move(*runs);
        break;
      }
    }
    const size_t segments_left = kSegmentsPerSlot - record_.segments.size();
    const uint64_t pages_left = limit > taken ? limit - taken : 0;
    if (exhausted || segments_left == 0 || pages_left == 0) {
      if (usable.size() < needed) return TooLittle(needed, usable.size());
      return Fail(ExitCode::kNoContiguousMemory, "memory for the next kernel",
                  std::to_string(usable.size()) + " pages of 2 MiB hold no run of " +
                      std::to_string(*std::ranges::max_element(request.run_pages)) + " in a row",
                  "free memory, load soon after boot, or take --route gather");
    }
    // Little at first, as every page beyond the need is one too many for a moment; then more and
    // more, so that the segments left reach the limit.
    step = std::min(pages_left, std::max<uint64_t>(4, pages_left >> (segments_left * 2 / 3)));
  }
  std::vector<Extent> wanted;
  for (const Extent& page : usable) {
    for (size_t r = 0; r < runs_.size(); ++r) {
      const PhysRange run{runs_[r], request.run_pages[r] * kHugePageSize};
      if (run.Contains(page.address)) wanted.push_back(page);
    }
  }
  return DropExcept(std::move(wanted));
}

}  // namespace khop::load
