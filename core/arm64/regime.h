// SPDX-License-Identifier: MIT
// The three translation regimes that the relocator can find itself in, as a type, and the values of
// the registers that control translation in each.
#pragma once

#include <cstdint>

#include "core/arm64/geometry.h"
#include "core/arm64/registers.h"

namespace khop::arm64 {

enum class Regime : uint8_t {
  kEl1,      // EL1&0
  kEl2,      // EL2, HCR_EL2.E2H = 0: one privilege level, one VA range
  kEl2Host,  // EL2&0, HCR_EL2.E2H = 1 (VHE)
};

// `hcr` is looked at only at EL2 and may be 0 at EL1, where HCR_EL2 cannot be read.
constexpr Regime RegimeOf(CurrentEl current_el, HcrEl2 hcr) {
  if (current_el.Get<CurrentEl::EL>() < 2) {
    return Regime::kEl1;
  }
  return hcr.Get<HcrEl2::E2H>() != 0 ? Regime::kEl2Host : Regime::kEl2;
}

// TCR_ELx.TG0 and TG1 name the same granules by different numbers.
constexpr uint64_t Tg0(PageGeometry geometry) {
  return geometry.granule_shift() == 12 ? 0 : geometry.granule_shift() == 16 ? 1 : 2;
}
constexpr uint64_t Tg1(PageGeometry geometry) {
  return geometry.granule_shift() == 12 ? 2 : geometry.granule_shift() == 16 ? 3 : 1;
}

// The value of TCR_EL1 (kEl1) or TCR_EL2 for tables of `geometry` in TTBR0_ELx: walks are Normal
// Write-Back Inner Shareable; no walks through TTBR1 where that exists; TBI, HA, HD and all that
// later extensions brought off. `pa_range` is ID_AA64MMFR0_EL1.PARange of the CPU it is for;
// descriptors being of the 48-bit format, more than 48 bits are not asked for.
constexpr uint64_t TcrFor(Regime regime, PageGeometry geometry, uint64_t pa_range) {
  constexpr uint64_t kWriteBackAllocate = 1;
  constexpr uint64_t kInnerShareable = 3;
  const uint64_t ips = pa_range < kPaRange48 ? pa_range : kPaRange48;
  if (regime == Regime::kEl2) {
    return TcrEl2::FromRaw(TcrEl2::kRes1)
        .With<TcrEl2::T0SZ>(geometry.t0sz())
        .With<TcrEl2::IRGN0>(kWriteBackAllocate)
        .With<TcrEl2::ORGN0>(kWriteBackAllocate)
        .With<TcrEl2::SH0>(kInnerShareable)
        .With<TcrEl2::TG0>(Tg0(geometry))
        .With<TcrEl2::PS>(ips)
        .raw;
  }
  return TcrEl1{}
      .With<TcrEl1::T0SZ>(geometry.t0sz())
      .With<TcrEl1::IRGN0>(kWriteBackAllocate)
      .With<TcrEl1::ORGN0>(kWriteBackAllocate)
      .With<TcrEl1::SH0>(kInnerShareable)
      .With<TcrEl1::TG0>(Tg0(geometry))
      .With<TcrEl1::EPD1>(1)
      // Not used with EPD1 set, but a granule or size that the CPU lacks is never written.
      .With<TcrEl1::T1SZ>(geometry.t0sz())
      .With<TcrEl1::TG1>(Tg1(geometry))
      .With<TcrEl1::IPS>(ips)
      .raw;
}

// SCTLR_EL1 or SCTLR_EL2 with MMU and caches off, little-endian, no alignment checks beyond those
// of Device memory. `tge` is HCR_EL2.TGE; it matters for kEl2Host only.
constexpr uint64_t SctlrMmuOff(Regime regime, bool tge) {
  switch (regime) {
    case Regime::kEl1:
      return SctlrEl1::kRes1;
    case Regime::kEl2Host:
      return tge ? SctlrEl2::kRes1Host : SctlrEl2::kRes1;
    case Regime::kEl2:
      break;
  }
  return SctlrEl2::kRes1;
}

// As SctlrMmuOff, with MMU and both caches on. WXN and EPAN are 0, as descriptors.h wants it.
constexpr uint64_t SctlrMmuOn(Regime regime, bool tge) {
  // M, C and I are where they are in both registers.
  static_assert(SctlrEl1::M::kMask == SctlrEl2::M::kMask);
  static_assert(SctlrEl1::C::kMask == SctlrEl2::C::kMask);
  static_assert(SctlrEl1::I::kMask == SctlrEl2::I::kMask);
  return SctlrMmuOff(regime, tge) | SctlrEl1::M::kMask | SctlrEl1::C::kMask | SctlrEl1::I::kMask;
}

// 4K, 48 bits, 40-bit physical addresses.
static_assert(TcrFor(Regime::kEl1, PageGeometry::Static(12, 48), 2) == 0x2'8090'3510);
static_assert(TcrFor(Regime::kEl2, PageGeometry::Static(12, 48), 2) == 0x8082'3510);
static_assert(SctlrMmuOn(Regime::kEl1, false) == 0x30d0'1805);
static_assert(SctlrMmuOn(Regime::kEl2, false) == 0x30c5'1835);

}  // namespace khop::arm64
