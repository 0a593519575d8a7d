// SPDX-License-Identifier: MIT
// What the reserved route looks at again before it jumps.
#pragma once

#include "tool/base/error.h"
#include "tool/load/state.h"
#include "tool/system/system.h"

namespace khop::load {

inline constexpr std::string_view kReservedRoute = "reserved";

// Whether the payload of the reserved route is where it was put, as far as that can be known
// without reading it: the reservation still covers it, and the crash slot is as khop left it.
// Errors: kArenaGone, kForeignImage.
Result<void> CheckReserved(system::System& system, const State& state);

// Whether it was read, by /proc/kcore, and every digest is that of the load. False: it cannot be
// read. User space cannot map the reservation, and while a crash kernel is loaded the kernel itself
// does not map it. Errors: kArenaGone if it has changed.
Result<bool> CheckReservedContents(system::System& system, const Loaded& loaded);

}  // namespace khop::load
