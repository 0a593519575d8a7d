// SPDX-License-Identifier: MIT
// What the verbs do: run, print, and say why not. One file each.
#pragma once

#include <memory>

#include "tool/capture/captured_system.h"
#include "tool/cli/cli.h"
#include "tool/cli/command.h"

namespace khop::cli {

Result<void> RunLoad(Context& context, const Command& command);
Result<void> RunExec(Context& context, const Command& command);
Result<void> RunLastCheck(Context& context, const Command& command);
Result<void> RunUnload(Context& context, const Command& command);
Result<void> RunStatus(Context& context, const Command& command);
Result<void> RunPlan(Context& context, const Command& command);
Result<void> RunInspect(Context& context, const Command& command);
Result<void> RunReport(Context& context, const Command& command);
Result<void> RunDoctor(Context& context, const Command& command);
Result<void> RunCapture(Context& context, const Command& command);
Result<void> RunHelp(Context& context, const Command& command);

// Writes a picture, on the machine that khop runs on. Nothing if no file was named.
Result<void> WriteSvg(Context& context, const Command& command, const std::string& svg);

// The machine that a command is about: that of the capture which --from names, or this one.
struct Subject {
  system::System& system;
  std::span<const std::byte> blob;
  std::unique_ptr<capture::CapturedSystem> captured;  // null: this machine
};
Result<Subject> OpenSubject(Context& context, const Command& command);

// Prints steps on `context.err` with -v; on a terminal, bars for what takes longer than a second.
load::Progress MakeProgress(Context& context, const Command& command);

}  // namespace khop::cli
