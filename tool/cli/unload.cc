// SPDX-License-Identifier: MIT
#include "tool/cli/verbs.h"
#include "tool/load/load.h"

namespace khop::cli {

Result<void> RunUnload(Context& context, const Command& command) {
  const auto done =
      command.crash ? load::UnloadCrash(context.system) : load::Unload(context.system);
  if (!done) return Forward(done);
  if (command.json) {
    context.out << "{\"schema\": 1, \"unloaded\": " << (*done ? "true" : "false") << "}\n";
  } else {
    context.out << (*done ? "Unloaded.\n" : "Nothing of khop's was loaded.\n");
  }
  return {};
}

}  // namespace khop::cli
