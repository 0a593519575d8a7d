// SPDX-License-Identifier: MIT
#include "core/arm64/registers.h"

#include <gtest/gtest.h>

#include "core/arm64/regime.h"

namespace khop::arm64 {
namespace {

TEST(Registers, GranuleSupport) {
  using R = IdAa64Mmfr0El1;
  // As a Cortex-A57 has it: 4K and 64K, no 16K, 44 bits.
  const auto a57 = R::FromRaw(0x1124);
  EXPECT_TRUE(a57.SupportsGranule(12));
  EXPECT_FALSE(a57.SupportsGranule(14));
  EXPECT_TRUE(a57.SupportsGranule(16));
  EXPECT_FALSE(a57.SupportsGranule(13));
  EXPECT_EQ(PaRangeBits(a57.Get<R::PA_RANGE>()), 44U);
  const auto none = R{}.With<R::T_GRAN4>(15).With<R::T_GRAN64>(15);
  EXPECT_FALSE(none.SupportsGranule(12) || none.SupportsGranule(14) || none.SupportsGranule(16));
  const auto lpa2 = R{}.With<R::T_GRAN4>(1).With<R::T_GRAN16>(2);
  EXPECT_TRUE(lpa2.SupportsGranule(12) && lpa2.SupportsGranule(14));
}

TEST(Registers, PaRange) {
  EXPECT_EQ(PaRangeBits(0), 32U);
  EXPECT_EQ(PaRangeBits(kPaRange48), 48U);
  EXPECT_EQ(PaRangeBits(6), 52U);
  EXPECT_EQ(PaRangeBits(15), 56U);
}

TEST(Registers, CacheAndZeroBlockSizes) {
  // Cortex-A57: 64-byte lines, DC ZVA of 64 bytes.
  const auto ctr = CtrEl0::FromRaw(0x8444'c004);
  EXPECT_EQ(ctr.dcache_line_size(), 64U);
  EXPECT_EQ(ctr.icache_line_size(), 64U);
  EXPECT_EQ(CtrEl0::FromRaw(0x8005'0003).dcache_line_size(), 128U);
  EXPECT_EQ(CtrEl0::FromRaw(0x8005'0003).icache_line_size(), 32U);
  EXPECT_EQ(DczidEl0::FromRaw(4).zero_block_size(), 64U);
  EXPECT_EQ(DczidEl0::FromRaw(0x14).zero_block_size(), 0U);
}

TEST(Regime, FollowsCurrentElAndE2h) {
  const auto vhe = HcrEl2{}.With<HcrEl2::E2H>(1);
  EXPECT_EQ(RegimeOf(CurrentEl::FromRaw(4), HcrEl2{}), Regime::kEl1);
  EXPECT_EQ(RegimeOf(CurrentEl::FromRaw(4), vhe), Regime::kEl1);
  EXPECT_EQ(RegimeOf(CurrentEl::FromRaw(8), HcrEl2{}), Regime::kEl2);
  EXPECT_EQ(RegimeOf(CurrentEl::FromRaw(8), vhe), Regime::kEl2Host);
}

TEST(Regime, TcrOfTwoRanges) {
  for (const Regime regime : {Regime::kEl1, Regime::kEl2Host}) {
    const auto k64 = TcrEl1::FromRaw(TcrFor(regime, PageGeometry::Static(16, 42), 4));
    EXPECT_EQ(k64.Get<TcrEl1::T0SZ>(), 22U);
    EXPECT_EQ(k64.Get<TcrEl1::TG0>(), 1U);
    EXPECT_EQ(k64.Get<TcrEl1::TG1>(), 3U);
    EXPECT_EQ(k64.Get<TcrEl1::IPS>(), 4U);
    EXPECT_EQ(k64.Get<TcrEl1::EPD0>(), 0U);
    EXPECT_EQ(k64.Get<TcrEl1::EPD1>(), 1U);
    EXPECT_EQ(k64.Get<TcrEl1::SH0>(), 3U);
    EXPECT_EQ(k64.Get<TcrEl1::IRGN0>(), 1U);
    EXPECT_EQ(k64.Get<TcrEl1::ORGN0>(), 1U);
    EXPECT_EQ(k64.raw >> 35, 0U);  // TBI, HA, HD and all later extensions
    const auto k16 = TcrEl1::FromRaw(TcrFor(regime, PageGeometry::Static(14, 47), 6));
    EXPECT_EQ(k16.Get<TcrEl1::TG0>(), 2U);
    EXPECT_EQ(k16.Get<TcrEl1::TG1>(), 1U);
    EXPECT_EQ(k16.Get<TcrEl1::IPS>(), kPaRange48);  // never more
  }
}

TEST(Regime, TcrOfOneRange) {
  const auto k64 = TcrEl2::FromRaw(TcrFor(Regime::kEl2, PageGeometry::Static(16, 42), 4));
  EXPECT_EQ(k64.Get<TcrEl2::T0SZ>(), 22U);
  EXPECT_EQ(k64.Get<TcrEl2::TG0>(), 1U);
  EXPECT_EQ(k64.Get<TcrEl2::PS>(), 4U);
  EXPECT_EQ(k64.Get<TcrEl2::SH0>(), 3U);
  EXPECT_EQ(k64.raw & TcrEl2::kRes1, TcrEl2::kRes1);
  EXPECT_EQ(k64.raw & ~TcrEl2::kRes1, 0x4'7516U);
  const auto k16 = TcrEl2::FromRaw(TcrFor(Regime::kEl2, PageGeometry::Static(14, 47), 15));
  EXPECT_EQ(k16.Get<TcrEl2::TG0>(), 2U);
  EXPECT_EQ(k16.Get<TcrEl2::PS>(), kPaRange48);
}

TEST(Regime, Sctlr) {
  // Arm ARM: RES1 bits 29, 28, 23, 22, 20, 11 of SCTLR_EL1; 29, 28, 23, 22, 18, 16, 11, 5, 4 of
  // SCTLR_EL2.
  constexpr uint64_t kEl1 = 1U << 29 | 1U << 28 | 1U << 23 | 1U << 22 | 1U << 20 | 1U << 11;
  constexpr uint64_t kEl2 = 1U << 29 | 1U << 28 | 1U << 23 | 1U << 22 | 1U << 18 | 1U << 16 |
                            1U << 11 | 1U << 5 | 1U << 4;
  EXPECT_EQ(SctlrMmuOff(Regime::kEl1, false), kEl1);
  EXPECT_EQ(SctlrMmuOff(Regime::kEl2, false), kEl2);
  EXPECT_EQ(SctlrMmuOff(Regime::kEl2Host, false), kEl2);
  EXPECT_EQ(SctlrMmuOff(Regime::kEl2Host, true), kEl1);
  for (const Regime regime : {Regime::kEl1, Regime::kEl2, Regime::kEl2Host}) {
    for (const bool tge : {false, true}) {
      EXPECT_EQ(SctlrMmuOn(regime, tge) ^ SctlrMmuOff(regime, tge), 0x1005U);
    }
  }
}

}  // namespace
}  // namespace khop::arm64
