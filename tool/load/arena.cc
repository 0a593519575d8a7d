// SPDX-License-Identifier: MIT
#include "tool/load/arena.h"

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <utility>

namespace khop::load {

using system::Errno;
using system::kHugePageSize;
using system::System;

namespace {

Failure Explain(Errno error, uint64_t pages) {
  const std::string what = "shared memory of " + HumanBytes(pages * kHugePageSize);
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
      return Fail(ExitCode::kNoMemory, what, "somebody else took the huge pages meanwhile",
                  "try again")
          .error();
    default:
      return FailErrno(ExitCode::kSystemCall, what, error.value).error();
  }
}

std::unexpected<Failure> Gone(std::string_view why) {
  return Fail(ExitCode::kArenaGone, "the loaded kernel", why, "load it again");
}

}  // namespace

Arena::Arena(Arena&& other) noexcept
    : system_(other.system_),
      record_(std::move(other.record_)),
      mappings_(std::exchange(other.mappings_, {})),
      runs_(std::move(other.runs_)),
      keep_(std::exchange(other.keep_, true)) {}

Arena::~Arena() {
  if (!keep_) (void)GiveBack();
  for (std::byte* const mapping : mappings_) {
    if (mapping != nullptr) (void)system_->ShmDetach(mapping);
  }
}

Result<void> Arena::GiveBack() {
  const auto pool = PoolWithout(*system_, record_.pool_pages);
  for (size_t i = 0; i < mappings_.size(); ++i) {
    if (mappings_[i] != nullptr) (void)system_->ShmDetach(std::exchange(mappings_[i], nullptr));
    (void)system_->ShmRemove(record_.segments[i].id);
  }
  if (!pool) return Forward(pool);
  return RestorePool(*system_, *pool);
}

std::byte* Arena::Address(const ArenaPage& page) const {
  return mappings_[page.segment] + page.index * kHugePageSize;
}

Result<void> Arena::AddSegment(int slot, uint64_t pages) {
  const int key = SegmentKey(slot, static_cast<int>(record_.segments.size()));
  const uint64_t size = pages * kHugePageSize;
  const auto id = system_->ShmCreate(key, size);
  if (!id) return std::unexpected(Explain(id.error(), pages));
  // From here on the destructor knows of it.
  record_.segments.push_back({key, *id, size});
  mappings_.push_back(nullptr);
  const auto address = system_->ShmAttach(*id);
  if (!address) return FailErrno(ExitCode::kSystemCall, "shmat", address.error().value);
  mappings_.back() = *address;
  if (const auto populated = system_->Populate(*address, size); !populated) {
    return Fail(ExitCode::kMemoryLimit, "the huge pages of the arena",
                system::Describe(populated.error()),
                "a cgroup's limit for 2 MiB huge pages may be in the way");
  }
  return {};
}

Result<void> Arena::ReadPages(size_t segment, std::vector<ArenaPage>& pages) const {
  auto pagemap = system::Pagemap::Open(*system_);
  if (!pagemap) return Forward(pagemap);
  for (uint32_t i = 0; i < record_.segments[segment].size / kHugePageSize; ++i) {
    ArenaPage page{static_cast<uint32_t>(segment), i, {}};
    const auto address = pagemap->Lookup(Address(page));
    if (!address) return Forward(address);
    if (!IsAligned(address->value, kHugePageSize)) {
      return Fail(ExitCode::kInternal, "the arena", "a huge page is not aligned to its size");
    }
    page.address = *address;
    pages.push_back(page);
  }
  return {};
}

// Gives back every page that is not in `wanted`, and segments without any whole.
Result<void> Arena::DropPages(const std::vector<ArenaPage>& wanted) {
  std::vector<ArenaSegment> segments;
  std::vector<std::byte*> mappings;
  std::vector<ArenaPage> pages;
  Result<void> result = {};
  for (uint32_t s = 0; s < record_.segments.size(); ++s) {
    std::vector<bool> keep(record_.segments[s].size / kHugePageSize, false);
    bool any = false;
    for (const ArenaPage& page : wanted) {
      if (page.segment != s) continue;
      any = keep[page.index] = true;
      pages.push_back({static_cast<uint32_t>(segments.size()), page.index, page.address});
    }
    for (size_t i = 0; any && result && i < keep.size(); ++i) {
      if (keep[i]) continue;
      if (const auto punched = system_->Punch(mappings_[s] + i * kHugePageSize, kHugePageSize);
          !punched) {
        result = FailErrno(ExitCode::kSystemCall, "madvise(MADV_REMOVE)", punched.error().value);
      }
    }
    if (!any) {
      const auto removed = system_->ShmRemove(record_.segments[s].id);
      if (removed) {
        (void)system_->ShmDetach(mappings_[s]);
        continue;
      }
      result = FailErrno(ExitCode::kSystemCall, "shmctl(IPC_RMID)", removed.error().value);
    }
    segments.push_back(record_.segments[s]);
    mappings.push_back(mappings_[s]);
  }
  std::ranges::sort(pages, {}, &ArenaPage::address);
  record_.segments = std::move(segments);
  record_.pages = std::move(pages);
  mappings_ = std::move(mappings);
  return result;
}

