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

  // Runs everywhere.
  static constexpr DigestFeatures Scalar() { return {}; }
  // From ID_AA64ISAR0_EL1.
  static constexpr DigestFeatures FromIsar0(arm64::IdAa64Isar0El1 isar0) {
    return {.sha2 = isar0.Get<arm64::IdAa64Isar0El1::SHA2>() != 0,
            .crc32 = isar0.Get<arm64::IdAa64Isar0El1::CRC32>() != 0};
  }
  // From Linux's getauxval(AT_HWCAP) on arm64.
  static constexpr DigestFeatures FromHwcap(uint64_t hwcap) {
    return {.sha2 = (hwcap >> 6 & 1) != 0, .crc32 = (hwcap >> 7 & 1) != 0};
  }
  friend constexpr bool operator==(DigestFeatures, DigestFeatures) = default;
};

}  // namespace khop::digest
