// SPDX-License-Identifier: MIT
// System register layouts that the relocator and the loader use, named as in the Arm ARM (chapter
// D24, "AArch64 System Register Descriptions"). Layouts only: reading and writing registers is in
// instructions.h, and the values for each translation regime are computed in regime.h.
#pragma once

#include <cstdint>

#include "core/arm64/bit_field.h"
#include "core/arm64/descriptors.h"

namespace khop::arm64 {

// ---- Control registers ----

struct SctlrEl1 : Bits<SctlrEl1> {
  using M = Field<0>;
  using A = Field<1>;
  using C = Field<2>;
  using SA = Field<3>;
  using EOS = Field<11>;
  using I = Field<12>;
  using WXN = Field<19>;
  using TSCXT = Field<20>;
  using EIS = Field<22>;
  using SPAN = Field<23>;
  using EE = Field<25>;
  using N_TLSMD = Field<28>;
  using LSMAOE = Field<29>;
  using EPAN = Field<57>;

  // The bits that are RES1 where the feature that gives them a meaning is missing, all of which
  // keep the Armv8.0 behaviour as 1: LSMAOE, nTLSMD, SPAN, EIS, TSCXT, EOS.
  static constexpr uint64_t kRes1 =
      LSMAOE::kMask | N_TLSMD::kMask | SPAN::kMask | EIS::kMask | TSCXT::kMask | EOS::kMask;
};
static_assert(SctlrEl1::kRes1 == 0x30d0'0800);

// M, A, C, SA, I, WXN and EE as in SctlrEl1; the reserved bits depend on HCR_EL2.{E2H,TGE}.
struct SctlrEl2 : Bits<SctlrEl2> {
  using M = Field<0>;
  using A = Field<1>;
  using C = Field<2>;
  using SA = Field<3>;
  using SA0 = Field<4>;
  using CP15BEN = Field<5>;
  using EOS = Field<11>;
  using I = Field<12>;
  using N_TWI = Field<16>;
  using N_TWE = Field<18>;
  using WXN = Field<19>;
  using TSCXT = Field<20>;
  using EIS = Field<22>;
  using SPAN = Field<23>;
  using EE = Field<25>;
  using N_TLSMD = Field<28>;
  using LSMAOE = Field<29>;
  using EPAN = Field<57>;

  // E2H = 0, and E2H = 1 with TGE = 0: bits 29, 28, 23, 22, 18, 16, 11, 5 and 4.
  static constexpr uint64_t kRes1 = LSMAOE::kMask | N_TLSMD::kMask | SPAN::kMask | EIS::kMask |
                                    N_TWE::kMask | N_TWI::kMask | EOS::kMask | CP15BEN::kMask |
                                    SA0::kMask;
  // {E2H,TGE} = {1,1}: as SCTLR_EL1. SA0, CP15BEN, nTWI and nTWE control EL0 there and are not
  // reserved.
  static constexpr uint64_t kRes1Host = SctlrEl1::kRes1;
};
static_assert(SctlrEl2::kRes1 == 0x30c5'0830);

// TCR_EL1, and TCR_EL2 when HCR_EL2.E2H is 1.
struct TcrEl1 : Bits<TcrEl1> {
  using T0SZ = Field<5, 0>;
  using EPD0 = Field<7>;
  using IRGN0 = Field<9, 8>;
  using ORGN0 = Field<11, 10>;
  using SH0 = Field<13, 12>;
  using TG0 = Field<15, 14>;
  using T1SZ = Field<21, 16>;
  using A1 = Field<22>;
  using EPD1 = Field<23>;
  using IRGN1 = Field<25, 24>;
  using ORGN1 = Field<27, 26>;
  using SH1 = Field<29, 28>;
  using TG1 = Field<31, 30>;
  using IPS = Field<34, 32>;
  using AS = Field<36>;
  using TBI0 = Field<37>;
  using TBI1 = Field<38>;
  using HA = Field<39>;
  using HD = Field<40>;
  using DS = Field<59>;
};

// TCR_EL2 when HCR_EL2.E2H is 0.
struct TcrEl2 : Bits<TcrEl2> {
  using T0SZ = Field<5, 0>;
  using IRGN0 = Field<9, 8>;
  using ORGN0 = Field<11, 10>;
  using SH0 = Field<13, 12>;
  using TG0 = Field<15, 14>;
  using PS = Field<18, 16>;
  using TBI = Field<20>;
  using HA = Field<21>;
  using HD = Field<22>;
  using DS = Field<32>;

  static constexpr uint64_t kRes1 = uint64_t{1} << 31 | uint64_t{1} << 23;
};

// MAIR_ELx: Attr<n> for MemoryType n. 0xff: Normal, Inner and Outer Write-Back Non-transient, read
// and write allocate. 0x04: Device-nGnRE. 0x44: Normal, Inner and Outer Non-cacheable.
inline constexpr uint64_t kMair =
    uint64_t{0xff} << (8 * static_cast<unsigned>(MemoryType::kNormal)) |
    uint64_t{0x04} << (8 * static_cast<unsigned>(MemoryType::kDevice)) |
    uint64_t{0x44} << (8 * static_cast<unsigned>(MemoryType::kNormalNonCacheable));
static_assert(kMair == 0x44'04ff);

struct HcrEl2 : Bits<HcrEl2> {
  using TGE = Field<27>;
  using E2H = Field<34>;
};

struct CurrentEl : Bits<CurrentEl> {
  using EL = Field<3, 2>;
};

// CPACR_EL1, and CPTR_EL2 when HCR_EL2.E2H is 1.
struct CpacrEl1 : Bits<CpacrEl1> {
  using ZEN = Field<17, 16>;
  using FPEN = Field<21, 20>;  // 3: FP and Advanced SIMD trap nowhere
  using SMEN = Field<25, 24>;
};
inline constexpr uint64_t kFpenNoTrap = 3;

// CPTR_EL2 when HCR_EL2.E2H is 0.
struct CptrEl2 : Bits<CptrEl2> {
  using TZ = Field<8>;
  using TFP = Field<10>;  // 0: FP and Advanced SIMD do not trap to EL2
  using TSM = Field<12>;
};

// ---- Identification registers ----

// PARange, and IPS and PS in TCR: the value for 48 bits.
inline constexpr uint64_t kPaRange48 = 5;

// Physical address bits for a value of ID_AA64MMFR0_EL1.PARange. Values not yet allocated mean at
// least as much as the largest allocated one (Arm ARM D24.1.3, "Principles of the ID scheme").
constexpr unsigned PaRangeBits(uint64_t pa_range) {
  constexpr uint8_t kBits[] = {32, 36, 40, 42, 44, 48, 52, 56};
  return kBits[pa_range < 7 ? pa_range : 7];
}

struct IdAa64Mmfr0El1 : Bits<IdAa64Mmfr0El1> {
  using PA_RANGE = Field<3, 0>;
  using T_GRAN16 = Field<23, 20>;
  using T_GRAN64 = Field<27, 24>;
  using T_GRAN4 = Field<31, 28>;

  // `granule_shift` 12, 14 or 16; anything else is not supported.
  constexpr bool SupportsGranule(unsigned granule_shift) const {
    switch (granule_shift) {
      case 12:  // signed: 0b1111 is "not implemented"
        return Get<T_GRAN4>() < 8;
      case 14:  // unsigned: 0 is "not implemented"
        return Get<T_GRAN16>() != 0;
      case 16:  // signed
        return Get<T_GRAN64>() < 8;
      default:
        return false;
    }
  }
};

struct IdAa64Mmfr1El1 : Bits<IdAa64Mmfr1El1> {
  using VH = Field<11, 8>;
  using PAN = Field<23, 20>;
};

struct IdAa64Mmfr3El1 : Bits<IdAa64Mmfr3El1> {
  using TCRX = Field<3, 0>;    // not 0: TCR2_ELx exist
  using SCTLRX = Field<7, 4>;  // not 0: SCTLR2_ELx exist
};

struct IdAa64Pfr0El1 : Bits<IdAa64Pfr0El1> {
  using FP = Field<19, 16>;
  using ADV_SIMD = Field<23, 20>;

  // Signed fields: 0b1111 is "not implemented".
  constexpr bool has_adv_simd() const { return Get<ADV_SIMD>() < 8; }
};

struct IdAa64Isar0El1 : Bits<IdAa64Isar0El1> {
  using SHA2 = Field<15, 12>;   // 1: SHA256 instructions, 2: SHA512 too
  using CRC32 = Field<19, 16>;  // 1: CRC32 and CRC32C instructions
};

struct CtrEl0 : Bits<CtrEl0> {
  using IMIN_LINE = Field<3, 0>;
  using DMIN_LINE = Field<19, 16>;
  using IDC = Field<28>;
  using DIC = Field<29>;

  // The smallest line of any instruction or data cache that the PE controls, in bytes.
  constexpr uint64_t icache_line_size() const { return uint64_t{4} << Get<IMIN_LINE>(); }
  constexpr uint64_t dcache_line_size() const { return uint64_t{4} << Get<DMIN_LINE>(); }
};

struct DczidEl0 : Bits<DczidEl0> {
  using BS = Field<3, 0>;
  using DZP = Field<4>;

  // Bytes that one DC ZVA zeroes, or 0 where it is prohibited.
  constexpr uint64_t zero_block_size() const {
    return Get<DZP>() != 0 ? 0 : uint64_t{4} << Get<BS>();
  }
};

}  // namespace khop::arm64
