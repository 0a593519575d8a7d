// SPDX-License-Identifier: MIT
// The proof of a plan by the checker, which shares nothing with the planner.
#pragma once

#include <cstdint>

#include "tool/load/gather_plan.h"

namespace khop::load {

// Replays the moves of `plan` on a model of memory. Errors: kInternal, the plan is wrong.
Result<void> ProveGather(const GatherPlan& plan, uint64_t granule);

}  // namespace khop::load
