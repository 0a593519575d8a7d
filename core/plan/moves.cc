// SPDX-License-Identifier: MIT
#include "core/plan/moves.h"

#include <algorithm>

namespace khop::plan {
namespace {

uint64_t SourceOf(const Piece& piece) { return piece.source.value; }
uint64_t DestinationOf(const Piece& piece) { return piece.destination.value; }

// Every page of `pieces` as a piece of its own. False if there are more than `pages` has room for.
bool SplitIntoPages(std::span<const Piece> pieces, uint64_t page_size, std::span<Piece> pages,
                    size_t* count) {
  *count = 0;
  for (const Piece& piece : pieces) {
    for (uint64_t offset = 0; offset < piece.size; offset += page_size) {
      if (*count == pages.size()) return false;
      pages[(*count)++] = {piece.source + offset, piece.destination + offset, page_size};
    }
  }
  return true;
}

template <typename Key>
const Piece* FindDuplicate(std::span<const Piece> sorted, Key key) {
  const auto found = std::ranges::adjacent_find(sorted, {}, key);
  return found == sorted.end() ? nullptr : &*found;
}

// The pages that are still to be moved, found by what they read. A page that is done has size 0.
class Pending {
 public:
  explicit Pending(std::span<Piece> by_source) : pages_(by_source) {}
  // The page that reads from `address`; null if none does any more.
  Piece* ReaderOf(PhysAddr address) const {
    const auto found = std::ranges::lower_bound(pages_, address.value, {}, SourceOf);
    if (found == pages_.end() || found->source != address || found->size == 0) return nullptr;
    return &*found;
  }

 private:
  std::span<Piece> pages_;
};

// The output: one page after the other, joined where they continue each other.
class Output {
 public:
  explicit Output(std::span<Piece> pieces) : pieces_(pieces) {}
  size_t size() const { return count_; }
  bool Add(const Piece& piece) {
    if (count_ == pieces_.size()) return false;
    pieces_[count_++] = piece;
    return true;
  }
  void Replace(size_t index, const Piece& piece) { pieces_[index] = piece; }
  void ReverseFrom(size_t first) { std::ranges::reverse(pieces_.subspan(first, count_ - first)); }
  size_t Join() {
    size_t joined = 0;
    for (size_t i = 0; i < count_; ++i) {
      Piece* const last = joined != 0 ? &pieces_[joined - 1] : nullptr;
      if (last != nullptr && last->source + last->size == pieces_[i].source &&
          last->destination + last->size == pieces_[i].destination) {
        last->size += pieces_[i].size;
      } else {
        pieces_[joined++] = pieces_[i];
      }
    }
    return joined;
  }

