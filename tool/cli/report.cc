// SPDX-License-Identifier: MIT
#include "tool/cli/verbs.h"
#include "tool/devicetree/machine.h"
#include "tool/load/failure_record.h"
#include "tool/report/timeline.h"

namespace khop::cli {
namespace {

constexpr const char* kTree = "/sys/firmware/fdt";

Result<devicetree::Tree> ReadTree(system::System& system) {
  const auto blob = system::ReadFile(system, kTree, 2 * devicetree::kMaxTreeSize);
  if (!blob) {
    return FailErrno(ExitCode::kNothingLoaded, kTree, blob.error().value,
                     "run khop report as root in the kernel that came up");
  }
  return devicetree::Tree::Parse(std::as_bytes(std::span(*blob)), kTree);
}

Result<report::Timeline> LastHop(const devicetree::Tree& tree,
                                 const std::optional<report::ClockSample>& now) {
  const auto property = devicetree::ReadTimeline(tree);
  if (!property) {
    return Fail(ExitCode::kNothingLoaded, "khop", "this kernel was not started by khop",
                "hop first, then ask");
  }
  auto timeline = report::DecodeTimeline(*property, now);
  if (!timeline) return timeline;
  timeline->route = devicetree::ReadChosenString(tree, "khop,route");
  timeline->from = devicetree::ReadChosenString(tree, "khop,from");
  return timeline;
}

std::optional<report::ClockSample> ClocksOf(Subject& subject) {
  auto now = report::SampleClocks();
  if (subject.captured != nullptr) {
    const auto& moment = subject.captured->capture().moment;
    now.reset();
    if (moment) {
      now = report::ClockSample{.counter = moment->counter,
                                .monotonic_raw = moment->monotonic_raw,
                                .suspended = moment->suspended,
                                .frequency = moment->frequency};
    }
  }
  const auto log = subject.system.KernelLog();
  if (now && log) now->init = report::FindInitStart(*log);
  return now;
}

Result<report::Timeline> ReadReport(Subject& subject) {
  system::System& system = subject.system;
  const auto tree = ReadTree(system);
  auto timeline = tree ? LastHop(*tree, ClocksOf(subject)) : Forward(tree);
  std::vector<std::string> notes;
  auto failed = load::ReadFailedHops(system, tree ? &*tree : nullptr, notes);
  if (!timeline) {
    if (failed.empty() || timeline.error().code != ExitCode::kNothingLoaded) return timeline;
    timeline.emplace().hopped = false;
  }
  timeline->failed = std::move(failed);
  timeline->notes.insert(timeline->notes.end(), notes.begin(), notes.end());
  return timeline;
}

}  // namespace

Result<void> RunReport(Context& context, const Command& command) {
  auto subject = OpenSubject(context, command);
  if (!subject) return Forward(subject);
  const auto timeline = ReadReport(*subject);
  if (!timeline) return Forward(timeline);
  context.out << (command.json ? report::ToJson(*timeline)
                               : report::RenderText(*timeline, context.style));
  return WriteSvg(context, command, report::ToSvg(*timeline));
}

}  // namespace khop::cli
