// SPDX-License-Identifier: MIT
// What the blackout is to be, and whether it is.
#pragma once

#include <string>
#include <vector>

#include "bench/blackout/runs.h"

namespace khop::bench {

struct Goal {
  std::string kernel;
  std::string what;      // "sha256, 100 MiB above the floor: at most 1/15 of kexec-tools'"
  std::string measured;  // "1/18.1"
  std::string detail;    // "231.2 M of 4175.8 M"; what is missing if it was not measured; may be ""
  bool known = false;
  bool met = false;
};

// Of every kernel that there are runs of, in the order of their first ones.
std::vector<Goal> CheckGoals(const std::vector<Sample>& runs);

}  // namespace khop::bench
