// SPDX-License-Identifier: MIT
#include <iomanip>

#include "tool/cli/verbs.h"

namespace khop::cli {

Result<void> RunHelp(Context& context, const Command& command) {
  if (command.topic == "exit-codes") {
    for (const ExitCodeInfo& info : AllExitCodes()) {
      context.out << std::setw(3) << static_cast<int>(info.code) << "  " << std::left
                  << std::setw(22) << info.name << std::right << " " << info.meaning << "\n";
    }
    return {};
  }
  const auto text = HelpText(command.topic);
  if (!text) return Forward(text);
  context.out << *text;
  return {};
}

}  // namespace khop::cli
