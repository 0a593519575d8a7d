// SPDX-License-Identifier: MIT
#include "tool/load/routes.h"

#include <algorithm>
#include <array>

#include "tool/load/reserved.h"
#include "tool/system/kexec_state.h"

namespace khop::load {
namespace {

constexpr std::array kRoutes = {
    RouteRow{.route = Route::kInPlace,
             .name = "in-place",
             .check = system::CheckKexec,
             .plan = PlanInPlace,
             .load = LoadInPlace},
    RouteRow{.route = Route::kReserved,
             .name = kReservedRoute,
             .check = system::CheckKexec,
             .plan = PlanReserved,
             .load = LoadReserved},
    RouteRow{.route = Route::kGather,
             .name = "gather",
             .check = system::CheckKexec,
             .plan = PlanByGather,
             .load = LoadByGather},
    RouteRow{.route = Route::kKernel,
             .name = "kernel",
             .check = system::CheckKexec,
             .plan = PlanByKernel,
             .load = LoadByKernel},
    RouteRow{.route = Route::kFile,
             .name = "file",
             .check = system::CheckKexecFile,
             .plan = PlanByFile,
             .load = LoadByFile},
};

}  // namespace

std::span<const RouteRow> Routes() { return kRoutes; }

std::string_view RouteName(Route route) {
  if (route == Route::kCrash) return "crash";
  const auto* const row = std::ranges::find(kRoutes, route, &RouteRow::route);
  return row == kRoutes.end() ? std::string_view() : row->name;
}

bool NextRouteMayWork(ExitCode code) {
  static constexpr std::array kAboutTheRoute = {
      // Memory, and limits on the kind of memory that a route takes.
      ExitCode::kNoMemory, ExitCode::kNoContiguousMemory, ExitCode::kMemoryLimit,
      ExitCode::kUnsafeSystem, ExitCode::kHalfOfMemory, ExitCode::kNoReservation,
      ExitCode::kReservationTooSmall, ExitCode::kCrashSlotTaken, ExitCode::kCrashNoRoom,
      // The system call that it goes by.
      ExitCode::kKexecNotBuilt, ExitCode::kKexecFileNotBuilt, ExitCode::kLockdown,
      ExitCode::kNoRoute};
  return std::ranges::find(kAboutTheRoute, code) != kAboutTheRoute.end();
}

std::string Reason(const Failure& failure) {
  const size_t colon = failure.message.find(": ");
  return colon == std::string::npos ? failure.message : failure.message.substr(colon + 2);
}

}  // namespace khop::load
