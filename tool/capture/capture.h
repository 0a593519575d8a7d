// SPDX-License-Identifier: MIT
// What `khop capture` saves of a machine: everything that plan, doctor and report ask it, so that
// they say the same elsewhere. A directory with a manifest (khop-capture.json, written last) and
// one file for each text that does not fit into it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tool/base/error.h"
#include "tool/system/page_flags.h"
#include "tool/system/system.h"

namespace khop::capture {

inline constexpr const char* kPageFlagsPath = "/proc/kpageflags";
inline constexpr const char* kManifest = "khop-capture.json";
// Raised when something changes its meaning: captures of another version are refused.
inline constexpr int kVersion = 1;

// A clock of the machine and its counter at one moment, for report.
struct Moment {
  uint64_t counter = 0;
  uint64_t monotonic_raw = 0;  // ns
  uint64_t suspended = 0;      // ns
  uint64_t frequency = 0;      // of the counter, Hz
  friend bool operator==(const Moment&, const Moment&) = default;
};

struct Capture {
  std::string khop;  // version
  std::string captured_at;
  std::string machine;
  std::string release;
  uint32_t uid = 0;  // of the user who captured
  uint64_t page_size = 4096;
  uint32_t data_cache_line = 64;
  uint64_t hwcap = 0;
  std::optional<int> kexec_probe;       // errno
  std::optional<int> kexec_file_probe;  // errno, without flags
  system::Speeds speeds;
  std::optional<Moment> moment;
  std::map<std::string, std::string> files;  // by path on the machine
  std::map<std::string, int> errors;         // files and directories that could not be read: errno
  std::map<std::string, std::vector<std::string>> directories;
  std::map<std::string, std::string> links;
  std::map<std::string, system::FileInfo> infos;  // what Lstat said
  std::optional<std::string> kernel_log;
  std::vector<system::PageRun> pages;  // in the place of /proc/kpageflags
  std::string relocator;               // of the khop that captured

  friend bool operator==(const Capture&, const Capture&) = default;
};

// Writes into `directory`, which is made if it is not there. A capture that is there already is
// replaced. Errors: kSystemCall, with the path.
Result<void> Write(system::System& system, const std::string& directory, const Capture& capture);

// Errors: kBadCapture: not a capture, of another version, or a file is missing or damaged.
Result<Capture> Read(system::System& system, const std::string& directory);

// The same from and to files in memory, by name; `name` is for messages.
using Parts = std::map<std::string, std::string>;
Parts Encode(const Capture& capture);
Result<Capture> Decode(const Parts& parts, const std::string& name);

}  // namespace khop::capture
