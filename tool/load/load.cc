// SPDX-License-Identifier: MIT
// Which route is taken, and the verbs load and plan.
#include "tool/load/load.h"

#include "tool/load/fill.h"
#include "tool/load/gather_plan.h"
#include "tool/load/routes.h"
#include "tool/system/kexec_state.h"
#include "tool/system/numa.h"

namespace khop::load {

using system::kHugePageSize;
using system::System;

namespace {

// Whether another route may work where this one did not.
bool IsAboutMemory(const Failure& failure) {
  return failure.code == ExitCode::kNoMemory || failure.code == ExitCode::kNoContiguousMemory ||
         failure.code == ExitCode::kMemoryLimit || failure.code == ExitCode::kNoRoute;
}

Result<report::Plan> LoadOneOf(System& system, Session& session, const LoadOptions& options,
                               Prepared& prepared, const Progress& progress) {
  if (options.route == Route::kGather) {
    return LoadByGather(system, session, options, prepared, progress);
  }
  auto plan = LoadInPlace(system, session, options, prepared, progress);
  if (plan || options.route == Route::kInPlace || session.committed() ||
      !IsAboutMemory(plan.error())) {
    return plan;
  }
  const report::Refusal refusal{"in-place", Reason(plan.error())};
  progress("not in place: " + refusal.reason);
  if (session.state().pending) {
    if (const auto cancelled = session.CancelBuild(); !cancelled) return Forward(cancelled);
  }
  if (const auto changed = SetRoute(system, options, Route::kGather, prepared); !changed) {
    return Forward(changed);
  }
  prepared.refused.push_back(refusal);
  return LoadByGather(system, session, options, prepared, progress);
}

}  // namespace

std::string Reason(const Failure& failure) {
  const size_t colon = failure.message.find(": ");
  return colon == std::string::npos ? failure.message : failure.message.substr(colon + 2);
}

Result<report::Plan> Load(System& system, const LoadOptions& options, const Progress& progress) {
  if (const auto checked = system::CheckKexec(system); !checked) return Forward(checked);
  system::PreferBootNode(system);
  auto session = Session::Open(system);
  if (!session) return Forward(session);
  if (const auto recovered = session->Recover(); !recovered) return Forward(recovered);
  auto prepared = Prepare(system, options);
  if (!prepared) return Forward(prepared);
  auto plan = LoadOneOf(system, *session, options, *prepared, progress);
  // The arena is gone by now; the journal goes last.
  if (!plan && session->state().pending) (void)session->CancelBuild();
  return plan;
}

Result<report::Plan> PlanLoad(System& system, const LoadOptions& options) {
  if (const auto checked = system::CheckKexec(system); !checked) return Forward(checked);
  const auto prepared = Prepare(system, options);
  if (!prepared) return Forward(prepared);
  const bool gather = options.route == Route::kGather;
  const uint64_t needed =
      gather ? GatherNeed(prepared->sizes, prepared->kernel.size, system.PageSize())
             : prepared->shape.pages() * kHugePageSize;
  if (const auto shm = system::CheckSharedMemory(system, needed); !shm) return Forward(shm);
  report::Plan plan = MakePlan(*prepared, options);
  if (gather) {
    plan.route_reason = "pages of any size, " + HumanBytes(needed) + ", would be asked for";
    plan.notes.emplace_back("how much is in place is known when the pages are there");
  } else {
    plan.route_reason = "2 MiB pages of " + HumanBytes(needed) + " would be asked for";
    plan.arena = {{kHugePageSize, prepared->shape.pages()}};
    plan.bytes_in_place = prepared->kernel.size + prepared->initrd_size + prepared->sizes.dtb_size;
    if (options.route == Route::kAuto) {
      plan.notes.emplace_back("without runs that are long enough, gather comes next");
    }
  }
  plan.notes.emplace_back("a dry run: no memory was taken, so no physical address is known");
  return plan;
}

}  // namespace khop::load
