// SPDX-License-Identifier: MIT
#include "tool/cli/cli.h"

#include <memory>
#include <new>

#include "tool/cli/command.h"
#include "tool/cli/kexec/run.h"
#include "tool/cli/progress_bar.h"
#include "tool/cli/verbs.h"

namespace khop::cli {
namespace {

Result<void> Dispatch(Context& context, const Command& command) {
  switch (command.verb) {
    case Verb::kLoad:
      return RunLoad(context, command);
    case Verb::kExec:
      return RunExec(context, command);
    case Verb::kLastCheck:
      return RunLastCheck(context, command);
    case Verb::kUnload:
      return RunUnload(context, command);
    case Verb::kStatus:
      return RunStatus(context, command);
    case Verb::kPlan:
      return RunPlan(context, command);
    case Verb::kInspect:
      return RunInspect(context, command);
    case Verb::kReport:
      return RunReport(context, command);
    case Verb::kDoctor:
      return RunDoctor(context, command);
    case Verb::kCapture:
      return RunCapture(context, command);
    case Verb::kHelp:
      break;
  }
  return RunHelp(context, command);
}

Result<void> TryRun(Context& context, const std::vector<std::string>& arguments) {
  const auto parsed = Parse(arguments);
  if (!parsed) return Forward(parsed);
  if (const auto* const text = std::get_if<std::string>(&*parsed)) {
    context.out << *text;
  } else if (const auto done = Dispatch(context, std::get<Command>(*parsed)); !done) {
    context.out.flush();
    return done;
  }
  if (!context.out.flush()) {
    return Fail(ExitCode::kFailure, "standard output", "it cannot be written to");
  }
  return {};
}

}  // namespace

load::Progress MakeProgress(Context& context, const Command& command) {
  load::Progress progress;
  if (command.verbose) {
    progress = [&context](std::string_view step) {
      context.err << "khop: " << Printable(step) << "\n" << std::flush;
    };
  }
  if (context.err_is_terminal) {
    auto bar = std::make_shared<ProgressBar>(context.err, context.style);
    progress.OnBytes([bar](std::string_view what, uint64_t done, uint64_t total) {
      bar->Show(what, done, total);
    });
  }
  return progress;
}

int Run(Context& context, const std::vector<std::string>& arguments) {
  Result<void> done = {};
  try {
    if (!arguments.empty() && arguments.front() == kKexec) {
      return kexec::Run(context, {arguments.begin() + 1, arguments.end()});
    }
    done = TryRun(context, arguments);
  } catch (const std::bad_alloc&) {
    // On the way here whatever was taken has been given back, or the next khop does so.
    done = Fail(ExitCode::kNoMemory, "memory", "there is none left for khop itself", "free memory");
  }
  if (done) return static_cast<int>(ExitCode::kOk);
  context.err << "khop: " << done.error().message << "\n";
  return static_cast<int>(done.error().code);
}

}  // namespace khop::cli
