// SPDX-License-Identifier: MIT
// Registers and descriptors as values of 64 bits with named fields. A layout derives from Bits and
// names each field with an alias: `using T0SZ = Field<5, 0>;`, used as `r.Get<TcrEl1::T0SZ>()` and
// `r.With<TcrEl1::T0SZ>(16)`. A field of another layout does not compile.
#pragma once

#include <cstdint>
#include <type_traits>

namespace khop::arm64 {

// Bits kHigh..kLow (as the Arm ARM writes them) of Layout.
template <class Layout, unsigned kHigh, unsigned kLow = kHigh>
struct BitField {
  static_assert(kHigh < 64 && kLow <= kHigh);
  using Owner = Layout;
  static constexpr unsigned kShift = kLow;
  static constexpr uint64_t kMax = ~uint64_t{0} >> (63 - (kHigh - kLow));
  static constexpr uint64_t kMask = kMax << kLow;
};

template <class Layout>
struct Bits {
  uint64_t raw = 0;

  template <unsigned kHigh, unsigned kLow = kHigh>
  using Field = BitField<Layout, kHigh, kLow>;

  template <class F>
  constexpr uint64_t Get() const {
    static_assert(std::is_same_v<typename F::Owner, Layout>);
    return (raw & F::kMask) >> F::kShift;
  }
  // A copy with the field set to `value`, of which bits beyond the field's width are dropped.
  template <class F>
  constexpr Layout With(uint64_t value) const {
    static_assert(std::is_same_v<typename F::Owner, Layout>);
    Layout copy{};
    copy.raw = (raw & ~F::kMask) | (value << F::kShift & F::kMask);
    return copy;
  }
  static constexpr Layout FromRaw(uint64_t raw) {
    Layout layout{};
    layout.raw = raw;
    return layout;
  }
  friend constexpr bool operator==(const Bits&, const Bits&) = default;
};

}  // namespace khop::arm64
