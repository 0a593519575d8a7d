// SPDX-License-Identifier: MIT
// How an arena gets its pages, and gives back those that it does not need.
#include <algorithm>
#include <array>
#include <cerrno>

#include "tool/load/arena.h"

namespace khop::load {

using system::Errno;
using system::System;

namespace {

Failure Explain(Errno error, uint64_t bytes) {
  const std::string what = "shared memory of " + HumanBytes(bytes);
  switch (error.value) {
    case EEXIST:
      return Fail(ExitCode::kBusy, what, "somebody else's segment has khop's key",
                  "look at it with ipcs -m")
          .error();
    case EINVAL:
      return Fail(ExitCode::kMemoryLimit, what, "it is more than kernel.shmmax",
                  "raise it with sysctl")
          .error();
    case ENOSPC:
      return Fail(ExitCode::kMemoryLimit, what, "kernel.shmall or kernel.shmmni is used up",
                  "raise it with sysctl, or remove segments with ipcrm")
          .error();
    case ENOMEM:
      return Fail(ExitCode::kNoMemory, what, "somebody else took the memory meanwhile", "try again")
          .error();
    default:
      return FailErrno(ExitCode::kSystemCall, what, error.value).error();
  }
}

// What lies in a segment beside what is wanted of it, in whole pages. `wanted` is of one segment,
// ascending.
std::vector<Extent> Holes(std::span<const Extent> wanted, const ArenaSegment& segment) {
  std::vector<Extent> holes;
  uint64_t at = 0;
  const auto add = [&](uint64_t until) {
    if (until > at) holes.push_back({at, until - at, {}, {}, 0});
  };
  for (const Extent& extent : wanted) {
    add(AlignDown(extent.offset, segment.page_size));
    at = std::max(at, AlignUp(extent.offset + extent.size, segment.page_size));
  }
  add(segment.size);
  return holes;
}

}  // namespace

bool UsablePage(const system::MemoryMap& map, std::span<const PhysRange> forbidden,
                PhysRange page) {
  return map.IsPlain(page) &&
         std::ranges::none_of(forbidden, [&](PhysRange range) { return range.Overlaps(page); });
}

Result<uint64_t> Arena::Grow(uint64_t page_size, uint64_t pages, const Journal& journal) {
  if (std::ranges::find(grown_, page_size, &PoolRecord::page_size) == grown_.end()) {
    const auto pool = system::ReadHugePool(*system_, page_size);
    if (!pool) return Forward(pool);
    if (pool->free != 0) shared_.push_back(page_size);
  }
  return GrowPool(*system_, page_size, pages, grown_, journal);
}

Result<void> Arena::AddSegment(int slot, uint64_t page_size, uint64_t pages) {
  int number = 0;  // the first that is not in use
  const auto used = [&](const ArenaSegment& s) { return s.key == SegmentKey(slot, number); };
  while (std::ranges::any_of(record_.segments, used)) ++number;
  const bool base = page_size == system_->PageSize();
  const uint64_t size = pages * page_size;
  const auto id = system_->ShmCreate(SegmentKey(slot, number), size, page_size);
  if (!id) return std::unexpected(Explain(id.error(), size));
  // From here on the destructor knows of it.
  record_.segments.push_back({SegmentKey(slot, number), *id, size, page_size, base});
  mappings_.push_back(nullptr);
  // Before the first touch: compaction moves pages that were locked later.
  if (const auto locked = base ? system_->ShmLock(*id) : system::SysResult<void>(); !locked) {
    return FailErrno(ExitCode::kSystemCall, "shmctl(SHM_LOCK)", locked.error().value);
  }
  const auto address = system_->ShmAttach(*id);
  if (!address) return FailErrno(ExitCode::kSystemCall, "shmat", address.error().value);
  mappings_.back() = *address;
  if (const auto populated = system_->Populate(*address, size); !populated) {
    const std::string why = system::Describe(populated.error());
    if (base) {
      return Fail(ExitCode::kNoMemory, "memory for the next kernel",
                  HumanBytes(size) + " of base pages could not be had (" + why + ")",
                  "free memory, or try after: echo 3 > /proc/sys/vm/drop_caches");
    }
    return Fail(ExitCode::kMemoryLimit, "the huge pages of the arena", why,
                "a cgroup's limit for huge pages may be in the way");
  }
  return {};
}

Result<void> Arena::RemoveLastSegment() {
  if (mappings_.back() != nullptr) (void)system_->ShmDetach(mappings_.back());
  const auto removed = system_->ShmRemove(record_.segments.back().id);
  record_.segments.pop_back();
  mappings_.pop_back();
  if (!removed) {
    return FailErrno(ExitCode::kSystemCall, "shmctl(IPC_RMID)", removed.error().value);
  }
  return {};
}

Result<void> Arena::ForEachPage(size_t segment,
                                const std::function<void(const Extent&)>& use) const {
  auto pagemap = system::Pagemap::Open(*system_);
  if (!pagemap) return Forward(pagemap);
  const uint64_t page = record_.segments[segment].page_size;
  std::array<PhysAddr, 512> some;
  for (uint64_t at = 0; at < record_.segments[segment].size;) {
    const uint64_t left = (record_.segments[segment].size - at) / page;
    const auto addresses = std::span(some).first(std::min<uint64_t>(left, some.size()));
    const auto read = pagemap->Lookup(mappings_[segment] + at, page, addresses);
    if (!read) return read;
    for (const PhysAddr address : addresses) {
      if (!IsAligned(address.value, page)) {
        return Fail(ExitCode::kInternal, "the arena", "a huge page is not aligned to its size");
      }
      use({at, page, address, address, static_cast<uint32_t>(segment)});
      at += page;
    }
  }
  return {};
}

// Segments without anything that is wanted go whole.
Result<void> Arena::DropExcept(std::vector<Extent> wanted) {
  std::ranges::sort(wanted, [](const Extent& a, const Extent& b) {
    return a.segment != b.segment ? a.segment < b.segment : a.offset < b.offset;
  });
  std::vector<ArenaSegment> segments;
  std::vector<std::byte*> mappings;
  Result<void> result = {};
  for (uint32_t s = 0; s < record_.segments.size(); ++s) {
    const auto mine = std::ranges::equal_range(wanted, s, {}, &Extent::segment);
    if (mine.empty() && result) {
      const auto removed = system_->ShmRemove(record_.segments[s].id);
      if (removed) {
        (void)system_->ShmDetach(mappings_[s]);
        continue;
      }
      result = FailErrno(ExitCode::kSystemCall, "shmctl(IPC_RMID)", removed.error().value);
    }
    for (const Extent& hole : Holes(mine, record_.segments[s])) {
      if (!result) break;
      if (const auto punched = system_->Punch(mappings_[s] + hole.offset, hole.size); !punched) {
        result = FailErrno(ExitCode::kSystemCall, "madvise(MADV_REMOVE)", punched.error().value);
      }
    }
    segments.push_back(record_.segments[s]);
    mappings.push_back(mappings_[s]);
  }
  // The segments that are left have moved up.
  for (Extent& extent : wanted) {
    const int key = record_.segments[extent.segment].key;
    const auto kept = std::ranges::find(segments, key, &ArenaSegment::key);
    extent.segment = static_cast<uint32_t>(kept - segments.begin());
  }
  record_.segments = std::move(segments);
  mappings_ = std::move(mappings);
  SetExtents(std::move(wanted));
  return result;
}

// The pages of an arena become surplus where nobody else has free pages in the pool; else a smaller
// pool would take those.
Result<void> Arena::SettlePools() {
  const std::vector<LentPages> held = record_.Pages();
  PoolRecords wanted = grown_;
  std::vector<LentPages> lent;
  for (PoolRecord& pool : wanted) {
    if (std::ranges::find(shared_, pool.page_size) == shared_.end()) continue;
    const auto mine = std::ranges::find(held, pool.page_size, &LentPages::page_size);
    if (mine == held.end()) continue;
    pool.persistent += mine->count;
    lent.push_back(*mine);
  }
  if (const auto restored = RestorePools(*system_, wanted); !restored) return restored;
  record_.lent = std::move(lent);
  settled_ = true;
  return {};
}

Result<void> Arena::Trim(std::vector<Extent> wanted) {
  if (const auto dropped = DropExcept(std::move(wanted)); !dropped) return dropped;
  return SettlePools();
}

Result<int> RemoveSlot(System& system, int slot) {
  int removed = 0;
  for (int i = 0; i < kSegmentsPerSlot; ++i) {
    const auto info = system.ShmFind(SegmentKey(slot, i));
    if (!info && info.error().value != ENOENT) {
      return FailErrno(ExitCode::kSystemCall, "shmget", info.error().value);
    }
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

}  // namespace khop::load
