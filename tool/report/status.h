// SPDX-License-Identifier: MIT
// What is loaded now, and whether it would still work. tool/load fills it in; this renders it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tool/report/segment.h"

namespace khop::report {

enum class LoadedBy : uint8_t {
  kNobody,
  kKhop,
  kOther,  // the kernel says that an image is loaded, and it is not ours
};

// The image that a panic would start.
struct CrashStatus {
  LoadedBy loaded_by = LoadedBy::kNobody;
  std::string note;                  // what else is known of whose it is
  std::vector<Segment> reservation;  // crashkernel=: none, one or two ranges
  // The rest only with kKhop.
  std::string loaded_at;
  std::string kernel;
  std::string kernel_version;
  std::vector<std::string> initrds;
  std::string command_line;
  uint64_t entry = 0;
  std::vector<Segment> segments;
  bool with_payload = false;  // the kernel that khop exec starts lies in the same image
};

// One thing that was looked at just now: {"pages", true, "21 of 21 in their places"}.
struct Check {
  std::string name;
  bool ok = false;
  std::string detail;
};

struct Status {
  LoadedBy loaded_by = LoadedBy::kNobody;
  CrashStatus crash;
  // The rest only with kKhop.
  std::string route;
  std::string loaded_at;       // "2026-07-01T12:00:00Z"
  std::string kernel;          // path
  std::string kernel_version;  // empty if unknown
  std::vector<std::string> initrds;
  std::string command_line;
  uint64_t entry = 0;
  std::vector<Segment> segments;
  ControlArea control;
  std::vector<ArenaPages> arena;
  std::string mmu;  // "on" or "off"
  std::string mmu_reason;
  uint64_t bytes_in_place = 0;
  uint64_t bytes_to_move = 0;
  uint64_t moves = 0;
  std::string digest;
  // With any LoadedBy: what was checked. Leftovers of an earlier khop are a failed check.
  std::vector<Check> checks;
  std::vector<std::string> notes;
};

// True if khop loaded a kernel and every check passed: `khop exec` would work.
bool Ready(const Status& status);

// For people: lines of at most 80 columns but for file names, each ended by a newline.
std::string RenderText(const Status& status);
// For programs: one JSON object with "schema": 1, ended by a newline. Text that is not UTF-8 gets
// replacement characters.
std::string ToJson(const Status& status);

}  // namespace khop::report
