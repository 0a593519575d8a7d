// SPDX-License-Identifier: MIT
#include "core/plan/placement.h"

#include <algorithm>
#include <cstddef>

namespace khop::plan {
namespace {

// How many owned bytes lie in a range, by binary search over sums.
class OwnedBytes {
 public:
  OwnedBytes(std::span<const PhysRange> owned, std::span<uint64_t> before)
      : owned_(owned), before_(before) {
    before_[0] = 0;
    for (size_t i = 0; i < owned_.size(); ++i) before_[i + 1] = before_[i] + owned_[i].size;
  }
  uint64_t In(uint64_t start, uint64_t size) const { return Below(start + size) - Below(start); }

 private:
  uint64_t Below(uint64_t address) const {
    const auto i = static_cast<size_t>(
        std::ranges::upper_bound(owned_, address, {}, [](PhysRange r) { return r.start.value; }) -
        owned_.begin());
    if (i == 0) return 0;
    const uint64_t into = address - owned_[i - 1].start.value;
    return before_[i - 1] + std::min(into, owned_[i - 1].size);
  }

  std::span<const PhysRange> owned_;
  std::span<uint64_t> before_;
};

bool Valid(const Item& item) {
  return item.size != 0 && IsPowerOfTwo(item.alignment) && item.offset < item.alignment &&
         // With that some position in every stretch between two boundaries is good.
         (item.boundary == 0 || (IsPowerOfTwo(item.boundary) && item.size <= item.boundary &&
                                 item.offset % item.boundary <= item.boundary - item.size));
}

// The best place for one item, looked for one free stretch at a time. Between two neighbouring
// edges of owned ranges the owned bytes under the item change linearly as it slides, so that a best
// place is one of the item's positions next to an edge, with its start or with its end.
class Search {
 public:
  Search(const Item& item, const OwnedBytes& owned_bytes, uint64_t window_low, uint64_t window_high)
      : item_(item), owned_bytes_(owned_bytes), low_(window_low), high_(window_high) {}

  // Tries the positions in [start, end) that the edges of `owned` suggest.
  void Try(uint64_t start, uint64_t end, std::span<const PhysRange> owned) {
    start = std::max(start, low_);
    end = std::min(end, high_);
    if (end < start || end - start < item_.size) return;
    if (Perfect() && start > best_) return;
    start_ = start;
    last_ = end - item_.size;
    TryBoth(start_);
    TryBoth(last_);
    for (size_t i = FirstEndingAfter(owned, start); i < owned.size(); ++i) {
      const uint64_t first = owned[i].start.value;
      if (first > end || (Perfect() && first > best_ + item_.size)) break;
      for (const uint64_t edge : {first, owned[i].end().value}) {
        TryBoth(edge);
        if (edge >= item_.size) TryBoth(edge - item_.size);
      }
    }
  }

  // Only the lowest position in [start, end).
  void TryLowest(uint64_t start, uint64_t end) {
    start = std::max(start, low_);
    end = std::min(end, high_);
    if (end < start || end - start < item_.size) return;
    start_ = start;
    last_ = end - item_.size;
    Score(PositionAbove(start_));
  }

  bool found() const { return found_; }
  uint64_t best() const { return best_; }

 private:
  static size_t FirstEndingAfter(std::span<const PhysRange> ranges, uint64_t address) {
    return static_cast<size_t>(
        std::ranges::upper_bound(ranges, address, {}, [](PhysRange r) { return r.end().value; }) -
        ranges.begin());
  }

  // All of it owned: only a lower one could be preferred.
  bool Perfect() const { return found_ && best_owned_ == item_.size; }

  // The positions on both sides of `address`, which may be the same.
  void TryBoth(uint64_t address) {
    const uint64_t above = PositionAbove(std::max(address, start_));
    Score(above);
    const uint64_t below = PositionBelow(std::min(address, last_));
    if (below != above) Score(below);
  }
  // UINT64_MAX if there is none.
  uint64_t PositionAbove(uint64_t address) const {
    uint64_t at = AlignDown(address, item_.alignment) + item_.offset;
    if (at < address) at += item_.alignment;
    // Only an alignment below the boundary can cross it, so that one step is enough.
    return Crosses(at) ? AlignUp(at, item_.boundary) + item_.offset : at;
  }
  uint64_t PositionBelow(uint64_t address) const {
    uint64_t at = AlignDown(address, item_.alignment) + item_.offset;
    if (at > address) {
      if (at < item_.alignment) return UINT64_MAX;
      at -= item_.alignment;
    }
    if (!Crosses(at)) return at;
    const uint64_t highest = AlignDown(at + item_.size - 1, item_.boundary) - item_.size;
    at = AlignDown(highest, item_.alignment) + item_.offset;
    return at > highest ? at - item_.alignment : at;
  }
  bool Crosses(uint64_t at) const {
    return item_.boundary != 0 &&
           AlignDown(at, item_.boundary) != AlignDown(at + item_.size - 1, item_.boundary);
  }
  void Score(uint64_t at) {
    // Neighbouring edges suggest the same position again and again.
    if (at < start_ || at > last_ || at == last_scored_) return;
    last_scored_ = at;
    uint64_t owned = owned_bytes_.In(at, item_.size);
    if (owned < item_.negligible) owned = 0;
    if (found_ && (owned < best_owned_ || (owned == best_owned_ && at >= best_))) return;
    found_ = true;
    best_ = at;
    best_owned_ = owned;
  }

