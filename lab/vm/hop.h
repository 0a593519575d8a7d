// SPDX-License-Identifier: MIT
// What makes a hop count. The machine is one QEMU process that ends with any reset, so a kernel
// that comes up on it without one was started by its predecessor. On top of that: the guest's
// counter ran on, the next kernel is the one that was wanted, with the command line and the initrd
// that were given, it sees the machine's memory, and the route is the one that khop had announced.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "lab/vm/failure.h"
#include "lab/vm/guest.h"
#include "lab/vm/machine.h"

namespace khop::lab {

struct HopExpectation {
  std::string release;       // uname -r of the next kernel
  std::string command_line;  // its whole command line
  // Of the initrd, or of its files for a kernel that does not show its initrd; either may be empty.
  std::string initrd_sha256;
  std::string manifest_sha256;
  bool reports = true;             // khop report knows the hop: the relocator was in it
  std::string route = "in-place";  // empty: what hops was not loaded by khop; no status, no report
  // The counter is the host's clock but under an instruction count.
  bool counter_is_wall_clock = true;
};

struct HopProof {
  Facts before;
  Facts after;
  nlohmann::json status;    // khop status --json in the first kernel, before the hop
  nlohmann::json report;    // khop report --json in the next kernel
  double host_seconds = 0;  // from the trigger to the next kernel's facts
};

// Gathers the first kernel's facts, pulls `trigger` and waits for the next kernel. Fails with a
// sentence for the first thing that is not as expected.
Result<HopProof> ProveHop(Machine& machine, Guest& guest, const HopExpectation& expected,
                          const std::function<Result<void>(Guest&)>& trigger,
                          Seconds deadline = Seconds(120));

// Runs a khop command with --json and parses what it printed.
Result<nlohmann::json> KhopJson(Guest& guest, const std::string& arguments);

// Bytes of the top-level "System RAM" ranges of /proc/iomem.
uint64_t SystemRam(const Facts& facts);

}  // namespace khop::lab
