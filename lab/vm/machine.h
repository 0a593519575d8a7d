// SPDX-License-Identifier: MIT
// One QEMU `virt` machine: its console, its monitor, its end.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lab/vm/child_process.h"
#include "lab/vm/device_tree.h"
#include "lab/vm/failure.h"

namespace khop::lab {

using Seconds = std::chrono::duration<double>;

// NOLINTBEGIN(readability-redundant-member-init): g++ wants them for designated initializers.
struct MachineConfig {
  std::filesystem::path kernel = {};
  std::filesystem::path initrd = {};  // none if empty
  std::string command_line = {};
  std::string cpu = "cortex-a57";
  std::string machine = "virt,gic-version=3";
  int memory_mib = 1024;
  int cpus = 1;
  // The guest's counter counts instructions and a run repeats exactly (one CPU only).
  bool instruction_count = false;
  // Keep the machine running over a guest's reset; else its end is the end of QEMU.
  bool allow_reboot = false;
  std::vector<std::string> extra_arguments = {};
  TreeEdit edit_tree = {};  // a machine without UEFI gets QEMU's device tree, so changed
  // The console goes here from the first byte on and stays.
  std::filesystem::path console_log = {};
};
// NOLINTEND(readability-redundant-member-init)

// How a machine ended.
enum class EndReason { kGuestReset, kGuestPowerOff, kKilled, kOther };
std::string_view ToString(EndReason reason);

struct MachineEnd {
  EndReason reason = EndReason::kOther;
  int exit_code = 0;  // of QEMU
};

class Machine {
 public:
  static Result<Machine> Start(const MachineConfig& config);

  // The next line of the console (without its end) for which `accept` is true, and nothing before
  // it is seen again. Fails when the deadline passes or the machine ends first; the failure quotes
  // the console's last lines.
  using Accept = std::function<bool(std::string_view line)>;
  Result<std::string> WaitForLine(const Accept& accept, Seconds deadline, std::string_view what);
  Result<std::string> WaitForText(std::string_view text, Seconds deadline);
  // A POSIX extended regular expression.
  Result<std::string> WaitForRegex(const std::string& pattern, Seconds deadline);
  // Whether a line not yet looked at is there without waiting longer than `deadline` for it.
  std::optional<std::string> NextLine(Seconds deadline);

  // Sends a line to the console.
  Result<void> Send(std::string_view line);

  // Runs a QMP command (JSON arguments, or empty) and returns what it returned, as JSON.
  Result<std::string> Qmp(std::string_view command, std::string_view arguments);
  // Runs a command of the human monitor (`xp /4gx 0x40000000`) and returns its text.
  Result<std::string> Monitor(std::string_view command);
  // Guest physical memory, at most a few MiB.
  Result<std::string> ReadMemory(uint64_t address, uint64_t size);

  // Waits for QEMU to end; fails (and leaves it running) when the deadline passes.
  Result<MachineEnd> WaitForEnd(Seconds deadline);
  void Kill();

  bool running() const { return child_.running(); }
  int pid() const { return child_.pid(); }
  // Everything the console has said.
  const std::string& console() const { return console_; }
  const std::filesystem::path& console_log() const { return log_path_; }
  // The last lines of the console, for a failure's message.
  std::string ConsoleTail(int lines = 40) const;

 private:
  using Clock = std::chrono::steady_clock;

  // Waits at most until `until` for input of any kind and takes it in.
  void Pump(Clock::time_point until);
  void TakeMonitorLines();
  std::optional<std::string> TakeLine();
  Failure Describe(std::string what) const;

  ChildProcess child_;
  UniqueFd monitor_;
  std::string monitor_pending_;
  std::vector<std::string> monitor_answers_;
  std::string console_;
  size_t cursor_ = 0;  // start of the first line of console_ not yet looked at
  std::ofstream log_;
  std::filesystem::path log_path_;
  bool output_open_ = true;
  std::optional<MachineEnd> end_;
  EndReason reason_ = EndReason::kOther;
};

}  // namespace khop::lab
