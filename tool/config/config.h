// SPDX-License-Identifier: MIT
// /etc/khop.conf: what the administrator has decided for loads and jumps that nobody types.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tool/base/error.h"
#include "tool/system/system.h"

namespace khop::config {

inline constexpr const char* kPath = "/etc/khop.conf";

struct Config {
  // Of `khop load --configured` (khop-load.service).
  std::string kernel;  // empty: `entry`, or the default boot entry
  std::vector<std::string> initrds;
  std::string entry;
  // Of that, and of a preload.
  std::optional<std::string> command_line;  // nothing: the running kernel's
  std::string append;
  std::string dtb;
  std::string route;       // empty: auto
  std::string mmu;         // empty: auto
  std::string verify;      // empty: sha256
  bool preload = false;    // a kernel that is being installed is loaded at once
  bool initramfs = false;  // khop goes into initramfs-tools' images
  // Of a jump at the end of the machine's own shutdown.
  bool park_cpus = false;
  uint32_t watchdog = 0;  // seconds; 0: none
};

// "KEY = VALUE" lines, '#' comments; nothing else. Errors: kBadConfig, with the line and what is
// allowed there.
Result<Config> Parse(std::string_view text);

// That of kPath; the defaults where there is no such file. Errors: kBadConfig.
Result<Config> Read(system::System& system);

}  // namespace khop::config
