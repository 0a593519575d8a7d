// SPDX-License-Identifier: MIT
#pragma once

#include <string>

namespace khop::report {

// What a failed hop has left for the boot after its reset.
struct FailedHop {
  std::string reason;     // "payload digest does not match at 0x46200000"
  std::string loaded_at;  // UTC, ISO 8601; empty if the record does not say
  std::string source;     // the file, or the node of the device tree
};

}  // namespace khop::report
