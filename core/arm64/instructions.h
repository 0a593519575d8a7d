// SPDX-License-Identifier: MIT
// Every instruction that C++ cannot express, one function each: the only inline assembly of core/.
// With KHOP_FAKE_MACHINE the same functions act on a model of the machine (fake/machine.h), so that
// the relocator's C++ runs, and its cache maintenance is proved, on any host.
//
// Register names and semantics: Arm ARM (DDI 0487), chapters C5 and D19. Functions whose register
// depends on the exception level take the Regime as a template argument: with HCR_EL2.E2H = 1 the
// _EL1 names reach the EL2 registers, without it EL2 has names of its own.
#pragma once

#include <cstdint>

#include "core/arm64/regime.h"

#ifdef KHOP_FAKE_MACHINE
#include "core/arm64/fake/instructions.h"  // IWYU pragma: export
#else

namespace khop::arm64 {

// ---- Barriers. Each also keeps the compiler from moving memory accesses across it.

inline void DsbSy() { asm volatile("dsb sy" ::: "memory"); }
inline void Isb() { asm volatile("isb" ::: "memory"); }

// ---- Identification and counters.

#define KHOP_READ_REGISTER(function, name)       \
  inline uint64_t function() {                   \
    uint64_t value;                              \
    asm volatile("mrs %0, " name : "=r"(value)); \
    return value;                                \
  }

KHOP_READ_REGISTER(ReadCurrentEl, "CurrentEL")
KHOP_READ_REGISTER(ReadHcrEl2, "HCR_EL2")  // EL2 only
KHOP_READ_REGISTER(ReadCtrEl0, "CTR_EL0")
KHOP_READ_REGISTER(ReadDczidEl0, "DCZID_EL0")
KHOP_READ_REGISTER(ReadCntfrqEl0, "CNTFRQ_EL0")
KHOP_READ_REGISTER(ReadIdAa64mmfr0El1, "ID_AA64MMFR0_EL1")
KHOP_READ_REGISTER(ReadIdAa64mmfr3El1, "S3_0_C0_C7_3")  // ID_AA64MMFR3_EL1; reads 0 before Armv8.9
KHOP_READ_REGISTER(ReadIdAa64pfr0El1, "ID_AA64PFR0_EL1")
KHOP_READ_REGISTER(ReadIdAa64isar0El1, "ID_AA64ISAR0_EL1")
#undef KHOP_READ_REGISTER

// CNTVCT_EL0, after everything before it in program order (Arm ARM D12.2.1: reads may be early).
inline uint64_t ReadCntvct() {
  uint64_t value;
  asm volatile("isb\n\tmrs %0, CNTVCT_EL0" : "=r"(value)::"memory");
  return value;
}

// ---- System registers of the translation regime in force.

#define KHOP_REGIME_READ(function, el1_name, el2_name) \
  template <Regime kRegime>                            \
  uint64_t function() {                                \
    uint64_t value;                                    \
    if constexpr (kRegime == Regime::kEl2) {           \
      asm volatile("mrs %0, " el2_name : "=r"(value)); \
    } else {                                           \
      asm volatile("mrs %0, " el1_name : "=r"(value)); \
    }                                                  \
    return value;                                      \
  }
#define KHOP_REGIME_WRITE(function, el1_name, el2_name)             \
  template <Regime kRegime>                                         \
  void function(uint64_t value) {                                   \
    if constexpr (kRegime == Regime::kEl2) {                        \
      asm volatile("msr " el2_name ", %0" ::"r"(value) : "memory"); \
    } else {                                                        \
      asm volatile("msr " el1_name ", %0" ::"r"(value) : "memory"); \
    }                                                               \
  }

KHOP_REGIME_READ(ReadSctlr, "SCTLR_EL1", "SCTLR_EL2")
KHOP_REGIME_WRITE(WriteSctlr, "SCTLR_EL1", "SCTLR_EL2")
KHOP_REGIME_READ(ReadTtbr0, "TTBR0_EL1", "TTBR0_EL2")
KHOP_REGIME_WRITE(WriteTtbr0, "TTBR0_EL1", "TTBR0_EL2")
KHOP_REGIME_WRITE(WriteTcr, "TCR_EL1", "TCR_EL2")
KHOP_REGIME_WRITE(WriteMair, "MAIR_EL1", "MAIR_EL2")
KHOP_REGIME_WRITE(WriteTcr2, "S3_0_C2_C0_3", "S3_4_C2_C0_3")  // TCR2_ELx, only with FEAT_TCR2
// The control of FP and Advanced SIMD traps: CPACR_EL1, or CPTR_EL2 with its other layout.
KHOP_REGIME_READ(ReadFpTrap, "CPACR_EL1", "CPTR_EL2")
KHOP_REGIME_WRITE(WriteFpTrap, "CPACR_EL1", "CPTR_EL2")
#undef KHOP_REGIME_READ
#undef KHOP_REGIME_WRITE

// Invalidates all stage 1 entries of the regime on this PE. At EL2 always ALLE2: with E2H = 1 and
// TGE = 0, VMALLE1 would hit the guest's regime.
template <Regime kRegime>
void TlbiAll() {
  if constexpr (kRegime == Regime::kEl1) {
    asm volatile("tlbi vmalle1" ::: "memory");
  } else {
    asm volatile("tlbi alle2" ::: "memory");
  }
}

// ---- Cache maintenance by virtual address (physical with the MMU off) to the point of coherency.

inline void DcCvac(uint64_t address) { asm volatile("dc cvac, %0" ::"r"(address) : "memory"); }
inline void DcCivac(uint64_t address) { asm volatile("dc civac, %0" ::"r"(address) : "memory"); }
inline void DcIvac(uint64_t address) { asm volatile("dc ivac, %0" ::"r"(address) : "memory"); }
// Zeroes the block of DCZID_EL0's size that holds `address`. Not with DCZID_EL0.DZP set; not on
// Device memory, which all memory is with the MMU off: an Alignment fault.
inline void DcZva(uint64_t address) { asm volatile("dc zva, %0" ::"r"(address) : "memory"); }
// Invalidates all instruction caches of this PE to the point of unification.
inline void IcIallu() { asm volatile("ic iallu" ::: "memory"); }

// ---- Copying, 64 bytes at a time. `from` and `to` are multiples of 16 and are moved on.

// A hint to load the line at `address + kAhead`, to be used once. Never faults.
template <unsigned kAhead>
void PrefetchOnce(uint64_t address) {
  static_assert(kAhead % 8 == 0 && kAhead < 32768);
  asm volatile("prfm pldl1strm, [%0, %1]" ::"r"(address), "i"(kAhead));
}

struct GeneralLine {
  uint64_t a, b, c, d, e, f, g, h;
};
// Written out, because the compiler would move the addresses on by instructions of their own.
inline GeneralLine LoadGeneralLine(uint64_t& from) {
  GeneralLine l;
  asm volatile(
      "ldp %2, %3, [%8, #16]\n\tldp %4, %5, [%8, #32]\n\tldp %6, %7, [%8, #48]\n\t"
      "ldp %0, %1, [%8], #64"
      : "=&r"(l.a), "=&r"(l.b), "=&r"(l.c), "=&r"(l.d), "=&r"(l.e), "=&r"(l.f), "=&r"(l.g),
        "=&r"(l.h), "+r"(from)
      :
      : "memory");
  return l;
}
inline void StoreGeneralLine(const GeneralLine& l, uint64_t& to) {
  asm volatile(
      "stp %3, %4, [%0, #16]\n\tstp %5, %6, [%0, #32]\n\tstp %7, %8, [%0, #48]\n\t"
      "stp %1, %2, [%0], #64"
      : "+r"(to)
      : "r"(l.a), "r"(l.b), "r"(l.c), "r"(l.d), "r"(l.e), "r"(l.f), "r"(l.g), "r"(l.h)
      : "memory");
}

#ifndef __ARM_NEON
// The same through V registers 4 * kIndex to 4 * kIndex + 3, kIndex < 4, which hold the line
// between the two. Only where the compiler was told that these registers are not its own
// (-mgeneral-regs-only), and after their trap was lifted.
template <unsigned kIndex>
void LoadVectorLine(uint64_t& from) {
  asm volatile(".arch_extension simd\n\tld1 {v%c1.2d - v%c2.2d}, [%0], #64"
               : "+r"(from)
               : "i"(4 * kIndex), "i"(4 * kIndex + 3)
               : "memory");
}
template <unsigned kIndex>
void StoreVectorLine(uint64_t& to) {
  asm volatile(".arch_extension simd\n\tst1 {v%c1.2d - v%c2.2d}, [%0], #64"
               : "+r"(to)
               : "i"(4 * kIndex), "i"(4 * kIndex + 3)
               : "memory");
}
#endif

// ---- Device registers.

inline uint32_t MmioRead32(uint64_t address) {
  uint32_t value;
  asm volatile("ldr %w0, [%1]" : "=r"(value) : "r"(address) : "memory");
  return value;
}
inline uint32_t MmioRead16(uint64_t address) {
  uint32_t value;
  asm volatile("ldrh %w0, [%1]" : "=r"(value) : "r"(address) : "memory");
  return value;
}
inline uint32_t MmioRead8(uint64_t address) {
  uint32_t value;
  asm volatile("ldrb %w0, [%1]" : "=r"(value) : "r"(address) : "memory");
  return value;
}
inline void MmioWrite32(uint64_t address, uint32_t value) {
  asm volatile("str %w0, [%1]" ::"r"(value), "r"(address) : "memory");
}
inline void MmioWrite16(uint64_t address, uint32_t value) {
  asm volatile("strh %w0, [%1]" ::"r"(value), "r"(address) : "memory");
}
inline void MmioWrite8(uint64_t address, uint32_t value) {
  asm volatile("strb %w0, [%1]" ::"r"(value), "r"(address) : "memory");
}

}  // namespace khop::arm64

#endif  // KHOP_FAKE_MACHINE
