// SPDX-License-Identifier: MIT
// Which of the pages that were taken to choose from a plan keeps.
#pragma once

#include <cstdint>
#include <vector>

#include "tool/load/arena.h"
#include "tool/load/gather_plan.h"

namespace khop::load {

// The extents of `arena` that `plan` uses, with their destinations; of huge pages all if any part
// is used. Where huge pages at the edges would waste too much against `needed` bytes, they are
// taken out of `input` and `plan` is made anew, for as long as base pages can serve instead.
// Takes plan.pieces.
std::vector<Extent> PagesToKeep(const Arena& arena, uint64_t needed, GatherInput& input,
                                GatherPlan& plan);

}  // namespace khop::load