Result<Arena> Arena::Create(System& system, const system::MemoryMap& map, const Request& request,
                            const Journal& journal) {
  Arena arena(system);
  arena.record_.slot = request.slot;
  const auto pool = system::ReadHugePool(system);
  if (!pool) return Forward(pool);
  PoolRecord record{pool->persistent(), pool->persistent()};
  const auto found = arena.Search(map, request, [&](const PoolRecord& next) {
    record.target = std::max(record.target, next.target);
    return journal(record);
  });
  Result<void> settled = found;
  if (found && pool->free != 0) {
    // The free pages in the pool are somebody's: a smaller pool would take those.
    arena.record_.pool_pages = arena.record_.pages.size();
    settled = RestorePool(system, {record.persistent + arena.record_.pool_pages, record.target});
  } else if (found) {
    settled = RestorePool(system, record);
  }
  if (!settled) {
    // Pages first: what is still in use would only become surplus.
    arena.record_.pool_pages = 0;
    {
      const Arena gone(std::move(arena));
    }
    (void)RestorePool(system, record);
    return Forward(settled);
  }
  return arena;
}

Result<Arena> Arena::Open(System& system, const ArenaRecord& record) {
  Arena arena(system);
  arena.keep_ = true;
  for (const ArenaSegment& segment : record.segments) {
    const auto info = system.ShmFind(segment.key);
    if (!info) return Gone("its memory was removed (ipcrm)");
    if (info->id != segment.id || info->size != segment.size || info->creator_uid != 0) {
      return Gone("its memory was replaced by somebody else's");
    }
    const auto address = system.ShmAttach(segment.id);
    if (!address) return Gone("its memory cannot be attached");
    arena.record_.segments.push_back(segment);
    arena.mappings_.push_back(*address);
  }
  auto pagemap = system::Pagemap::Open(system);
  if (!pagemap) return Forward(pagemap);
  size_t moved = 0;
  for (const ArenaPage& page : record.pages) {
    if (page.segment >= arena.mappings_.size() ||
        page.index >= record.segments[page.segment].size / kHugePageSize) {
      return Fail(ExitCode::kBadState, "the state of the loaded kernel", "it names a page outside",
                  "run khop unload");
    }
    std::byte* const address = arena.Address(page);
    // A page that is gone must not come back as a fresh one and pass: its address would differ.
    if (!system.Populate(address, kHugePageSize)) return Gone("a page of its memory is gone");
    const auto now = pagemap->Lookup(address);
    if (!now) return Forward(now);
    if (*now != page.address) ++moved;
  }
  if (moved != 0) {
    return Gone(std::to_string(moved) + " of " + std::to_string(record.pages.size()) +
                " pages of its memory have moved");
  }
  arena.record_ = record;
  return arena;
}

Result<void> Arena::ForEach(PhysRange range,
                            const std::function<Result<void>(std::span<std::byte>)>& use) const {
  while (!range.empty()) {
    const uint64_t in_page = kHugePageSize - range.start.value % kHugePageSize;
    const PhysRange piece{range.start, std::min(in_page, range.size)};
    if (const auto used = use(At(piece)); !used) return used;
    range = {piece.end(), range.size - piece.size};
  }
  return {};
}

std::span<std::byte> Arena::At(PhysRange range) const {
  const PhysAddr base{AlignDown(range.start.value, kHugePageSize)};
  const auto page = std::ranges::lower_bound(record_.pages, base, {}, &ArenaPage::address);
  assert(page != record_.pages.end() && page->address == base);
  assert(range.size <= kHugePageSize - (range.start - base));
  return {Address(*page) + (range.start - base), range.size};
}

void Arena::CleanToPoc() const {
  for (const ArenaPage& page : record_.pages) system_->CleanToPoc(Address(page), kHugePageSize);
}

}  // namespace khop::load
