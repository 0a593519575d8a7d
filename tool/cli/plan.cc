// SPDX-License-Identifier: MIT
#include "tool/cli/verbs.h"
#include "tool/load/load.h"

namespace khop::cli {

Result<void> RunPlan(Context& context, const Command& command) {
  load::LoadOptions options = command.load;
  options.blob = context.blob;
  const auto plan = options.kernel.empty() && options.entry.empty()
                        ? load::LoadedPlan(context.system)
                        : load::PlanLoad(context.system, options);
  if (!plan) return Forward(plan);
  context.out << (command.json ? report::ToJson(*plan) : report::RenderText(*plan));
  return {};
}

}  // namespace khop::cli
