// SPDX-License-Identifier: MIT
#include "tool/cli/verbs.h"
#include "tool/config/config.h"
#include "tool/load/load.h"

namespace khop::cli {

Result<void> RunExec(Context& context, const Command& command) {
  load::Leaving leaving{.park_cpus = command.park_cpus, .watchdog = command.watchdog};
  if (!command.now) {
    const auto config = config::Read(context.system);
    if (!config) return Forward(config);
    leaving.park_cpus = leaving.park_cpus || config->park_cpus;
    if (leaving.watchdog == 0) leaving.watchdog = config->watchdog;
  }
  const auto mode = command.now ? load::ExecMode::kNow : load::ExecMode::kOrderly;
  auto done = load::Exec(context.system, mode, MakeProgress(context, command), leaving);
  if (done) {
    context.out << (command.json ? "{\"schema\": 1, \"shutting_down\": true}\n"
                                 : "The machine is shutting down into the loaded kernel.\n");
  }
  return done;
}

Result<void> RunLastCheck(Context& context, const Command& command) {
  load::Leaving leaving;
  // Too late to refuse: who shut the machine down wants it up again.
  if (const auto config = config::Read(context.system)) {
    leaving.park_cpus = config->park_cpus;
    leaving.watchdog = config->watchdog;
  } else {
    context.err << "khop: " << config.error().message << "; going by the defaults\n";
  }
  const auto done = load::LastCheck(context.system, MakeProgress(context, command), leaving);
  if (!done) return Forward(done);
  context.out << (*done == load::LastCheckResult::kReady
                      ? "khop: the loaded kernel is intact, and starts now\n"
                      : "khop: nothing of khop's is loaded\n");
  return {};
}

}  // namespace khop::cli
