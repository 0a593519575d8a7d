// SPDX-License-Identifier: MIT
// Sets of physical memory as lists of ranges, ascending and disjoint, of which there may be very
// many: everything here takes linear time at most.
#pragma once

#include <span>
#include <vector>

#include "core/base/addr.h"

namespace khop::load {

using Ranges = std::vector<PhysRange>;

// `ranges` without `holes`.
Ranges Without(std::span<const PhysRange> ranges, std::span<const PhysRange> holes);
// What lies in both.
Ranges InBoth(std::span<const PhysRange> a, std::span<const PhysRange> b);
// Sorts and joins what touches; empty ranges go. For ranges that do not overlap.
Ranges Joined(Ranges ranges);
// Whether any byte of `range` lies in `ranges`.
bool Touches(std::span<const PhysRange> ranges, PhysRange range);
uint64_t TotalSize(std::span<const PhysRange> ranges);

}  // namespace khop::load
