// SPDX-License-Identifier: MIT
// Talks to the guest's init (guest/protocol.h) on a machine's console.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lab/vm/failure.h"
#include "lab/vm/machine.h"

namespace khop::lab {

// What a running kernel said about itself and what it was given.
struct Facts {
  std::string uname;         // uname -r
  std::string command_line;  // /proc/cmdline
  // Of the initrd that it got; empty where this kernel does not show its initrd, or was told not to
  // digest ("khop_lab.nodigest" on its command line).
  std::string initrd_sha256;
  std::string manifest_sha256;  // of the unpacked files, where there is no initrd_sha256
  uint64_t counter = 0;         // CNTVCT_EL0
  uint64_t counter_hz = 0;      // CNTFRQ_EL0
  uint64_t memory_total_kib = 0;
  uint64_t memory_available_kib = 0;
  std::vector<std::string> iomem;               // /proc/iomem
  std::chrono::steady_clock::time_point heard;  // on the host, when they arrived
};

struct CommandResult {
  int exit_code = 0;
  std::string output;  // stdout and stderr in the order they were written
};

// Parses the text of a facts block; unknown keys are ignored, missing ones an error.
Result<Facts> ParseFacts(std::string_view text);

class Guest {
 public:
  explicit Guest(Machine& machine) : machine_(machine) {}

  // Waits for a kernel to come up and say what it is. Afterwards commands can be run.
  Result<Facts> WaitUntilUp(Seconds deadline);
  // The same facts, newly gathered.
  Result<Facts> GatherFacts(Seconds deadline = Seconds(60));
  // Runs a shell command and waits for it to end.
  Result<CommandResult> Run(std::string_view command, Seconds deadline = Seconds(120));
  // Runs a shell command that must succeed; returns what it printed.
  Result<std::string> Must(std::string_view command, Seconds deadline = Seconds(120));
  // Starts a shell command that is not expected to come back, such as a hop.
  Result<void> Start(std::string_view command);
  // reboot(LINUX_REBOOT_CMD_KEXEC) by init itself.
  Result<void> Kexec();
  // Powers off and waits for QEMU's end.
  Result<MachineEnd> PowerOff(Seconds deadline = Seconds(30));

 private:
  struct Block {
    int code = 0;
    std::string text;
  };
  // One attempt to read a block: it, or nothing if it arrived damaged.
  Result<std::optional<Block>> ReadBlock(std::string_view id, Seconds deadline);
  // Reads a block, asking for it again if a kernel message fell into it.
  Result<Block> ReadBlockReliably(std::string_view id, Seconds deadline);

  Machine& machine_;
  int last_id_ = 0;
};

}  // namespace khop::lab
