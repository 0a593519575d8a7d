// SPDX-License-Identifier: MIT
// What is relocated: a payload of words that are known without storing them, in pages whose places
// are known without storing them, too.
#pragma once

#include <cstdint>

#include "core/base/addr.h"

namespace khop::bench {

// The payload's word at byte `offset`.
constexpr uint64_t PayloadWord(uint64_t offset) { return (offset + 1) * 0x9e37'79b9'7f4a'7c15; }

// The pages of a payload, scattered over twice its size: every other slot is taken, in an order
// that jumps to and fro, so that no two neighbours of the payload are neighbours in memory.
class ScatteredPages {
 public:
  // `size` and `page` are multiples of 4096 and not 0; the last page may be used in part.
  constexpr ScatteredPages(PhysAddr area, uint64_t size, uint64_t page)
      : area_(area), size_(size), page_(page), count_((size + page - 1) / page) {
    // The golden section of the count, made coprime to it: a permutation.
    stride_ = count_ * 618 / 1000;
    while (CommonDivisor(stride_, count_) != 1) ++stride_;
  }

  constexpr uint64_t count() const { return count_; }
  constexpr uint64_t area_size() const { return 2 * count_ * page_; }
  // Bytes of page `index` that are in use.
  constexpr uint64_t size(uint64_t index) const {
    const uint64_t left = size_ - index * page_;
    return left < page_ ? left : page_;
  }
  constexpr PhysAddr at(uint64_t index) const {
    return area_ + (index * stride_ % count_ * 2 + 1) * page_;
  }

 private:
  static constexpr uint64_t CommonDivisor(uint64_t a, uint64_t b) {
    while (b != 0) {
      const uint64_t rest = a % b;
      a = b;
      b = rest;
    }
    return a;
  }

  PhysAddr area_;
  uint64_t size_, page_, count_;
  uint64_t stride_ = 1;
};

static_assert(ScatteredPages(PhysAddr{0}, 4 * 4096, 4096).at(3).value == 3 * 4096);

}  // namespace khop::bench
