// SPDX-License-Identifier: MIT
// What a loaded kernel will take: its destinations, and which of them khop does not own.
#pragma once

#include "tool/base/error.h"
#include "tool/load/ranges.h"
#include "tool/load/state.h"
#include "tool/system/page_flags.h"
#include "tool/system/system.h"

namespace khop::load {

// A part of the payload at its destination, in whole pages.
struct Part {
  PhysRange file;   // what is moved or in place
  PhysRange whole;  // with the kernel's BSS
};

struct Parts {
  Part kernel;
  Part initrd;  // empty without one
  Part dtb;
};

Parts PartsOf(const report::Plan& plan, uint64_t page_size);

// All destinations, the control area's too, ascending and joined.
Ranges AllDestinations(const report::Plan& plan, uint64_t page_size);
// Those of the payload alone, without BSS, ascending: one range for each part, as parts that follow
// each other may come to lie apart.
Ranges FileDestinations(const Parts& parts);

// The pages of destinations outside of `loaded`'s own memory that may not be overwritten now.
// `owned` (ascending): where that memory is now.
Result<Ranges> FindBusyDestinations(system::System& system, const Loaded& loaded,
                                    std::span<const PhysRange> owned, system::Unflagged unflagged);

}  // namespace khop::load
