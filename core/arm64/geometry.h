// SPDX-License-Identifier: MIT
// The shape of stage 1 translation tables, computed from the granule and the size of the virtual
// address space (Arm ARM D8.2, "Translation process"). Levels carry the Arm numbering: level 3
// holds pages, and the walk starts at start_level(), 0 with a 4K granule and 48 bits.
#pragma once

#include <cstdint>
#include <expected>

#include "core/base/addr.h"
#include "core/base/error.h"

namespace khop::arm64 {

// Output addresses are 48 bits wide: the 52-bit descriptor formats (FEAT_LPA, FEAT_LPA2) are
// not used.
inline constexpr unsigned kOutputAddressBits = 48;

class PageGeometry {
 public:
  // T0SZ is 16..39 without FEAT_LVA and FEAT_TTST, whatever the granule.
  static constexpr unsigned kMinVaBits = 25;
  static constexpr unsigned kMaxVaBits = 48;
  static constexpr int kLastLevel = 3;

  // `granule_shift`: 12 (4K), 14 (16K) or 16 (64K). `va_bits`: kMinVaBits..kMaxVaBits.
  // Errors: kInvalidArgument with the offending value.
  static constexpr std::expected<PageGeometry, Error> Make(unsigned granule_shift,
                                                           unsigned va_bits) {
    if (granule_shift != 12 && granule_shift != 14 && granule_shift != 16) {
      return std::unexpected(Error{ErrorCode::kInvalidArgument, granule_shift});
    }
    if (va_bits < kMinVaBits || va_bits > kMaxVaBits) {
      return std::unexpected(Error{ErrorCode::kInvalidArgument, va_bits});
    }
    return PageGeometry(granule_shift, va_bits);
  }

  // As Make() for values known at compile time; bad ones do not compile.
  static consteval PageGeometry Static(unsigned granule_shift, unsigned va_bits) {
    return *Make(granule_shift, va_bits);
  }

  constexpr unsigned granule_shift() const { return granule_shift_; }
  constexpr uint64_t granule_size() const { return uint64_t{1} << granule_shift_; }
  constexpr unsigned va_bits() const { return va_bits_; }
  // Number of virtual addresses, which start at 0 (the TTBR0 half).
  constexpr uint64_t va_size() const { return uint64_t{1} << va_bits_; }
  // TCR_ELx.T0SZ.
  constexpr unsigned t0sz() const { return 64 - va_bits_; }

  // Address bits that one full table resolves: a table is one granule of 8-byte descriptors.
  constexpr unsigned bits_per_level() const { return granule_shift_ - 3; }
  constexpr uint64_t entries_per_table() const { return uint64_t{1} << bits_per_level(); }
  constexpr int start_level() const {
    const unsigned resolved = va_bits_ - granule_shift_;
    const unsigned levels = (resolved + bits_per_level() - 1) / bits_per_level();
    return kLastLevel + 1 - static_cast<int>(levels);
  }
  constexpr bool has_level(int level) const {
    return level >= start_level() && level <= kLastLevel;
  }

  // For all of the following, has_level(level) is required.

  // An entry of a table at `level` maps 2^level_shift bytes.
  constexpr unsigned level_shift(int level) const {
    return granule_shift_ + bits_per_level() * static_cast<unsigned>(kLastLevel - level);
  }
  constexpr uint64_t entry_span(int level) const { return uint64_t{1} << level_shift(level); }
  // Bits of the index into a table at `level`: fewer than bits_per_level() only where the walk
  // starts.
  constexpr unsigned index_bits(int level) const {
    return level == start_level() ? va_bits_ - level_shift(level) : bits_per_level();
  }
  constexpr uint64_t entries(int level) const { return uint64_t{1} << index_bits(level); }
  // `va` is below va_size().
  constexpr uint64_t index(VirtAddr va, int level) const {
    return va.value >> level_shift(level) & (entries(level) - 1);
  }

  // True where a descriptor may end the walk: pages at level 3; blocks of 1 GiB and 2 MiB with 4K,
  // 32 MiB with 16K, 512 MiB with 64K. Larger blocks exist with 52-bit output addresses only.
  constexpr bool is_leaf_level(int level) const {
    return level == kLastLevel || level == 2 || (level == 1 && granule_shift_ == 12);
  }

  // Adjacent, aligned entries that the Contiguous bit may join (Arm ARM D8.7.1, "The Contiguous
  // bit"), or 1 where it may not be used. A first table that is smaller than such a group must
  // not use it.
  constexpr uint64_t contiguous_entries(int level) const {
    if (!is_leaf_level(level)) {
      return 1;
    }
    uint64_t group = 16;  // 4K: 64 KiB, 32 MiB, 16 GiB
    if (granule_shift_ == 14) {
      group = level == kLastLevel ? 128 : 32;  // 2 MiB, 1 GiB
    } else if (granule_shift_ == 16) {
      group = 32;  // 2 MiB, 16 GiB
    }
    return group <= entries(level) ? group : 1;
  }
  // Bytes that contiguous_entries(level) entries map.
  constexpr uint64_t contiguous_span(int level) const {
    return contiguous_entries(level) << level_shift(level);
  }

  friend constexpr bool operator==(PageGeometry, PageGeometry) = default;

 private:
  constexpr PageGeometry(unsigned granule_shift, unsigned va_bits)
      : granule_shift_(static_cast<uint8_t>(granule_shift)),
        va_bits_(static_cast<uint8_t>(va_bits)) {}

  uint8_t granule_shift_;
  uint8_t va_bits_;
};

// The layouts that Arm ARM D8.2 tabulates.
static_assert(PageGeometry::Static(12, 48).start_level() == 0);
static_assert(PageGeometry::Static(12, 39).start_level() == 1);
static_assert(PageGeometry::Static(12, 42).index_bits(0) == 3);
static_assert(PageGeometry::Static(14, 48).start_level() == 0);
static_assert(PageGeometry::Static(14, 48).index_bits(0) == 1);
static_assert(PageGeometry::Static(14, 47).start_level() == 1);
static_assert(PageGeometry::Static(14, 36).start_level() == 2);
static_assert(PageGeometry::Static(16, 48).start_level() == 1);
static_assert(PageGeometry::Static(16, 48).index_bits(1) == 6);
static_assert(PageGeometry::Static(16, 42).start_level() == 2);
static_assert(PageGeometry::Static(16, 25).start_level() == 3);
static_assert(PageGeometry::Static(12, 48).t0sz() == 16);
static_assert(PageGeometry::Static(12, 48).entry_span(1) == uint64_t{1} << 30);
static_assert(PageGeometry::Static(12, 48).entry_span(2) == uint64_t{2} << 20);
static_assert(PageGeometry::Static(14, 47).entry_span(2) == uint64_t{32} << 20);
static_assert(PageGeometry::Static(16, 42).entry_span(2) == uint64_t{512} << 20);
static_assert(PageGeometry::Static(12, 48).contiguous_span(3) == uint64_t{64} << 10);
static_assert(PageGeometry::Static(14, 48).contiguous_span(3) == uint64_t{2} << 20);
static_assert(PageGeometry::Static(16, 48).contiguous_span(3) == uint64_t{2} << 20);

}  // namespace khop::arm64
