// SPDX-License-Identifier: MIT
#include "tool/load/load.h"

#include "tool/cli/verbs.h"

namespace khop::cli {

Result<void> RunLoad(Context& context, const Command& command) {
  load::LoadOptions options = command.load;
  options.blob = context.blob;
  const auto progress = MakeProgress(context, command);
  const auto plan = command.crash ? load::LoadCrash(context.system, options, progress)
                                  : load::Load(context.system, options, progress);
  if (!plan) return Forward(plan);
  context.out << (command.json ? report::ToJson(*plan) : report::RenderText(*plan));
  return {};
}

}  // namespace khop::cli