  const Item& item_;
  const OwnedBytes& owned_bytes_;
  uint64_t low_;
  uint64_t high_;
  uint64_t start_ = 0;  // of the stretch at hand
  uint64_t last_ = 0;   // the last position in it
  uint64_t last_scored_ = UINT64_MAX;
  bool found_ = false;
  uint64_t best_ = 0;
  uint64_t best_owned_ = 0;
};

// Calls `use(start, end)` for every stretch of `range` that none of `placed` covers.
template <typename Use>
void ForEachFree(PhysRange range, std::span<const Item> items, std::span<const PhysAddr> placed,
                 Use use) {
  uint64_t at = range.start.value;
  const uint64_t end = range.end().value;
  while (at < end) {
    // The lowest item that ends above `at`; there are few items, so that no index is needed.
    uint64_t next = end;
    uint64_t next_end = end;
    for (size_t i = 0; i < placed.size(); ++i) {
      const uint64_t start = placed[i].value;
      if (start + items[i].size > at && start < next) {
        next = start;
        next_end = start + items[i].size;
      }
    }
    if (next > at) use(at, next);
    at = std::max(next_end, at);
  }
}

// Where an item may go so that it shares a window with the windowed ones before it.
class Windows {
 public:
  explicit Windows(PlacementWindow window) : window_(window) {}
  // A window may start as low as lets it still hold the highest byte so far, and no higher than at
  // the lowest one. An item between these bounds lies in one window with all others, since no two
  // are further apart than a window from a multiple of the alignment at the lower one.
  PhysRange For(const Item& item) const {
    if (!item.windowed || highest_ == 0) return {{0}, UINT64_MAX};
    const uint64_t low =
        highest_ > window_.size ? AlignUp(highest_ - window_.size, window_.alignment) : 0;
    const uint64_t high = AlignDown(lowest_, window_.alignment) + window_.size;
    return {{low}, high - low};
  }
  void Add(const Item& item, PhysAddr at) {
    if (!item.windowed) return;
    lowest_ = std::min(lowest_, at.value);
    highest_ = std::max(highest_, at.value + item.size);
  }

 private:
  PlacementWindow window_;
  uint64_t lowest_ = UINT64_MAX;
  uint64_t highest_ = 0;
};

std::span<const PhysRange> PlacesFor(const Item& item, const Memory& memory) {
  return item.owned_only ? memory.owned : memory.allowed;
}

// Each item where the most of it is owned. Returns the number of the first that has no place, or
// items.size().
size_t PlaceOwned(std::span<const Item> items, const Memory& memory, PlacementWindow window,
                  const OwnedBytes& owned_bytes, std::span<PhysAddr> destinations) {
  Windows windows(window);
  for (size_t i = 0; i < items.size(); ++i) {
    const PhysRange bounds = windows.For(items[i]);
    Search search(items[i], owned_bytes, bounds.start.value, bounds.end().value);
    for (const PhysRange& range : PlacesFor(items[i], memory)) {
      ForEachFree(range, items, destinations.first(i),
                  [&](uint64_t start, uint64_t end) { search.Try(start, end, memory.owned); });
    }
    if (!search.found()) return i;
    destinations[i] = PhysAddr{search.best()};
    windows.Add(items[i], destinations[i]);
  }
  return items.size();
}

// Each item as low as possible in the smallest stretch that has room for it.
size_t PlaceTightly(std::span<const Item> items, const Memory& memory, PlacementWindow window,
                    const OwnedBytes& owned_bytes, std::span<PhysAddr> destinations) {
  Windows windows(window);
  for (size_t i = 0; i < items.size(); ++i) {
    const PhysRange bounds = windows.For(items[i]);
    uint64_t smallest = UINT64_MAX;
    for (const PhysRange& range : PlacesFor(items[i], memory)) {
      ForEachFree(range, items, destinations.first(i), [&](uint64_t start, uint64_t end) {
        if (end - start >= smallest) return;
        Search search(items[i], owned_bytes, bounds.start.value, bounds.end().value);
        search.TryLowest(start, end);
        if (!search.found()) return;
        smallest = end - start;
        destinations[i] = PhysAddr{search.best()};
      });
    }
    if (smallest == UINT64_MAX) return i;
    windows.Add(items[i], destinations[i]);
  }
  return items.size();
}

}  // namespace

std::expected<uint64_t, Error> PlaceItems(std::span<const Item> items, const Memory& memory,
                                          PlacementWindow window, std::span<uint64_t> owned_before,
                                          std::span<PhysAddr> destinations) {
  if (owned_before.size() < memory.owned.size() + 1 || destinations.size() < items.size()) {
    return std::unexpected(Error{ErrorCode::kOutOfMemory, owned_before.size()});
  }
  for (size_t i = 0; i < items.size(); ++i) {
    if (!Valid(items[i])) return std::unexpected(Error{ErrorCode::kInvalidArgument, i});
  }
  const OwnedBytes owned_bytes(memory.owned, owned_before);
  size_t placed = PlaceOwned(items, memory, window, owned_bytes, destinations);
  if (placed < items.size()) {
    placed = PlaceTightly(items, memory, window, owned_bytes, destinations);
  }
  if (placed < items.size()) return std::unexpected(Error{ErrorCode::kOutOfRange, placed});
  uint64_t total = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    total += owned_bytes.In(destinations[i].value, items[i].size);
  }
  return total;
}

}  // namespace khop::plan
