// SPDX-License-Identifier: MIT
#include "core/plan/checker.h"

#include <algorithm>
#include <optional>

namespace khop::plan {
namespace {

// What a page of the model holds: the number of the page where that belongs. The highest bit says
// that the page was named as a destination.
constexpr uint32_t kNamed = uint32_t{1} << 31;
constexpr uint32_t kNothing = kNamed - 1;  // of the payload

class Model {
 public:
  Model(std::span<ModelRun> runs, std::span<uint32_t> pages, uint64_t page_size)
      : runs_(runs), pages_(pages), page_size_(page_size) {}

  bool Add(PhysAddr start, uint64_t size) {
    if (size == 0 || Known(start, size)) return true;
    if (count_ == runs_.size()) {
      Unite();  // most pages come more than once
      if (count_ == runs_.size()) return false;
    }
    runs_[count_++] = {start.value, size / page_size_};
    return true;
  }
  // Sorts the runs, and makes one of those that overlap or touch.
  void Unite() {
    std::ranges::sort(runs_.first(count_), {}, &ModelRun::start);
    size_t used = 0;
    for (const ModelRun& run : runs_.first(count_)) {
      if (used != 0 && run.start <= EndOf(runs_[used - 1])) {
        ModelRun& last = runs_[used - 1];
        last.pages = (std::max(EndOf(last), EndOf(run)) - last.start) / page_size_;
      } else {
        runs_[used++] = run;
      }
    }
    count_ = sorted_ = used;
  }
  // After the last Add(): every page has a number.
  bool Number() {
    Unite();
    uint64_t pages = 0;
    for (ModelRun& run : runs_.first(count_)) {
      pages += run.pages;
      run.pages = pages;
    }
    if (pages > pages_.size() || pages > kNothing) return false;
    std::ranges::fill(pages_.first(pages), kNothing);
    return true;
  }
  // The number of a page that was added. Those of what was added in one piece follow each other.
  uint32_t NumberOf(PhysAddr page) const {
    const size_t run = RunOf(page);
    const uint64_t before = run == 0 ? 0 : runs_[run - 1].pages;
    return static_cast<uint32_t>(before + (page.value - runs_[run].start) / page_size_);
  }
  uint32_t& At(uint32_t number) { return pages_[number]; }

 private:
  uint64_t EndOf(const ModelRun& run) const { return run.start + run.pages * page_size_; }
  // The last of the sorted runs that begins at or before `page`; past their end if there is none.
  size_t RunOf(PhysAddr page) const {
    const auto sorted = runs_.first(sorted_);
    const auto after = std::ranges::upper_bound(sorted, page.value, {}, &ModelRun::start);
    return after == sorted.begin() ? sorted_ : static_cast<size_t>(after - sorted.begin()) - 1;
  }
  bool Known(PhysAddr start, uint64_t size) const {
    const size_t run = RunOf(start);
    return run < sorted_ && start.value + size <= EndOf(runs_[run]);
  }

  std::span<ModelRun> runs_;
  std::span<uint32_t> pages_;
  uint64_t page_size_;
  size_t count_ = 0;
  size_t sorted_ = 0;
};

bool Contains(std::span<const PhysRange> ranges, PhysRange part) {
  const auto after =
      std::ranges::upper_bound(ranges, part.start, {}, [](PhysRange r) { return r.start; });
  return after != ranges.begin() && (after - 1)->Contains(part);
}

// The first page of `range` that is not writable; nothing: all are.
std::optional<PhysAddr> FirstOutside(std::span<const PhysRange> writable, PhysRange range,
                                     uint64_t page_size) {
  if (Contains(writable, range)) return std::nullopt;
  for (uint64_t offset = 0; offset < range.size; offset += page_size) {
    const PhysAddr page = range.start + offset;
    if (!Contains(writable, {page, page_size})) return page;
  }
  return std::nullopt;
}

}  // namespace

std::expected<void, Error> ReplayMoves(std::span<const Piece> before, std::span<const Piece> moves,
                                       std::span<const PhysRange> writable, uint64_t page_size,
                                       std::span<ModelRun> runs, std::span<uint32_t> pages) {
  Model memory(runs, pages, page_size);
  for (const std::span<const Piece> list : {before, moves}) {
    for (const Piece& piece : list) {
      const uint64_t bits = piece.source.value | piece.destination.value | piece.size;
      if (!IsAligned(bits, page_size)) return std::unexpected(Error{ErrorCode::kNotAligned, bits});
      const PhysAddr last = std::max(piece.source, piece.destination);
      if (last.value + piece.size < last.value) {
        return std::unexpected(Error{ErrorCode::kOutOfRange, last.value});
      }
      if (!memory.Add(piece.source, piece.size) || !memory.Add(piece.destination, piece.size)) {
        return std::unexpected(Error{ErrorCode::kOutOfMemory, runs.size()});
      }
    }
    memory.Unite();  // moves name hardly any page that is not known by then
  }
  if (!memory.Number()) return std::unexpected(Error{ErrorCode::kOutOfMemory, pages.size()});

  for (const Piece& piece : before) {
    if (piece.size == 0) continue;
    const uint32_t destination = memory.NumberOf(piece.destination);
    const uint32_t source = memory.NumberOf(piece.source);
    for (uint32_t i = 0; i < piece.size / page_size; ++i) {
      if ((memory.At(destination + i) & kNamed) != 0) {
        return std::unexpected(
            Error{ErrorCode::kInvalidArgument, piece.destination.value + i * page_size});
      }
      memory.At(destination + i) |= kNamed;
      uint32_t& held = memory.At(source + i);
      if ((held & ~kNamed) != kNothing) {
        return std::unexpected(Error{ErrorCode::kOverlap, piece.source.value + i * page_size});
      }
      held = (held & kNamed) | (destination + i);
    }
  }
  for (const Piece& move : moves) {
    if (move.size == 0) continue;
    if (const auto outside = FirstOutside(writable, {move.destination, move.size}, page_size)) {
      return std::unexpected(Error{ErrorCode::kOutOfRange, outside->value});
    }
    const uint32_t destination = memory.NumberOf(move.destination);
    const uint32_t source = memory.NumberOf(move.source);
    for (uint32_t i = 0; i < move.size / page_size; ++i) {
      uint32_t& held = memory.At(destination + i);
      held = (held & kNamed) | (memory.At(source + i) & ~kNamed);
    }
  }
  for (const Piece& piece : before) {
    if (piece.size == 0) continue;
    const uint32_t destination = memory.NumberOf(piece.destination);
    for (uint32_t i = 0; i < piece.size / page_size; ++i) {
      if ((memory.At(destination + i) & ~kNamed) != destination + i) {
        return std::unexpected(
            Error{ErrorCode::kWrongContent, piece.destination.value + i * page_size});
      }
    }
  }
  return {};
}

}  // namespace khop::plan