 private:
  std::span<Piece> pieces_;
  size_t count_ = 0;
};

// Emits `first` and all that has to be done before it: the page that reads what it overwrites, the
// page that reads what that one overwrites, and so on, from the end of this chain on. If the chain
// comes back to `first`, its bytes wait in `spare`.
std::expected<void, Error> EmitChain(const Pending& pending, Piece* first, PhysRange spare,
                                     Output& out) {
  const Error full = {ErrorCode::kOutOfMemory, out.size()};
  const size_t start = out.size();
  const Piece begin = *first;
  bool cycle = false;
  for (Piece* page = first; page != nullptr;) {
    if (!out.Add(*page)) return std::unexpected(full);
    page->size = 0;
    cycle = page->destination == begin.source;
    page = pending.ReaderOf(page->destination);
  }
  if (!cycle) {
    out.ReverseFrom(start);
    return {};
  }
  if (spare.size < begin.size) return std::unexpected(Error{ErrorCode::kOutOfMemory, 0});
  // The first entry becomes the rescue; its page comes last, out of the spare one.
  out.ReverseFrom(start + 1);
  const bool added = out.Add({spare.start, begin.destination, begin.size});
  if (!added) return std::unexpected(full);
  out.Replace(start, {begin.source, spare.start, begin.size});
  return {};
}

// The largest block size (of 1 GiB, 2 MiB, 64 KiB, or 1) with which a piece of the run could be
// mapped if its virtual address were as good as its destination.
uint64_t BestBlock(std::span<const Piece> run) {
  uint64_t best = 1;
  for (const Piece& piece : run) {
    for (const uint64_t block : {uint64_t{1} << 30, uint64_t{2} << 20, uint64_t{64} << 10}) {
      const bool same = IsAligned(piece.source.value ^ piece.destination.value, block);
      const uint64_t first = AlignUp(piece.source.value, block);
      if (same && first + block <= piece.source.value + piece.size) {
        best = std::max(best, block);
        break;
      }
    }
  }
  return best;
}

}  // namespace

std::expected<size_t, Error> OrderMoves(std::span<const Piece> pieces, uint64_t page_size,
                                        PhysRange spare, std::span<Piece> scratch,
                                        std::span<Piece> ordered) {
  for (const Piece& piece : pieces) {
    const uint64_t bits = piece.source.value | piece.destination.value | piece.size;
    if (!IsAligned(bits, page_size)) return std::unexpected(Error{ErrorCode::kNotAligned, bits});
  }
  size_t count = 0;
  if (!SplitIntoPages(pieces, page_size, scratch, &count) || scratch.size() < 2 * count) {
    return std::unexpected(Error{ErrorCode::kOutOfMemory, scratch.size()});
  }
  const std::span<Piece> by_source = scratch.first(count);
  const std::span<Piece> by_destination = scratch.subspan(count, count);
  std::ranges::copy(by_source, by_destination.begin());
  std::ranges::sort(by_source, {}, SourceOf);
  std::ranges::sort(by_destination, {}, DestinationOf);
  if (const Piece* twice = FindDuplicate(by_source, SourceOf)) {
    return std::unexpected(Error{ErrorCode::kOverlap, twice->source.value});
  }
  if (const Piece* twice = FindDuplicate(by_destination, DestinationOf)) {
    return std::unexpected(Error{ErrorCode::kOverlap, twice->destination.value});
  }
  for (Piece& page : by_source) {
    if (page.in_place()) page.size = 0;
  }
  // In the order of destinations, so that what nothing stands in the way of stays linear.
  const Pending pending(by_source);
  Output out(ordered);
  for (const Piece& page : by_destination) {
    Piece* const first = pending.ReaderOf(page.source);
    if (first == nullptr) continue;
    if (const auto done = EmitChain(pending, first, spare, out); !done) {
      return std::unexpected(done.error());
    }
  }
  return out.Join();
}

std::expected<MoveList, Error> LayOutMoves(std::span<const Piece> pieces,
                                           const arm64::PageGeometry* geometry, uint64_t above,
                                           std::span<handoff::Move> moves,
                                           std::span<WindowPiece> window) {
  MoveList list;
  uint64_t virt = AlignUp(above, uint64_t{1} << 30);
  size_t i = 0;
  while (i < pieces.size()) {
    if (pieces[i].in_place()) {
      ++i;
      continue;
    }
    // A run: destinations that follow each other, and with the MMU off sources too.
    size_t end = i;
    uint64_t size = 0;
    while (end < pieces.size() && !pieces[end].in_place() &&
           pieces[end].destination == pieces[i].destination + size &&
           (geometry != nullptr || pieces[end].source == pieces[i].source + size)) {
      size += pieces[end++].size;
    }
    if (list.moves == moves.size()) {
      return std::unexpected(Error{ErrorCode::kOutOfMemory, moves.size()});
    }
    const uint64_t destination = pieces[i].destination.value;
    uint64_t source = pieces[i].source.value;
    if (geometry != nullptr) {
      // The least skip to an address that equals the destination modulo the block.
      virt += (destination - virt) & (BestBlock(pieces.subspan(i, end - i)) - 1);
      if (virt + size < virt || virt + size > geometry->va_size()) {
        return std::unexpected(Error{ErrorCode::kOutOfRange, virt});
      }
      source = virt;
      for (const Piece& piece : pieces.subspan(i, end - i)) {
        WindowPiece* const last = list.windows != 0 ? &window[list.windows - 1] : nullptr;
        if (last != nullptr && last->virt.value + last->size == virt &&
            last->phys + last->size == piece.source) {
          last->size += piece.size;
        } else if (list.windows < window.size()) {
          window[list.windows++] = {{virt}, piece.source, piece.size};
        } else {
          return std::unexpected(Error{ErrorCode::kOutOfMemory, window.size()});
        }
        virt += piece.size;
      }
    }
    moves[list.moves++] = {.source = source, .destination = destination, .size = size};
    list.bytes += size;
    i = end;
  }
  return list;
}

}  // namespace khop::plan
