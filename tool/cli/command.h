// SPDX-License-Identifier: MIT
// A command line, understood. One structure for all verbs: each uses what it has an option for.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "tool/base/error.h"
#include "tool/load/load.h"

namespace khop::cli {

enum class Verb : uint8_t {
  kLoad,
  kExec,
  kLastCheck,
  kUnload,
  kStatus,
  kPlan,
  kInspect,
  kReport,
  kDoctor,
  kCapture,
  kHelp
};

struct Command {
  Verb verb = Verb::kHelp;
  load::LoadOptions load;   // load, plan; no kernel: plan of what is loaded
  bool now = false;         // exec
  bool crash = false;       // load, unload: the kernel that a panic starts
  bool park_cpus = false;   // exec
  uint32_t watchdog = 0;    // exec: seconds; 0: none
  bool configured = false;  // load: what khop.conf says
  bool preload = false;     // load: if khop.conf says so
  bool json = false;
  bool verbose = false;
  bool diff_dtb = false;  // plan
  std::string svg;        // plan, report: a file to write
  std::string from;       // plan, report, doctor: the directory of a capture
  std::string directory;  // capture
  std::string file;       // inspect
  std::string topic;      // help: a verb, "exit-codes" or nothing
};

// What was asked for: a command, or text for standard output (--help, --version).
using Parsed = std::variant<Command, std::string>;

// `arguments` come after argv[0]. Errors: kUsage.
Result<Parsed> Parse(const std::vector<std::string>& arguments);

// The help for a verb, or for all of khop. Errors: kUsage.
Result<std::string> HelpText(const std::string& verb);

}  // namespace khop::cli
