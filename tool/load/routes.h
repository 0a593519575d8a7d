// SPDX-License-Identifier: MIT
// The routes, each from nothing to a kernel that is loaded, and the order in which auto tries them.
// What a route took is given back if it fails; the journal of the session is the caller's to
// cancel.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "tool/base/error.h"
#include "tool/load/load.h"
#include "tool/load/prepare.h"
#include "tool/load/session.h"

namespace khop::load {

struct RouteRow {
  Route route = Route::kAuto;
  std::string_view name;  // of --route, in plans and in the next kernel's tree
  // Whether the running kernel lets khop go this way at all (CheckKexec or its like).
  Result<void> (*check)(system::System& system) = nullptr;
  // Completes a plan as far as it is known without taking anything; refuses what it can foresee.
  Result<void> (*plan)(system::System& system, const LoadOptions& options, const Prepared& prepared,
                       report::Plan& plan) = nullptr;
  Result<report::Plan> (*load)(system::System& system, Session& session, const LoadOptions& options,
                               const Prepared& prepared, const Progress& progress) = nullptr;
};

// All of them, in the order of auto. To add a route: a file with its functions, declared below, a
// value of Route, and a row.
std::span<const RouteRow> Routes();

// Empty for kAuto.
std::string_view RouteName(Route route);

// Whether auto goes on to the next route after this failure. It never does after a refusal that a
// policy about the payload made (a signature, IMA).
bool NextRouteMayWork(ExitCode code);

Result<void> PlanInPlace(system::System& system, const LoadOptions& options,
                         const Prepared& prepared, report::Plan& plan);
Result<report::Plan> LoadInPlace(system::System& system, Session& session,
                                 const LoadOptions& options, const Prepared& prepared,
                                 const Progress& progress);

Result<void> PlanReserved(system::System& system, const LoadOptions& options,
                          const Prepared& prepared, report::Plan& plan);
Result<report::Plan> LoadReserved(system::System& system, Session& session,
                                  const LoadOptions& options, const Prepared& prepared,
                                  const Progress& progress);

Result<void> PlanByGather(system::System& system, const LoadOptions& options,
                          const Prepared& prepared, report::Plan& plan);
Result<report::Plan> LoadByGather(system::System& system, Session& session,
                                  const LoadOptions& options, const Prepared& prepared,
                                  const Progress& progress);

Result<void> PlanByKernel(system::System& system, const LoadOptions& options,
                          const Prepared& prepared, report::Plan& plan);
Result<report::Plan> LoadByKernel(system::System& system, Session& session,
                                  const LoadOptions& options, const Prepared& prepared,
                                  const Progress& progress);

Result<void> PlanByFile(system::System& system, const LoadOptions& options,
                        const Prepared& prepared, report::Plan& plan);
Result<report::Plan> LoadByFile(system::System& system, Session& session,
                                const LoadOptions& options, const Prepared& prepared,
                                const Progress& progress);

// The in-place route's places, for runs of 2 MiB pages that start at `runs`.
Placed PlaceInRuns(const Shape& shape, const PayloadSizes& sizes, uint64_t granule, bool mmu,
                   const std::vector<PhysAddr>& runs);
// "21, 2", for people.
std::string RunsText(std::span<const uint64_t> run_pages);

// The reason in a failure's message, without the thing that it is about.
std::string Reason(const Failure& failure);

}  // namespace khop::load
