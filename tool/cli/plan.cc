// SPDX-License-Identifier: MIT
#include "tool/cli/verbs.h"
#include "tool/load/load.h"

namespace khop::cli {
namespace {

Result<report::Plan> MakePlan(Subject& subject, const Command& command) {
  if (!command.load.kernel.empty() || !command.load.entry.empty()) {
    load::LoadOptions options = command.load;
    options.blob = subject.blob;
    return load::PlanLoad(subject.system, options, command.diff_dtb);
  }
  if (subject.captured != nullptr || command.diff_dtb) {
    return Fail(ExitCode::kUsage, subject.captured != nullptr ? "--from" : "--diff-dtb",
                "there is no KERNEL to plan with", "name one, and its --initrd");
  }
  return load::LoadedPlan(subject.system);
}

}  // namespace

Result<void> RunPlan(Context& context, const Command& command) {
  auto subject = OpenSubject(context, command);
  if (!subject) return Forward(subject);
  auto plan = MakePlan(*subject, command);
  if (!plan) return Forward(plan);
  load::AddView(subject->system, *plan);
  if (subject->captured != nullptr) {
    const capture::Capture& from = subject->captured->capture();
    plan->notes.push_back("for the machine of a capture of " + from.captured_at + " by khop " +
                          from.khop);
  }
  context.out << (command.json ? report::ToJson(*plan) : report::RenderText(*plan, context.style));
  return WriteSvg(context, command, report::ToSvg(*plan));
}

}  // namespace khop::cli
