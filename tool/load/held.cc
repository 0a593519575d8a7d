// SPDX-License-Identifier: MIT
#include "tool/load/held.h"

#include <algorithm>

#include "tool/load/routes.h"

namespace khop::load {

using system::System;

ArenaRecord HeldArena(const Session& session) {
  ArenaRecord none;
  none.slot = session.FreeSlot();
  return none;
}

Result<report::Plan> Commit(Session& session, const Held& held, const Progress& progress) {
  progress("handing everything to the kernel");
  const auto committed = session.CommitHeld(held.loaded, held.control, held.hand_over);
  if (!committed && !session.committed()) return Forward(committed);
  report::Plan done = held.loaded.plan;
  if (!committed) done.notes.push_back("loaded, but: " + committed.error().message);
  return done;
}

Result<void> LoadHeldAgain(System& system, Session& session, const Progress& progress) {
  const Loaded loaded = *session.state().current;
  const report::Plan& plan = loaded.plan;
  const auto row = std::ranges::find(Routes(), plan.route, &RouteRow::name);
  LoadOptions options;
  options.route = row->route;
  if (const auto checked = row->check(system); !checked) return checked;
  options.kernel = plan.kernel.path;
  for (const report::PlanFile& initrd : plan.initrds) options.initrds.push_back(initrd.path);
  options.command_line = plan.command_line;
  options.mem_min = loaded.bounds.start.value;
  options.mem_max = loaded.bounds.end().value;
  if (plan.dtb_source != kRunningTree) options.dtb = plan.dtb_source;
  options.mmu = loaded.mmu;
  options.digest = loaded.digest_kind;
  options.no_cma = (loaded.file_flags & system::kKexecFileNoCma) != 0;
  std::string control;
  ParsedControl parsed;
  if (options.route == Route::kKernel) {
    auto read = session.store().ReadControl(loaded.control_file, loaded.control_crc32c);
    if (!read) return Forward(read);
    control = *std::move(read);
    auto got = ParseControl(std::as_bytes(std::span(control)), PhysAddr{plan.control.start});
    if (!got) return Forward(got);
    parsed = *std::move(got);
    options.blob = parsed.blob;
  }
  auto prepared = Prepare(system, options);
  if (!prepared) return Forward(prepared);
  prepared->refused = plan.refused;
  auto held = options.route == Route::kKernel
                  ? BuildForKernel(system, session, options, *prepared, progress)
                  : BuildForFile(system, session, options, *prepared, progress);
  if (!held) return Forward(held);
  // The device tree, which comes last, has fresh seeds.
  const auto files = [&](const std::vector<Verified>& verified) {
    const size_t made = options.route == Route::kKernel && !verified.empty() ? 1 : 0;
    std::vector<std::string> digests;
    for (const Verified& entry : std::span(verified).first(verified.size() - made)) {
      digests.insert(digests.end(), entry.digests.begin(), entry.digests.end());
    }
    return digests;
  };
  if (files(held->loaded.verified) != files(loaded.verified)) {
    return Fail(ExitCode::kFileChanged, "the loaded kernel",
                "its files have changed since the load", "load it again");
  }
  const auto done = Commit(session, *held, progress);
  return done ? Result<void>() : Forward(done);
}

}  // namespace khop::load
