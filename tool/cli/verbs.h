// SPDX-License-Identifier: MIT
// What the verbs do: run, print, and say why not. One file each.
#pragma once

#include "tool/cli/cli.h"
#include "tool/cli/command.h"

namespace khop::cli {

Result<void> RunLoad(Context& context, const Command& command);
Result<void> RunExec(Context& context, const Command& command);
Result<void> RunUnload(Context& context, const Command& command);
Result<void> RunStatus(Context& context, const Command& command);
Result<void> RunPlan(Context& context, const Command& command);
Result<void> RunInspect(Context& context, const Command& command);
Result<void> RunReport(Context& context, const Command& command);
Result<void> RunHelp(Context& context, const Command& command);

// Prints steps on `context.err` with -v, else nothing.
load::Progress MakeProgress(Context& context, const Command& command);

}  // namespace khop::cli
