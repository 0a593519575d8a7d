// SPDX-License-Identifier: MIT
#include "core/plan/assignment.h"

#include <algorithm>
#include <array>

namespace khop::plan {
namespace {

// A list in memory of the caller.
template <typename T>
class List {
 public:
  explicit List(std::span<T> storage) : storage_(storage) {}
  bool Add(const T& value) {
    if (count_ == storage_.size()) return false;
    storage_[count_++] = value;
    return true;
  }
  void Clear() { count_ = 0; }
  size_t size() const { return count_; }
  std::span<T> used() const { return storage_.first(count_); }

 private:
  std::span<T> storage_;
  size_t count_ = 0;
};

using Ranges = List<PhysRange>;

// Hands out what of `ranges` is made of aligned blocks, in ascending order; the rest goes to
// `left`.
class Blocks {
 public:
  Blocks(std::span<const PhysRange> ranges, uint64_t block, Ranges& left)
      : ranges_(ranges), block_(block), left_(left) {
    Advance();
  }

  bool done() const { return current_.empty(); }
  // Start and size of whole blocks that follow each other; not empty unless done().
  PhysRange current() const { return current_; }
  // The first `size` bytes of current() are used.
  void Take(uint64_t size) {
    current_ = {current_.start + size, current_.size - size};
    if (current_.empty()) {
      Leave({current_.start, end_ - current_.start});
      Advance();
    }
  }
  // Everything that was not taken is left.
  void Finish() {
    while (!done()) {
      Leave({current_.start, end_ - current_.start});
      Advance();
    }
  }
  bool overflow() const { return overflow_; }

 private:
  void Advance() {
    current_ = {};
    for (; next_ < ranges_.size() && current_.empty(); ++next_) {
      const PhysRange range = ranges_[next_];
      const uint64_t first = AlignUp(range.start.value, block_);
      const uint64_t last = AlignDown(range.end().value, block_);
      if (first >= last) {
        Leave(range);
        continue;
      }
      Leave({range.start, first - range.start.value});
      current_ = {{first}, last - first};
      end_ = range.end();
    }
  }
  void Leave(PhysRange range) {
    if (!range.empty() && !left_.Add(range)) overflow_ = true;
  }

  std::span<const PhysRange> ranges_;
  uint64_t block_;
  Ranges& left_;
  size_t next_ = 0;
  PhysRange current_;
  PhysAddr end_;  // of the range that current_ is of
  bool overflow_ = false;
};

enum class Full : uint8_t { kNone, kGaps, kPieces };

// In-place pieces, and the gaps between them. Tells which list was too short.
Full Split(std::span<const PhysRange> destinations, std::span<const PhysRange> owned, Ranges& gaps,
           List<Piece>& pieces) {
  size_t i = 0;
  for (const PhysRange& range : destinations) {
    PhysAddr at = range.start;
    while (i > 0 && owned[i - 1].end() > at) --i;
    for (; i < owned.size() && owned[i].start < range.end(); ++i) {
      if (owned[i].end() <= at) continue;
      const PhysAddr start = std::max(at, owned[i].start);
      const PhysAddr end = std::min(range.end(), owned[i].end());
      if (start > at && !gaps.Add({at, start - at})) return Full::kGaps;
      if (!pieces.Add({start, start, end - start})) return Full::kPieces;
      at = end;
    }
    if (at < range.end() && !gaps.Add({at, range.end() - at})) return Full::kGaps;
  }
  return Full::kNone;
}

// Ascending by destination; pieces that continue each other become one.
size_t SortAndJoin(std::span<Piece> pieces) {
  std::ranges::sort(pieces, {}, [](const Piece& piece) { return piece.destination.value; });
  size_t count = 0;
  for (const Piece& piece : pieces) {
    if (count != 0) {
      Piece& last = pieces[count - 1];
      if (last.destination + last.size == piece.destination &&
          last.source + last.size == piece.source) {
        last.size += piece.size;
        continue;
      }
    }
    pieces[count++] = piece;
  }
  return count;
}

}  // namespace

std::expected<size_t, Error> AssignPages(std::span<const PhysRange> destinations,
                                         std::span<const PhysRange> owned,
                                         std::span<const PhysRange> spare, uint64_t page_size,
                                         std::span<PhysRange> scratch, std::span<Piece> pieces) {
  // Two lists of gaps and two of spare memory, of which each pass fills one from the other.
  const size_t ranges = destinations.size() + owned.size() + spare.size();
  if (ranges == 0) return 0;
  const size_t half = scratch.size() / 2;
  const size_t gap_share = half * (destinations.size() + owned.size()) / ranges;
  const size_t spare_share = half - gap_share;
  std::array<Ranges, 2> gaps = {Ranges(scratch.first(gap_share)),
                                Ranges(scratch.subspan(gap_share, gap_share))};
  const std::span<PhysRange> rest = scratch.subspan(2 * gap_share);
  std::array<Ranges, 2> spares = {Ranges(rest.first(spare_share)),
                                  Ranges(rest.subspan(spare_share, spare_share))};
  const Error full = {ErrorCode::kOutOfMemory, pieces.size()};
  const Error no_scratch = {ErrorCode::kOutOfMemory, scratch.size()};
  List<Piece> out(pieces);
  if (const Full list = Split(destinations, owned, gaps[0], out); list != Full::kNone) {
    return std::unexpected(list == Full::kGaps ? no_scratch : full);
  }
  for (const PhysRange& range : spare) {
    if (!spares[0].Add(range)) return std::unexpected(no_scratch);
  }

  size_t from = 0;
  for (const uint64_t block : {uint64_t{2} << 20, uint64_t{64} << 10, page_size}) {
    if (block < page_size) continue;
    const size_t to = 1 - from;
    gaps[to].Clear();
    spares[to].Clear();
    Blocks want(gaps[from].used(), block, gaps[to]);
    Blocks have(spares[from].used(), block, spares[to]);
    while (!want.done() && !have.done()) {
      const uint64_t size = std::min(want.current().size, have.current().size);
      if (!out.Add({have.current().start, want.current().start, size})) {
        return std::unexpected(full);
      }
      want.Take(size);
      have.Take(size);
    }
    want.Finish();
    have.Finish();
    if (want.overflow() || have.overflow()) {
      return std::unexpected(no_scratch);
    }
    from = to;
  }
  uint64_t missing = 0;
  for (const PhysRange& gap : gaps[from].used()) missing += gap.size;
  if (missing != 0) return std::unexpected(Error{ErrorCode::kOutOfRange, missing});
  return SortAndJoin(out.used());
}

}  // namespace khop::plan
