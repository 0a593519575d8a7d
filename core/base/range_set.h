// SPDX-License-Identifier: MIT
// A set of physical addresses as sorted, disjoint ranges in memory of the caller.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>

#include "core/base/addr.h"
#include "core/base/error.h"

namespace khop {

// No two ranges in it overlap, touch or are empty, and they are in ascending order. Add and Remove
// take time proportional to the number of ranges, look-ups to its logarithm.
class RangeSet {
 public:
  // Empty. `storage` must outlive the set and bounds how many ranges it can hold.
  explicit constexpr RangeSet(std::span<PhysRange> storage) : storage_(storage) {}

  // Adds all addresses of `range`, which may overlap what is there. Errors, after which the set is
  // as before: kOutOfMemory (the number of ranges there is space for); kInvalidArgument (its start)
  // if `range` wraps around.
  constexpr std::expected<void, Error> Add(PhysRange range) {
    if (!range.valid()) {
      return std::unexpected(Error{ErrorCode::kInvalidArgument, range.start.value});
    }
    if (range.empty()) {
      return {};
    }
    // The ranges that overlap or touch it, [first, last), become one with it.
    const size_t first = FirstEndingAtOrAfter(range.start);
    size_t last = first;
    uint64_t end = range.end().value;
    while (last < count_ && storage_[last].start.value <= end) {
      range.start = range.start < storage_[last].start ? range.start : storage_[last].start;
      end = end > storage_[last].end().value ? end : storage_[last].end().value;
      ++last;
    }
    range.size = end - range.start.value;
    return Replace(first, last, {&range, 1});
  }

  // Removes all addresses of `range`, of which the set need not have any. Errors as Add(): a hole
  // in the middle of a range makes two of it.
  constexpr std::expected<void, Error> Remove(PhysRange range) {
    if (!range.valid()) {
      return std::unexpected(Error{ErrorCode::kInvalidArgument, range.start.value});
    }
    if (range.empty()) {
      return {};
    }
    const size_t first = FirstEndingAfter(range.start);
    size_t last = first;
    while (last < count_ && storage_[last].start < range.end()) {
      ++last;
    }
    if (first == last) {
      return {};
    }
    PhysRange rest[2];
    size_t rests = 0;
    if (storage_[first].start < range.start) {
      rest[rests++] = {storage_[first].start, range.start - storage_[first].start};
    }
    if (range.end() < storage_[last - 1].end()) {
      rest[rests++] = {range.end(), storage_[last - 1].end() - range.end()};
    }
    return Replace(first, last, {rest, rests});
  }

  constexpr void Clear() { count_ = 0; }

  // True if the set has every address of `range`; true for an empty one.
  constexpr bool Contains(PhysRange range) const {
    if (range.empty()) {
      return true;
    }
    const size_t i = FirstEndingAfter(range.start);
    return range.valid() && i < count_ && storage_[i].Contains(range);
  }
  constexpr bool Contains(PhysAddr address) const { return Contains(PhysRange{address, 1}); }

  // True if the set has any address of `range`, which does not wrap around.
  constexpr bool Overlaps(PhysRange range) const {
    const size_t i = FirstEndingAfter(range.start);
    return i < count_ && storage_[i].Overlaps(range);
  }

  // The number of addresses in the set.
  constexpr uint64_t total_bytes() const {
    uint64_t total = 0;
    for (const PhysRange& range : ranges()) {
      total += range.size;
    }
    return total;
  }

  // In ascending order. Changed by Add and Remove.
  constexpr std::span<const PhysRange> ranges() const { return storage_.first(count_); }
  constexpr auto begin() const { return ranges().begin(); }
  constexpr auto end() const { return ranges().end(); }
  constexpr size_t size() const { return count_; }
  constexpr bool empty() const { return count_ == 0; }

 private:
  // The index of the first range that ends behind `address`, so that it holds it or is above it.
  constexpr size_t FirstEndingAfter(PhysAddr address) const {
    size_t low = 0;
    size_t high = count_;
    while (low < high) {
      const size_t middle = low + (high - low) / 2;
      if (storage_[middle].end() > address) {
        high = middle;
      } else {
        low = middle + 1;
      }
    }
    return low;
  }
  constexpr size_t FirstEndingAtOrAfter(PhysAddr address) const {
    const size_t i = FirstEndingAfter(address);
    return i > 0 && storage_[i - 1].end() == address ? i - 1 : i;
  }

  // Puts `with` in the place of the ranges [first, last).
  constexpr std::expected<void, Error> Replace(size_t first, size_t last,
                                               std::span<const PhysRange> with) {
    const size_t new_count = count_ - (last - first) + with.size();
    if (new_count > storage_.size()) {
      return std::unexpected(Error{ErrorCode::kOutOfMemory, storage_.size()});
    }
    const size_t new_last = first + with.size();
    if (new_last < last) {
      for (size_t i = last; i < count_; ++i) {
        storage_[new_last + (i - last)] = storage_[i];
      }
    } else if (new_last > last) {
      for (size_t i = count_; i > last; --i) {
        storage_[new_last + (i - 1 - last)] = storage_[i - 1];
      }
    }
    for (size_t i = 0; i < with.size(); ++i) {
      storage_[first + i] = with[i];
    }
    count_ = new_count;
    return {};
  }

  std::span<PhysRange> storage_;
  size_t count_ = 0;
};

}  // namespace khop
