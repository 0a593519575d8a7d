// SPDX-License-Identifier: MIT
// What the reserved route looks at again before it jumps.
#pragma once

#include "tool/base/error.h"
#include "tool/load/state.h"
#include "tool/system/system.h"

namespace khop::load {

inline constexpr std::string_view kReservedRoute = "reserved";

// Whether the payload of the reserved route is where it was put, as far as can be known: the
// reservation still covers it, the crash slot is as khop left it, and where the kernel lets memory
// be read (/proc/kcore), the digests are those of the load. Errors: kArenaGone, kForeignImage.
Result<void> CheckReserved(system::System& system, const State& state);

}  // namespace khop::load
