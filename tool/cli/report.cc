// SPDX-License-Identifier: MIT
#include "tool/cli/verbs.h"
#include "tool/devicetree/machine.h"
#include "tool/report/timeline.h"

namespace khop::cli {
namespace {

constexpr const char* kTree = "/sys/firmware/fdt";

Result<report::Timeline> ReadReport(system::System& system) {
  const auto blob = system::ReadFile(system, kTree, 2 * devicetree::kMaxTreeSize);
  if (!blob) {
    return FailErrno(ExitCode::kNothingLoaded, kTree, blob.error().value,
                     "run khop report as root in the kernel that came up");
  }
  const auto tree = devicetree::Tree::Parse(std::as_bytes(std::span(*blob)), kTree);
  if (!tree) return Forward(tree);
  const auto property = devicetree::ReadTimeline(*tree);
  if (!property) {
    return Fail(ExitCode::kNothingLoaded, "khop", "this kernel was not started by khop",
                "hop first, then ask");
  }
  auto timeline = report::DecodeTimeline(*property, report::SampleClocks());
  if (!timeline) return timeline;
  timeline->route = devicetree::ReadChosenString(*tree, "khop,route");
  timeline->from = devicetree::ReadChosenString(*tree, "khop,from");
  return timeline;
}

}  // namespace

Result<void> RunReport(Context& context, const Command& command) {
  const auto timeline = ReadReport(context.system);
  if (!timeline) return Forward(timeline);
  context.out << (command.json ? report::ToJson(*timeline) : report::RenderText(*timeline));
  return {};
}

}  // namespace khop::cli
