// SPDX-License-Identifier: MIT
// Which page sizes (granules) the machine's CPUs have. ID_AA64MMFR0_EL1 tells, but not to user
// space (Linux, Documentation/arch/arm64/cpu-feature-registers.rst); MIDR_EL1 says which cores they
// are.
#pragma once

#include <cstdint>

#include "tool/system/system.h"

namespace khop::system {

// Whether a core with this MIDR_EL1 is known to have `granule` (4096, 16384 or 65536 bytes).
bool CoreHasGranule(uint64_t midr, uint64_t granule);

// Whether every CPU that is online is known to. False if that cannot be read.
bool CpusHaveGranule(System& system, uint64_t granule);

}  // namespace khop::system
