// SPDX-License-Identifier: MIT
// How an arena gets its pages: grow the pool, take the pages, see where they lie, until they hold
// the runs that are wanted.
#include <algorithm>
#include <cerrno>

#include "tool/load/arena.h"
#include "tool/load/placement.h"

namespace khop::load {

using system::kHugePageSize;
using system::System;

namespace {

// Makes the pool larger by up to `pages`; returns by how many it became.
Result<uint64_t> Grow(System& system, uint64_t pages, const Arena::Journal& journal) {
  const auto before = system::ReadHugePool(system);
  if (!before) return Forward(before);
  // Surplus pages (of an older arena, say) count towards the wanted number first: ask for them too.
  const uint64_t target = before->total + pages;
  if (const auto journalled = journal({before->persistent(), target}); !journalled) {
    return Forward(journalled);
  }
  if (const auto set = system::SetHugePool(system, target); !set) return Forward(set);
  const auto after = system::ReadHugePool(system);
  if (!after) return Forward(after);
  return after->total > before->total ? after->total - before->total : 0;
}

bool Usable(const system::MemoryMap& map, std::span<const PhysRange> forbidden, PhysRange page) {
  return map.IsPlain(page) &&
         std::ranges::none_of(forbidden, [&](PhysRange range) { return range.Overlaps(page); });
}

std::unexpected<Failure> TooLittle(uint64_t pages, uint64_t had) {
  return Fail(ExitCode::kNoMemory, "memory for the next kernel",
              HumanBytes(pages * kHugePageSize) + " of 2 MiB pages are needed and " +
                  HumanBytes(had * kHugePageSize) + " could be had",
              "free memory, or try after: echo 3 > /proc/sys/vm/drop_caches");
}

}  // namespace

Result<void> Arena::Search(const system::MemoryMap& map, const Request& request,
                           const Journal& journal) {
  uint64_t needed = 0;
  for (const uint64_t pages : request.run_pages) needed += pages;
  const uint64_t limit = std::max(needed, request.transient_limit / kHugePageSize);
  std::vector<ArenaPage> all;
  std::vector<ArenaPage> usable;
  uint64_t step = needed;
  bool exhausted = false;
  bool compacted = false;
  while (true) {
    const auto got = Grow(*system_, step, journal);
    if (!got) return Forward(got);
    if (*got < step && !compacted) {
      // The kernel gives up early. Whole pages may be had once it has put small ones together.
      compacted = true;
      (void)system::WriteFile(*system_, "/proc/sys/vm/compact_memory", "1\n");
    } else {
      exhausted = *got == 0;
    }
    if (*got != 0) {
      if (const auto added = AddSegment(request.slot, *got); !added) return added;
      const size_t old = all.size();
      if (const auto read = ReadPages(record_.segments.size() - 1, all); !read) return read;
      std::ranges::copy_if(all.begin() + static_cast<ptrdiff_t>(old), all.end(),
                           std::back_inserter(usable), [&](const ArenaPage& page) {
                             return Usable(map, request.forbidden, {page.address, kHugePageSize});
                           });
    }
    if (usable.size() >= needed) {
      std::ranges::sort(usable, {}, &ArenaPage::address);
      std::vector<PhysAddr> addresses;
      std::ranges::transform(usable, std::back_inserter(addresses), &ArenaPage::address);
      if (auto runs = FindRuns(addresses, request.run_pages)) {
        runs_ = std::move(*runs);
        break;
      }
    }
    const size_t segments_left = kSegmentsPerSlot - record_.segments.size();
    const uint64_t pages_left = limit > all.size() ? limit - all.size() : 0;
    if (exhausted || segments_left == 0 || pages_left == 0) {
      if (usable.size() < needed) return TooLittle(needed, usable.size());
      return Fail(ExitCode::kNoContiguousMemory, "memory for the next kernel",
                  std::to_string(usable.size()) + " pages of 2 MiB hold no run of " +
                      std::to_string(*std::ranges::max_element(request.run_pages)) + " in a row",
                  "free memory, or load soon after boot");
    }
    // Slowly at first, then so that the segments left reach the limit.
    step = std::min(pages_left, std::max<uint64_t>({8, needed / 4, pages_left / segments_left}));
  }
  std::vector<ArenaPage> wanted;
  for (const ArenaPage& page : usable) {
    for (size_t r = 0; r < runs_.size(); ++r) {
      const PhysRange run{runs_[r], request.run_pages[r] * kHugePageSize};
      if (run.Contains(page.address)) wanted.push_back(page);
    }
  }
  return DropPages(wanted);
}

Result<int> RemoveSlot(System& system, int slot) {
  int removed = 0;
  for (int i = 0; i < kSegmentsPerSlot; ++i) {
    const auto info = system.ShmFind(SegmentKey(slot, i));
    if (!info || info->creator_uid != 0) continue;
    if (const auto gone = system.ShmRemove(info->id); !gone) {
      return FailErrno(ExitCode::kSystemCall, "shmctl(IPC_RMID)", gone.error().value);
    }
    ++removed;
  }
  return removed;
}

int CountSegments(System& system, int slot) {
  int count = 0;
  for (int i = 0; i < kSegmentsPerSlot; ++i) {
    const auto info = system.ShmFind(SegmentKey(slot, i));
    if (info && info->creator_uid == 0) ++count;
  }
  return count;
}

Result<PoolRecord> PoolWithout(System& system, uint64_t pool_pages) {
  if (pool_pages == 0) return PoolRecord{};
  const auto pool = system::ReadHugePool(system);
  if (!pool) return Forward(pool);
  const uint64_t now = pool->persistent();
  return PoolRecord{now > pool_pages ? now - pool_pages : 0, now};
}

Result<void> RestorePool(System& system, const PoolRecord& record) {
  const auto pool = system::ReadHugePool(system);
  if (!pool) return Forward(pool);
  if (pool->persistent() <= record.persistent || pool->persistent() > record.target) return {};
  return system::SetHugePool(system, record.persistent);
}

}  // namespace khop::load
