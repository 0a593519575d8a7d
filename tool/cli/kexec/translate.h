// SPDX-License-Identifier: MIT
// From what kexec-tools was asked for to what khop does, and back to kexec-tools' exit codes.
#pragma once

#include <span>

#include "tool/base/error.h"
#include "tool/cli/kexec/options.h"
#include "tool/load/load.h"
#include "tool/system/system.h"

namespace khop::cli::kexec {

// The options of the load. Looks at the running machine where they depend on it: --reuseinitrd,
// the type, and the command line of the device tree, which -c and --dtb leave as it is.
Result<load::LoadOptions> Translate(system::System& system, const Options& options,
                                    std::span<const std::byte> blob);

// What kexec-tools would exit with where this failed to load.
KexecExit ExitOfLoad(system::System& system, const Options& options, ExitCode failure);

}  // namespace khop::cli::kexec
