// SPDX-License-Identifier: MIT
// The questions of the doctor. Each adds its findings; none depends on another's. Internal to this
// folder.
#pragma once

#include <optional>
#include <vector>

#include "tool/devicetree/tree.h"
#include "tool/report/doctor.h"
#include "tool/system/memory_map.h"
#include "tool/system/page_flags.h"
#include "tool/system/system.h"

namespace khop::doctor {

// What several of them look at, read once.
struct Machine {
  system::System& system;
  bool root = false;
  std::optional<devicetree::Tree> tree;
  std::optional<system::MemoryMap> memory;  // nothing where addresses are hidden
  uint64_t ram = 0;                         // bytes; of /proc/meminfo where they are hidden
  std::vector<system::PageRun> pages;       // of the plain memory
  system::Speeds speeds;
  std::vector<report::Finding> findings;

  void Add(report::Level level, std::string name, std::string fact, std::string meaning,
           std::string remedy = "") {
    findings.push_back(
        {std::move(name), level, std::move(fact), std::move(meaning), std::move(remedy)});
  }
};

// Whether the kernel kexecs at all.
void CheckKexecCalls(Machine& machine);
void CheckLimits(Machine& machine);
void CheckLockdown(Machine& machine);
void CheckIma(Machine& machine);
void CheckProtectedKvm(Machine& machine);
// The hardware and its firmware.
void CheckFirmware(Machine& machine);
void CheckGic(Machine& machine);
void CheckGranules(Machine& machine);
void CheckCpus(Machine& machine);
void CheckWatchdog(Machine& machine);
void CheckSpeed(Machine& machine);
// Memory, and what keeps it.
void CheckContiguous(Machine& machine);
void CheckPageFlags(Machine& machine);
void CheckCrashReservation(Machine& machine);
void CheckSharedMemory(Machine& machine);
void CheckKernelTables(Machine& machine);
// What shuts the machine down.
void CheckShutdown(Machine& machine);

// Facts for findings and routes alike.
std::optional<bool> HasKexecFileLoad(system::System& system);
uint64_t LongestRun(const Machine& machine);  // bytes of whole 2 MiB pages, free now
struct CrashReservation {
  uint64_t size = 0;
  bool loaded = false;
};
CrashReservation ReadCrashReservation(system::System& system);

// The verdicts, in the order of --route auto. `blocked`: nothing that goes by kexec_load works.
std::vector<report::RouteVerdict> JudgeRoutes(const Machine& machine);

}  // namespace khop::doctor
