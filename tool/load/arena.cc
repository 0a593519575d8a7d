// SPDX-License-Identifier: MIT
#include "tool/load/arena.h"

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <utility>

#include "tool/load/ranges.h"

namespace khop::load {

using system::System;

namespace {

constexpr uint64_t kMaxPiece = uint64_t{2} << 20;  // of ForEach()

std::unexpected<Failure> Gone(std::string_view why) {
  return Fail(ExitCode::kArenaGone, "the loaded kernel", why, "load it again");
}

// The same memory in the order of the segments, joined: what has to be faulted in.
std::vector<Extent> InOrderOfSegments(std::span<const Extent> extents) {
  std::vector<Extent> runs(extents.begin(), extents.end());
  std::ranges::sort(runs, [](const Extent& a, const Extent& b) {
    return a.segment != b.segment ? a.segment < b.segment : a.offset < b.offset;
  });
  size_t used = 0;
  for (size_t i = 1; i < runs.size(); ++i) {
    if (runs[used].segment == runs[i].segment &&
        runs[used].offset + runs[used].size == runs[i].offset) {
      runs[used].size += runs[i].size;
    } else {
      runs[++used] = runs[i];
    }
  }
  if (!runs.empty()) runs.resize(used + 1);
  return runs;
}

}  // namespace

bool ArenaRecord::has_base_pages() const {
  return std::ranges::any_of(segments, &ArenaSegment::base);
}

std::vector<LentPages> ArenaRecord::Pages() const {
  std::vector<LentPages> pages;
  for (const Extent& extent : *extents) {
    const uint64_t page_size = segments[extent.segment].page_size;
    auto entry = std::ranges::find(pages, page_size, &LentPages::page_size);
    if (entry == pages.end()) entry = pages.insert(pages.end(), {page_size, 0});
    entry->count += extent.size;
  }
  for (LentPages& entry : pages) entry.count /= entry.page_size;
  std::ranges::sort(pages, std::greater(), &LentPages::page_size);
  return pages;
}

Arena::Arena(Arena&& other) noexcept
    : system_(other.system_),
      record_(std::move(other.record_)),
      mappings_(std::exchange(other.mappings_, {})),
      staged_(std::move(other.staged_)),
      runs_(std::move(other.runs_)),
      grown_(std::move(other.grown_)),
      shared_(std::move(other.shared_)),
      settled_(other.settled_),
      keep_(std::exchange(other.keep_, true)) {}

Arena::~Arena() {
  if (!staged_.empty()) {
    Wipe();
    return;
  }
  if (!keep_) GiveBack();
  for (std::byte* const mapping : mappings_) {
    if (mapping != nullptr) (void)system_->ShmDetach(mapping);
  }
}

void Arena::GiveBack() {
  Wipe();
  // Pages first: what is still in use would only become surplus.
  const auto without = settled_ ? PoolsWithout(*system_, record_.lent) : grown_;
  for (size_t i = 0; i < mappings_.size(); ++i) {
    if (mappings_[i] != nullptr) (void)system_->ShmDetach(std::exchange(mappings_[i], nullptr));
    (void)system_->ShmRemove(record_.segments[i].id);
  }
  if (without) (void)RestorePools(*system_, *without);
}

Result<Arena> Arena::Adopt(System& system, const ArenaRecord& record, uint64_t* moved) {
  Arena arena(system);
  arena.keep_ = true;
  for (const ArenaSegment& segment : record.segments) {
    const auto info = system.ShmFind(segment.key);
    if (!info && info.error().value == ENOENT) return Gone("its memory was removed (ipcrm)");
    if (!info) return FailErrno(ExitCode::kSystemCall, "shmget", info.error().value);
    if (info->id != segment.id || info->size != segment.size || info->creator_uid != 0) {
      return Gone("its memory was replaced by somebody else's");
    }
    const auto address = system.ShmAttach(segment.id);
    if (!address) return FailErrno(ExitCode::kSystemCall, "shmat", address.error().value);
    arena.record_.segments.push_back(segment);
    arena.mappings_.push_back(*address);
  }
  for (const Extent& extent : *record.extents) {
    if (extent.segment >= record.segments.size() ||
        extent.offset + extent.size > record.segments[extent.segment].size) {
      return Fail(ExitCode::kBadState, "the state of the loaded kernel", "it names a page outside",
                  "run khop unload");
    }
  }
  // A page that is gone comes back as a fresh one: elsewhere, and its contents betray it.
  for (const Extent& run : InOrderOfSegments(*record.extents)) {
    if (!system.Populate(arena.Mapped(run), run.size)) return Gone("a page of its memory is gone");
  }
  auto pagemap = system::Pagemap::Open(system);
  if (!pagemap) return Forward(pagemap);
  *moved = 0;
  std::vector<Extent> extents;
  std::vector<PhysAddr> now;
  for (const Extent& extent : *record.extents) {
    // Parts of a huge page have extents of their own if their destinations differ.
    const uint64_t page = record.segments[extent.segment].page_size;
    const uint64_t first = AlignDown(extent.offset, page);
    now.resize((AlignUp(extent.offset + extent.size, page) - first) / page);
    std::byte* const start = arena.mappings_[extent.segment] + first;
    if (const auto found = pagemap->Lookup(start, page, now); !found) return Forward(found);
    for (uint64_t at = extent.offset; at < extent.offset + extent.size;) {
      const size_t i = (at - first) / page;
      const uint64_t end = std::min(first + (i + 1) * page, extent.offset + extent.size);
      const uint64_t into = at - extent.offset;
      const Extent part{at, end - at, now[i] + (at - first) % page, extent.destination + into,
                        extent.segment};
      if (part.address != extent.address + into) ++*moved;
      Append(extents, part);
      at = end;
    }
  }
  arena.record_ = record;
  if (*moved != 0) arena.SetExtents(std::move(extents));
  return arena;
}

Arena Arena::Stage(System& system, const std::vector<PhysRange>& destinations) {
  Arena arena(system);
  arena.keep_ = true;
  std::vector<Extent> extents;
  for (const PhysRange& range : destinations) {
    const auto segment = static_cast<uint32_t>(arena.staged_.size());
    arena.mappings_.push_back(arena.staged_.emplace_back(range.size).data());
    arena.record_.segments.push_back({.size = range.size, .page_size = range.size});
    extents.push_back({0, range.size, range.start, range.start, segment});
  }
  arena.SetExtents(std::move(extents));
  return arena;
}

Result<Arena> Arena::Open(System& system, const ArenaRecord& record) {
  uint64_t moved = 0;
  auto arena = Adopt(system, record, &moved);
  if (arena && moved != 0) return Gone(std::to_string(moved) + " pages of its memory have moved");
  return arena;
}

void Arena::SetExtents(std::vector<Extent> extents) {
  SortByDestination(extents);
  record_.extents = std::make_shared<const std::vector<Extent>>(std::move(extents));
}

Result<void> Arena::ForEach(PhysRange range,
                            const std::function<Result<void>(std::span<std::byte>)>& use) const {
  const std::vector<Extent>& all = extents();
  auto extent = std::ranges::upper_bound(all, range.start, {}, &Extent::destination);
  assert(extent != all.begin());
  --extent;
  while (!range.empty()) {
    assert(extent != all.end() && extent->destination <= range.start);
    const uint64_t into = range.start - extent->destination;
    assert(into < extent->size);
    const uint64_t size = std::min({extent->size - into, range.size, kMaxPiece});
    if (const auto used = use({Mapped(*extent) + into, size}); !used) return used;
    range = {range.start + size, range.size - size};
    if (into + size == extent->size) ++extent;
  }
  return {};
}

std::span<std::byte> Arena::At(PhysRange range) const {
  std::span<std::byte> bytes;
  (void)ForEach(range, [&](std::span<std::byte> piece) -> Result<void> {
    bytes = piece;
    return {};
  });
  assert(bytes.size() == range.size);
  return bytes;
}

std::span<const std::byte> Arena::Staged(PhysAddr destination) const {
  const auto extent = std::ranges::find(extents(), destination, &Extent::destination);
  assert(extent != extents().end());
  return staged_[extent->segment];
}

void Arena::Wipe() const {
  for (const Extent& run : InOrderOfSegments(extents())) {
    if (mappings_[run.segment] != nullptr) system_->Wipe({Mapped(run), run.size});
  }
}

void WipeArena(System& system, const ArenaRecord& record) {
  uint64_t moved = 0;
  if (const auto arena = Arena::Adopt(system, record, &moved)) arena->Wipe();
}

void Arena::CleanToPoc(std::span<const PhysRange> done) const {
  Ranges held;
  for (const Extent& extent : extents()) held.push_back({extent.destination, extent.size});
  held = Joined(std::move(held));
  for (const PhysRange& rest : Without(held, done)) {
    (void)ForEach(rest, [&](std::span<std::byte> bytes) -> Result<void> {
      system_->CleanToPoc(bytes.data(), bytes.size());
      return {};
    });
  }
}

}  // namespace khop::load
