// SPDX-License-Identifier: MIT
// Turning translation on for the tables that the loader built.
#pragma once

#include <cstdint>

#include "core/arm64/instructions.h"
#include "core/arm64/regime.h"
#include "core/handoff/failure.h"
#include "core/handoff/handoff.h"

namespace khop::relocator {

// Whether this CPU can walk the tables. The loader knows only that the running kernel uses the same
// granule; the address sizes are read here, where ID_AA64MMFR0_EL1 is not sanitised.
inline HopFailure CheckCpu(const handoff::Translation& translation) {
  const auto mmfr0 = arm64::IdAa64Mmfr0El1::FromRaw(arm64::ReadIdAa64mmfr0El1());
  if (!mmfr0.SupportsGranule(translation.granule_shift)) {
    return {FailureCode::kGranule, translation.granule_shift};
  }
  if (translation.pa_bits > arm64::PaRangeBits(mmfr0.Get<arm64::IdAa64Mmfr0El1::PA_RANGE>())) {
    return {FailureCode::kAddressSize, translation.pa_bits};
  }
  return {};
}

// True if HCR_EL2.{E2H,TGE} is {1,1}, which decides the reserved bits of SCTLR_EL2.
template <arm64::Regime kRegime>
bool HostOfGuests() {
  if constexpr (kRegime == arm64::Regime::kEl2Host) {
    return arm64::HcrEl2::FromRaw(arm64::ReadHcrEl2()).Get<arm64::HcrEl2::TGE>() != 0;
  } else {
    return false;
  }
}

// Turns the MMU and both caches on. The tables map this code, the stack and the hand-off to
// themselves, are at the point of coherency, and CheckHeader and CheckCpu passed.
template <arm64::Regime kRegime>
void TurnMmuOn(const handoff::Translation& translation) {
  const auto geometry = arm64::PageGeometry::Make(translation.granule_shift, translation.va_bits);
  const auto mmfr0 = arm64::IdAa64Mmfr0El1::FromRaw(arm64::ReadIdAa64mmfr0El1());
  const auto mmfr3 = arm64::IdAa64Mmfr3El1::FromRaw(arm64::ReadIdAa64mmfr3El1());
  arm64::WriteMair<kRegime>(arm64::kMair);
  arm64::WriteTcr<kRegime>(
      arm64::TcrFor(kRegime, *geometry, mmfr0.Get<arm64::IdAa64Mmfr0El1::PA_RANGE>()));
  arm64::WriteTtbr0<kRegime>(translation.root);
  // Linux 6.12 and later leave TCR2_ELx.PIE set across kexec: it would give the permission bits of
  // the descriptors another meaning.
  if (mmfr3.Get<arm64::IdAa64Mmfr3El1::TCRX>() != 0) arm64::WriteTcr2<kRegime>(0);
  arm64::Isb();
  // Entries of the last kernel may remain.
  arm64::TlbiAll<kRegime>();
  arm64::DsbSy();
  arm64::Isb();
  arm64::WriteSctlr<kRegime>(arm64::SctlrMmuOn(kRegime, HostOfGuests<kRegime>()));
  arm64::Isb();
}

// FP and Advanced SIMD do not trap from here on: the SHA-256 instructions need their registers.
template <arm64::Regime kRegime>
void AllowFp() {
  const uint64_t raw = arm64::ReadFpTrap<kRegime>();
  if constexpr (kRegime == arm64::Regime::kEl2) {
    arm64::WriteFpTrap<kRegime>(arm64::CptrEl2::FromRaw(raw).With<arm64::CptrEl2::TFP>(0).raw);
  } else {
    arm64::WriteFpTrap<kRegime>(
        arm64::CpacrEl1::FromRaw(raw).With<arm64::CpacrEl1::FPEN>(arm64::kFpenNoTrap).raw);
  }
  arm64::Isb();
}

}  // namespace khop::relocator
