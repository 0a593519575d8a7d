// SPDX-License-Identifier: MIT
// The hop itself, between entry.S and the jump: everything that C++ does, the same on bare metal
// and, against the model of the machine, on the host.
#pragma once

#include <cstdint>

#include "core/arm64/regime.h"
#include "core/base/addr.h"
#include "core/handoff/failure.h"

namespace khop::relocator {

// Where the relocator found itself.
struct Placement {
  PhysRange blob;
  PhysRange stack;
  PhysAddr handoff;
};

// What is left to do for exit.S: clean the stack out of the caches, MMU off, x0 = dtb, jump.
struct Jump {
  uint64_t entry = 0;
  uint64_t dtb = 0;
  uint64_t sctlr = 0;  // SCTLR_ELx to leave behind: MMU and caches off
};

// Does what the hand-off says. `entry_ticks` is CNTVCT_EL0 at the relocator's first instructions.
// On success everything that was written, except the stack, is at the point of coherency, the
// I-caches were invalidated, and `jump` is filled in. On failure the MMU may be on or off and
// nothing may be jumped to.
template <arm64::Regime kRegime>
HopFailure RunHop(const Placement& placement, uint64_t entry_ticks, Jump* jump);

}  // namespace khop::relocator
