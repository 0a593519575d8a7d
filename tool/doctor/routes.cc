// SPDX-License-Identifier: MIT
// Which routes this machine allows. A verdict is about the machine as it is now; whether a payload
// fits is the plan's to say.
#include <algorithm>

#include "tool/doctor/checks.h"
#include "tool/system/huge_pages.h"
#include "tool/system/kexec_state.h"

namespace khop::doctor {

using report::Level;
using report::RouteVerdict;
using report::Verdict;

namespace {

const report::Finding* FindFirst(const Machine& machine, Level level) {
  const auto found = std::ranges::find(machine.findings, level, &report::Finding::level);
  return found == machine.findings.end() ? nullptr : &*found;
}

bool Has(const Machine& machine, std::string_view name, Level level) {
  return std::ranges::any_of(machine.findings, [&](const report::Finding& f) {
    return f.name == name && f.level == level;
  });
}

RouteVerdict InPlace(const Machine& machine) {
  if (Has(machine, "huge-pages", Level::kWarning)) {
    return {"in-place", Verdict::kNo, "the kernel has no huge pages of 2 MiB"};
  }
  if (machine.pages.empty()) {
    return {"in-place", Verdict::kUnknown, "which memory is free cannot be seen"};
  }
  const uint64_t longest = LongestRun(machine);
  return {"in-place", longest == 0 ? Verdict::kNo : Verdict::kYes,
          longest == 0 ? "no whole page of 2 MiB is free now"
                       : "for kernels of up to " + HumanBytes(longest) + " as memory is now"};
}

RouteVerdict Gather(const Machine& machine) {
  if (Has(machine, "page-flags", Level::kWarning)) {
    return {"gather", Verdict::kNo, "the kernel has no /proc/kpageflags"};
  }
  if (machine.pages.empty()) {
    return {"gather", Verdict::kUnknown, "which memory is free cannot be seen"};
  }
  return {"gather", Verdict::kYes, "pages of any size, wherever they are"};
}

RouteVerdict Reserved(const Machine& machine) {
  const CrashReservation crash = ReadCrashReservation(machine.system);
  if (crash.size == 0) return {"reserved", Verdict::kNo, "no crashkernel= memory"};
  if (crash.loaded) return {"reserved", Verdict::kNo, "a crash kernel is loaded there"};
  return {"reserved", Verdict::kYes, HumanBytes(crash.size) + " of crashkernel= memory"};
}

RouteVerdict File(const Machine& machine) {
  const auto checked = system::CheckKexecFile(machine.system);
  if (!checked && checked.error().code == ExitCode::kKexecFileNotBuilt) {
    return {"file", Verdict::kNo, "the kernel has no kexec_file_load"};
  }
  const auto has = HasKexecFileLoad(machine.system);
  if (!has) return {"file", Verdict::kUnknown, "the kernel's configuration cannot be read"};
  return {"file", *has ? Verdict::kYes : Verdict::kNo,
          *has ? "the kernel has kexec_file_load" : "the kernel has no kexec_file_load"};
}

}  // namespace

std::vector<RouteVerdict> JudgeRoutes(const Machine& machine) {
  std::vector<RouteVerdict> routes = {
      InPlace(machine),
      Reserved(machine),
      Gather(machine),
      {"kernel", Verdict::kYes, "the running kernel copies all of the payload"},
      File(machine)};
  const report::Finding* const blocker = FindFirst(machine, Level::kBlocker);
  if (blocker == nullptr) return routes;
  // Signed files are what lockdown and IMA still take.
  const bool signed_only = blocker->name == "lockdown" || blocker->name == "ima";
  for (RouteVerdict& route : routes) {
    if (route.route == "file" && signed_only) continue;
    route = {route.route, Verdict::kNo, blocker->fact};
  }
  return routes;
}

}  // namespace khop::doctor
