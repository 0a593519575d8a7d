// SPDX-License-Identifier: MIT
#include "tool/cli/verbs.h"
#include "tool/load/load.h"

namespace khop::cli {

Result<void> RunStatus(Context& context, const Command& command) {
  const auto status = load::GetStatus(context.system);
  if (!status) return Forward(status);
  context.out << (command.json ? report::ToJson(*status) : report::RenderText(*status));
  return {};
}

}  // namespace khop::cli
