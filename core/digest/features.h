// SPDX-License-Identifier: MIT
// Which forms of the digests a CPU can run. The caller finds out and passes it on, so that there is
// no hidden state and no table of pointers, which a position-independent blob could not have.
#pragma once

#include <cstdint>

#include "core/arm64/registers.h"

namespace khop::digest {

struct DigestFeatures {
  // Advanced SIMD must be enabled (CPACR_EL1/CPTR_EL2) before the SHA2 form is called. It works
  // with the MMU off too.
  bool sha2 = false;
  bool crc32 = false;
  // Advanced SIMD without the SHA2 instructions still hashes four messages at the time of two. To
  // be enabled as above.
  bool simd = false;

  // Runs everywhere.
  static constexpr DigestFeatures Scalar() { return {}; }
  // From ID_AA64ISAR0_EL1 and ID_AA64PFR0_EL1.
  static constexpr DigestFeatures FromRegisters(arm64::IdAa64Isar0El1 isar0,
                                                arm64::IdAa64Pfr0El1 pfr0) {
    return {.sha2 = isar0.Get<arm64::IdAa64Isar0El1::SHA2>() != 0,
            .crc32 = isar0.Get<arm64::IdAa64Isar0El1::CRC32>() != 0,
            .simd = pfr0.has_adv_simd()};
  }
  // From Linux's getauxval(AT_HWCAP) on arm64.
  static constexpr DigestFeatures FromHwcap(uint64_t hwcap) {
    return {.sha2 = (hwcap >> 6 & 1) != 0,
            .crc32 = (hwcap >> 7 & 1) != 0,
            .simd = (hwcap >> 1 & 1) != 0};
  }
  // As on a CPU without instructions for digests (Raspberry Pi 4: no SHA2).
  constexpr DigestFeatures WithoutInstructions() const { return {.simd = simd}; }
  friend constexpr bool operator==(DigestFeatures, DigestFeatures) = default;
};

}  // namespace khop::digest
