// SPDX-License-Identifier: MIT
#pragma once

#include <string>

namespace khop::cli::kexec {

// For `kexec --help` and `kexec --version`.
std::string UsageText();
std::string VersionText();

}  // namespace khop::cli::kexec
