// SPDX-License-Identifier: MIT
// For the routes' plans: where pages would come from, without taking any.
#pragma once

#include "tool/base/error.h"
#include "tool/load/control.h"
#include "tool/load/load.h"
#include "tool/load/prepare.h"
#include "tool/load/ranges.h"
#include "tool/system/page_flags.h"

namespace khop::load {

// Who has the pages of the memory that a payload may be put into: none, and a note in `plan`, where
// that cannot be seen.
std::vector<system::PageRun> LookAtPages(system::System& system, const Prepared& prepared,
                                         report::Plan& plan);

// Whether so much memory may be taken. Errors: kNoMemory, kMemoryLimit, kUnsafeSystem.
Result<void> CheckAvailable(system::System& system, uint64_t needed);

// Where the kernel may give so many pages of 2 MiB in a row; nothing if that cannot be seen, or if
// there are none.
std::optional<PhysAddr> ForecastHugePages(system::System& system, const Prepared& prepared,
                                          uint64_t count, report::Plan& plan);

// The places of a plan if `placed` is where everything goes.
Result<void> AddForecast(system::System& system, const LoadOptions& options,
                         const Prepared& prepared, const Placed& placed, report::Plan& plan);

}  // namespace khop::load
