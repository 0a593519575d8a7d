// SPDX-License-Identifier: MIT
// What `khop doctor` found: whether this machine can hop, and what stands in the way. tool/doctor
// fills it in; this renders it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tool/report/style.h"
#include "tool/system/system.h"

namespace khop::report {

enum class Level : uint8_t {
  kGood,
  kNote,     // nothing is wrong, but one should know
  kWarning,  // a hop works, and may disappoint
  kBlocker,  // no hop while this is so
  kUnknown,  // it decides, and could not be seen
};

struct Finding {
  std::string name;  // stable, for programs: "lockdown"
  Level level = Level::kGood;
  std::string fact;
  std::string meaning;
  std::string remedy;  // empty: nothing to be done
};

enum class Verdict : uint8_t { kYes, kNo, kUnknown };

struct RouteVerdict {
  std::string route;
  Verdict verdict = Verdict::kUnknown;
  std::string reason;
};

struct Doctor {
  std::string machine;               // "6.1.0-28-arm64, pages of 4 KiB, 8 CPUs, 15.6 GiB of memory"
  std::string as_of;                 // of a capture: when and by whom; empty: now
  std::vector<RouteVerdict> routes;  // in the order of --route auto
  std::vector<Finding> findings;
  system::Speeds speeds;
};

// No: no route is left. Unknown: what decides could not be seen.
Verdict CanHop(const Doctor& doctor);

std::string RenderText(const Doctor& doctor, const Style& style = {});
// One JSON object with "schema": 1, ended by a newline (docs/json.md).
std::string ToJson(const Doctor& doctor);

}  // namespace khop::report
