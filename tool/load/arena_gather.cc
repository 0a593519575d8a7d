// SPDX-License-Identifier: MIT
// The gather route's pages: any, the largest first.
#include <algorithm>
#include <utility>

#include "tool/load/arena.h"
#include "tool/system/memory_map.h"

namespace khop::load {

using system::System;

namespace {

// Segments that huge pages leave for base pages, of which some may be refused.
constexpr size_t kBaseSegments = 6;

// A pool that cannot give pages is no reason to fail: smaller pages will do.
bool Passable(const Failure& failure) {
  return failure.code == ExitCode::kNoMemory || failure.code == ExitCode::kNoRoute ||
         failure.code == ExitCode::kMemoryLimit;
}

}  // namespace

Result<void> Arena::Take(const system::MemoryMap& map, const GatherRequest& request,
                         const Journal& journal, std::vector<Extent>& good) {
  uint64_t needed = request.bytes;
  uint64_t refused = 0;
  // Sorts out the pages of the newest segment. Those that are refused stay until the end: given
  // back now, they would only be handed out again.
  const auto sort_out = [&]() -> Result<void> {
    return ForEachPage(record_.segments.size() - 1, [&](const Extent& page) {
      if (UsablePage(map, request.forbidden, {page.address, page.size})) {
        Append(good, page);
        needed -= std::min(needed, page.size);
      } else {
        refused += page.size;
      }
    });
  };
  // Pages that a pool has got and that cannot be used would be held beside those taken instead.
  // SettlePools() tries again.
  const auto give_back = [&](uint64_t size) {
    const auto record = std::ranges::find(grown_, size, &PoolRecord::page_size);
    const auto used = std::ranges::find(record_.segments, size, &ArenaSegment::page_size);
    if (record == grown_.end() || used != record_.segments.end()) return;
    (void)RestorePools(*system_, {record, 1});
  };
  for (const uint64_t size : system::HugePageSizes(*system_)) {
    if (size <= system_->PageSize()) continue;
    // At the edges of kernel and initrd huge pages are used in part and held whole: of sizes above
    // 2 MiB only those are taken that waste little against the payload.
    if (size > system::kHugePageSize && size > request.bytes / 64) continue;
    uint64_t choice = size == system::kHugePageSize ? request.extra_huge : 0;
    while (needed >= size && refused <= request.transient_limit &&
           record_.segments.size() + kBaseSegments < kSegmentsPerSlot) {
      const uint64_t wanted = (needed + std::exchange(choice, 0)) / size;
      const uint64_t refused_before = refused;
      const auto got = Grow(size, wanted, journal);
      if (!got && !Passable(got.error())) return Forward(got);
      if (!got || *got == 0) {
        give_back(size);
        break;
      }
      const size_t segments = record_.segments.size();
      if (const auto added = AddSegment(request.slot, size, std::min(*got, wanted)); !added) {
        if (!Passable(added.error())) return added;
        if (record_.segments.size() > segments) {
          if (const auto removed = RemoveLastSegment(); !removed) return removed;
        }
        give_back(size);
        break;
      }
      if (const auto sorted = sort_out(); !sorted) return sorted;
      // Again only to replace pages that were refused.
      if (*got < wanted || refused == refused_before) break;
    }
  }
  // What is beyond the need in base pages: the kernel hands out the smallest stretches first, and
  // those lie between the huge pages.
  uint64_t extra = request.extra + std::min(request.extra_for_huge, request.bytes - needed);
  if (needed + extra == 0) return {};
  if (const auto ready = request.before_base_pages(); !ready) return ready;
  const uint64_t refused_huge = refused;
  uint64_t step = 1;
  for (;;) {
    // The kernel kills for memory before it refuses base pages: beyond the need only what leaves
    // something, with what was refused counted in.
    const uint64_t available = system::MemAvailable(*system_).value_or(0);
    const uint64_t kept = needed + kKeptAvailable;
    const uint64_t room = AlignDown(available > kept ? available - kept : 0, system_->PageSize());
    extra = std::min(extra, room);
    if (needed + extra == 0) return {};
    if (refused > request.transient_limit || record_.segments.size() == kSegmentsPerSlot) {
      if (needed == 0) return {};
      return Fail(ExitCode::kNoMemory, "memory for the next kernel",
                  HumanBytes(refused) +
                      " of what could be had lie where the kernel moves pages "
                      "(CMA, removable memory) or in reserved memory",
                  "free other memory, or reboot with a smaller cma=");
    }
    const size_t segments = record_.segments.size();
    // Where pages were refused, as many will be again: CMA gives them by turns. Then more and more:
    // the smallest stretches come first, and may be of the kernel's __init only.
    const uint64_t again =
        std::min({(needed + extra) * step, refused - refused_huge, room - extra});
    const uint64_t pages = (needed + extra + again) / system_->PageSize();
    // To grow page by page would take as much again; what stays unwritten costs no memory.
    good.reserve(good.size() + pages);
    const auto added = AddSegment(request.slot, system_->PageSize(), pages);
    if (!added) {
      if (extra == 0 || !Passable(added.error())) return added;
      if (record_.segments.size() > segments) {
        if (const auto removed = RemoveLastSegment(); !removed) return removed;
      }
      extra = 0;  // it cannot be had
      continue;
    }
    needed += extra;
    if (const auto sorted = sort_out(); !sorted) return sorted;
    extra = std::min(extra, needed);  // what is left of it
    needed -= extra;
    // Asked for once: what is refused is held as well, until the end.
    if (!request.insist) extra = 0;
    if (again != 0) step *= 4;
  }
}

Result<Arena> Arena::Gather(System& system, const system::MemoryMap& map,
                            const GatherRequest& request, const Journal& journal) {
  Arena arena(system);
  arena.record_.slot = request.slot;
  std::vector<Extent> good;
  if (const auto taken = arena.Take(map, request, journal, good); !taken) return Forward(taken);
  if (const auto dropped = arena.DropExcept(std::move(good)); !dropped) return Forward(dropped);
  return arena;
}

}  // namespace khop::load
