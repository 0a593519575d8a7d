// SPDX-License-Identifier: MIT
#pragma once

#include "tool/base/error.h"
#include "tool/load/state.h"
#include "tool/system/system.h"

namespace khop::load {

// The state as it is now, for those that hold the lock and for those that only look. No state if
// there is none or it is of an earlier boot. Errors: kBadState, kSystemCall (only root may read
// it).
Result<State> LookAtState(system::System& system);

}  // namespace khop::load
