// SPDX-License-Identifier: MIT
#include "tool/cli/verbs.h"
#include "tool/load/load.h"

namespace khop::cli {

Result<void> RunExec(Context& context, const Command& command) {
  const auto mode = command.park_cpus ? load::ExecMode::kParked
                    : command.now     ? load::ExecMode::kNow
                                      : load::ExecMode::kOrderly;
  auto done = load::Exec(context.system, mode, MakeProgress(context, command));
  if (done) {
    context.out << (command.json ? "{\"schema\": 1, \"shutting_down\": true}\n"
                                 : "The machine is shutting down into the loaded kernel.\n");
  }
  return done;
}

}  // namespace khop::cli
