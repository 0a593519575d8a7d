// SPDX-License-Identifier: MIT
#include "core/plan/checker.h"

#include <algorithm>

namespace khop::plan {
namespace {

// Addresses are of whole pages: the lowest bit of one says that it was named as a destination.
constexpr uint64_t kNamed = 1;

class Model {
 public:
  Model(std::span<ModelPage> pages, uint64_t page_size) : pages_(pages), page_size_(page_size) {}

  bool Add(PhysAddr start, uint64_t size) {
    for (uint64_t offset = 0; offset < size; offset += page_size_) {
      if (count_ == pages_.size()) {
        Unite();  // most pages come more than once
        if (count_ == pages_.size()) return false;
      }
      pages_[count_++] = {start.value + offset, ModelPage::kNothing};
    }
    return true;
  }
  // After the last Add().
  void Unite() {
    const auto used = pages_.first(count_);
    std::ranges::sort(used, {}, &ModelPage::address);
    const auto rest = std::ranges::unique(used, {}, &ModelPage::address);
    count_ = static_cast<size_t>(rest.begin() - used.begin());
  }
  // The page was added.
  ModelPage& At(uint64_t address) {
    return *std::ranges::lower_bound(pages_.first(count_), address, {},
                                     [](const ModelPage& page) { return page.address & ~kNamed; });
  }

 private:
  std::span<ModelPage> pages_;
  uint64_t page_size_;
  size_t count_ = 0;
};

bool Contains(std::span<const PhysRange> ranges, PhysRange page) {
  const auto after =
      std::ranges::upper_bound(ranges, page.start, {}, [](PhysRange r) { return r.start; });
  return after != ranges.begin() && (after - 1)->Contains(page);
}

}  // namespace

std::expected<void, Error> ReplayMoves(std::span<const Piece> before, std::span<const Piece> moves,
                                       std::span<const PhysRange> writable, uint64_t page_size,
                                       std::span<ModelPage> model) {
  Model memory(model, page_size);
  for (const std::span<const Piece> list : {before, moves}) {
    for (const Piece& piece : list) {
      const uint64_t bits = piece.source.value | piece.destination.value | piece.size;
      if (!IsAligned(bits, page_size)) return std::unexpected(Error{ErrorCode::kNotAligned, bits});
      if (!memory.Add(piece.source, piece.size) || !memory.Add(piece.destination, piece.size)) {
        return std::unexpected(Error{ErrorCode::kOutOfMemory, model.size()});
      }
    }
  }
  memory.Unite();

  for (const Piece& piece : before) {
    for (uint64_t offset = 0; offset < piece.size; offset += page_size) {
      const uint64_t destination = piece.destination.value + offset;
      ModelPage& named = memory.At(destination);
      if ((named.address & kNamed) != 0) {
        return std::unexpected(Error{ErrorCode::kInvalidArgument, destination});
      }
      named.address |= kNamed;
      ModelPage& held = memory.At(piece.source.value + offset);
      if (held.holds != ModelPage::kNothing) {
        return std::unexpected(Error{ErrorCode::kOverlap, piece.source.value + offset});
      }
      held.holds = destination;
    }
  }
  for (const Piece& move : moves) {
    for (uint64_t offset = 0; offset < move.size; offset += page_size) {
      const PhysAddr destination = move.destination + offset;
      if (!Contains(writable, {destination, page_size})) {
        return std::unexpected(Error{ErrorCode::kOutOfRange, destination.value});
      }
      memory.At(destination.value).holds = memory.At(move.source.value + offset).holds;
    }
  }
  for (const Piece& piece : before) {
    for (uint64_t offset = 0; offset < piece.size; offset += page_size) {
      const uint64_t destination = piece.destination.value + offset;
      if (memory.At(destination).holds != destination) {
        return std::unexpected(Error{ErrorCode::kWrongContent, destination});
      }
    }
  }
  return {};
}

}  // namespace khop::plan
