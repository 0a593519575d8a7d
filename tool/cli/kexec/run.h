// SPDX-License-Identifier: MIT
// khop as `kexec`: what kexec-tools does with the same command line, but for what docs/compat.md
// lists.
#pragma once

#include <string>
#include <vector>

#include "tool/cli/cli.h"

namespace khop::cli::kexec {

// Runs `kexec` with the arguments after argv[0]; an exit code of kexec-tools.
int Run(Context& context, const std::vector<std::string>& arguments);

}  // namespace khop::cli::kexec
