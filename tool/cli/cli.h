// SPDX-License-Identifier: MIT
// The command line of `khop`. Data goes to `out`, diagnostics to `err`.
#pragma once

#include <cstddef>
#include <ostream>
#include <span>
#include <string>
#include <vector>

#include "tool/base/error.h"
#include "tool/report/style.h"
#include "tool/system/system.h"

namespace khop::cli {

struct Context {
  system::System& system;
  std::ostream& out;
  std::ostream& err;
  std::span<const std::byte> blob;  // the relocator; empty where khop can only refuse
  // How reports look; by default as in a pipe.
  report::Style style = {};
  bool err_is_terminal = false;  // progress bars there
};

// `khop kexec …`, and khop called by this name, is kexec-tools' `kexec` (kexec/run.h).
inline constexpr const char* kKexec = "kexec";

// Runs `khop` with the arguments after argv[0]; the exit code.
int Run(Context& context, const std::vector<std::string>& arguments);

}  // namespace khop::cli
