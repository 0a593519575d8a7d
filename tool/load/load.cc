// SPDX-License-Identifier: MIT
// Which route is taken, and the verbs load and plan.
#include "tool/load/load.h"

#include <algorithm>
#include <functional>

#include "tool/devicetree/dts.h"
#include "tool/load/boot_entry.h"
#include "tool/load/fill.h"
#include "tool/load/routes.h"
#include "tool/system/kexec_state.h"
#include "tool/system/numa.h"

namespace khop::load {

using system::System;

namespace {

struct RefusedRoute {
  const RouteRow* row;
  Failure failure;
};

std::vector<const RouteRow*> Candidates(const LoadOptions& options) {
  std::vector<const RouteRow*> rows;
  for (const RouteRow& row : Routes()) {
    if (options.kexec_load_only && row.route == Route::kFile) continue;
    if (options.route == Route::kAuto || options.route == row.route) rows.push_back(&row);
  }
  return rows;
}

// One failure for all: that of gather, which asks for the least, or else the first; the others'
// reasons after it.
std::unexpected<Failure> NoneWorks(const std::vector<RefusedRoute>& refused) {
  auto main = std::ranges::find(refused, Route::kGather,
                                [](const RefusedRoute& entry) { return entry.row->route; });
  if (main == refused.end()) main = refused.begin();
  Failure failure = main->failure;
  std::vector<std::pair<std::string, std::string>> others;  // names, reason
  for (const RefusedRoute& entry : refused) {
    const std::string reason = Reason(entry.failure);
    if (reason == Reason(main->failure)) continue;
    const auto same =
        std::ranges::find(others, reason, &std::pair<std::string, std::string>::second);
    if (same != others.end()) {
      same->first += ", " + std::string(entry.row->name);
    } else {
      others.emplace_back(entry.row->name, reason);
    }
  }
  for (const auto& [names, reason] : others) {
    failure.message.append(" (not ").append(names).append(": ").append(reason).append(")");
  }
  return std::unexpected(std::move(failure));
}

// Takes the first of `rows` that `attempt` gets through; the refusals before it go into `prepared`.
Result<report::Plan> FirstThatWorks(
    System& system, const LoadOptions& options, Prepared& prepared, const Progress& progress,
    const std::function<Result<report::Plan>(const RouteRow& row)>& attempt) {
  const auto rows = Candidates(options);
  std::vector<RefusedRoute> refused;
  for (const RouteRow* const row : rows) {
    auto plan = [&]() -> Result<report::Plan> {
      if (const auto checked = row->check(system); !checked) return Forward(checked);
      if (const auto set = SetRoute(system, options, row->route, prepared); !set) {
        return Forward(set);
      }
      return attempt(*row);
    }();
    if (plan || rows.size() == 1 || !NextRouteMayWork(plan.error().code)) return plan;
    const std::string reason = Reason(plan.error());
    progress("not " + std::string(row->name) + ": " + reason);
    prepared.refused.push_back({std::string(row->name), reason});
    refused.push_back({row, plan.error()});
  }
  return NoneWorks(refused);
}

// Refuses before anything is opened or repaired where no route may be gone at all.
Result<void> CheckRoutes(System& system, const LoadOptions& options) {
  std::vector<RefusedRoute> refused;
  for (const RouteRow* const row : Candidates(options)) {
    const auto checked = row->check(system);
    if (checked || !NextRouteMayWork(checked.error().code)) return checked;
    refused.push_back({row, checked.error()});
  }
  return NoneWorks(refused);
}

}  // namespace

Result<report::Plan> Load(System& system, const LoadOptions& asked, const Progress& progress) {
  if (const auto machine = system::CheckMachine(system); !machine) return Forward(machine);
  if (const auto checked = CheckRoutes(system, asked); !checked) return Forward(checked);
  system::PreferBootNode(system);
  auto session = Session::Open(system);
  if (!session) return Forward(session);
  if (const auto recovered = session->Recover(); !recovered) return Forward(recovered);
  std::vector<std::string> notes;
  const auto resolved = ResolveKernel(system, asked, notes);
  if (!resolved) return Forward(resolved);
  LoadOptions options = *resolved;
  const auto attempt = [&](Prepared& prepared) {
    prepared.notes.insert(prepared.notes.begin(), notes.begin(), notes.end());
    auto plan = FirstThatWorks(system, options, prepared, progress,
                               [&](const RouteRow& row) -> Result<report::Plan> {
                                 if (session->state().pending) {
                                   const auto cancelled = session->CancelBuild();
                                   if (!cancelled) return Forward(cancelled);
                                 }
                                 return row.load(system, *session, options, prepared, progress);
                               });
    // The arena is gone by now; the journal goes last.
    if (!plan && session->state().pending) (void)session->CancelBuild();
    return plan;
  };
  options.believe_size = true;
  auto prepared = Prepare(system, options);
  if (!prepared) return Forward(prepared);
  auto plan = attempt(*prepared);
  if (plan || plan.error().code != ExitCode::kFileChanged) return plan;
  // What is claimed may be wrong of a file that did not change: gzip's is of the last member.
  const auto claims = Prepare(system, options);
  if (!claims || claims->kernel.size != prepared->kernel.size) return plan;
  options.believe_size = false;
  auto counted = Prepare(system, options);
  if (!counted) return Forward(counted);  // such as a kernel that was cut short, then packed
  if (counted->kernel.size == claims->kernel.size) return plan;
  progress("the kernel is not as large as its file claims: once more");
  return attempt(*counted);
}

namespace {

// What the next tree changes, with the addresses of the plan.
Result<void> AddTree(const Prepared& prepared, bool diff, report::Plan& plan) {
  devicetree::NextTreeOptions options = prepared.tree_options;
  for (const report::Segment& segment : plan.segments) {
    if (segment.name == "initrd") options.initrd = PhysRange{{segment.start}, segment.size};
  }
  auto tree = devicetree::BuildNextTree(*prepared.tree, options);
  if (!tree) return Forward(tree);
  plan.dtb_changes = std::move(tree->changes);
  if (!diff) return {};
  const auto next = devicetree::Tree::Parse(tree->bytes, "the next device tree");
  if (!next) return Forward(next);
  plan.dtb_diff = devicetree::DiffDts(*prepared.tree, *next);
  return {};
}

}  // namespace

Result<report::Plan> PlanLoad(System& system, const LoadOptions& asked, bool diff) {
  const auto machine = system::CheckMachine(system, system::Purpose::kLook);
  if (!machine) return Forward(machine);
  if (const auto checked = CheckRoutes(system, asked); !checked) return Forward(checked);
  std::vector<std::string> notes;
  auto resolved = ResolveKernel(system, asked, notes);
  if (!resolved) return Forward(resolved);
  LoadOptions& options = *resolved;
  options.only_look = true;
  auto prepared = Prepare(system, options);
  if (!prepared) return Forward(prepared);
  prepared->notes.insert(prepared->notes.begin(), notes.begin(), notes.end());
  return FirstThatWorks(
      system, options, *prepared, {}, [&](const RouteRow& row) -> Result<report::Plan> {
        report::Plan plan = MakePlan(*prepared, options);
        if (const auto done = row.plan(system, options, *prepared, plan); !done) {
          return Forward(done);
        }
        if (row.route != Route::kFile) {
          if (const auto done = AddTree(*prepared, diff, plan); !done) return Forward(done);
          plan.notes.emplace_back(
              plan.addresses == "forecast"
                  ? "a forecast: nothing was taken, and the kernel may give other pages when asked"
                  : "a dry run: no memory was taken, so no physical address is known");
        }
        if (system.EffectiveUid() != 0) {
          plan.notes.emplace_back(
              "to load takes root; whether the kernel would refuse is not known without it");
        }
        return plan;
      });
}

}  // namespace khop::load
