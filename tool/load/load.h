// SPDX-License-Identifier: MIT
// What `khop load`, `unload`, `exec`, `status` and `plan` do. Each takes the lock for its time.
#pragma once

#include <functional>
#include <optional>
#include <string_view>

#include "tool/base/error.h"
#include "tool/load/prepare.h"
#include "tool/load/progress.h"
#include "tool/report/plan.h"
#include "tool/report/status.h"
#include "tool/system/system.h"

namespace khop::load {

// Loads, and replaces whatever was loaded before. On failure what was loaded before still is, and
// nothing else has changed. Returns the plan that was carried out, with the reason why each route
// before the one taken was not (`refused`); if none works, the failure tells all of them.
Result<report::Plan> Load(system::System& system, const LoadOptions& options,
                          const Progress& progress);

// What Load() would do, as far as it can be known without taking memory: with the pages that the
// kernel would have now. With `diff` the plan has the next tree's differences as source.
Result<report::Plan> PlanLoad(system::System& system, const LoadOptions& options,
                              bool diff = false);

// Adds to any plan how this machine's memory is used, and what the steps are expected to take.
void AddView(system::System& system, report::Plan& plan);

// The plan of what is loaded. Errors: kNothingLoaded.
Result<report::Plan> LoadedPlan(system::System& system);

// Loads the kernel that a panic starts (kdump), and replaces one that khop loaded before.
Result<report::Plan> LoadCrash(system::System& system, const LoadOptions& options,
                               const Progress& progress);
// Returns whether there was one of khop's. Errors: kCrashSlotTaken (another tool's).
Result<bool> UnloadCrash(system::System& system);

Result<report::Status> GetStatus(system::System& system);

// Gives everything back, leftovers of a khop that died included; the kernel's image too if it may
// be khop's. Returns whether there was anything.
Result<bool> Unload(system::System& system);

enum class ExecMode : uint8_t {
  kNow,        // reboot(2) at once, after sync(2)
  kOrderly,    // systemctl kexec where systemd runs the machine; else as kNow
  kLastCheck,  // as kNow, but for reboot(2), which somebody else calls at once
};

// What is done for the machine just before the jump.
struct Leaving {
  bool sync = true;
  bool interfaces_down = false;  // network interfaces, so that no DMA runs on
  bool park_cpus = false;        // the other CPUs are taken offline
  uint32_t watchdog = 0;         // seconds of a watchdog that runs on; 0: none
  // Routes kernel and file: file systems may be unmounted already, so what is loaded has to do.
  bool files_may_be_gone = false;
};

// Loads the control area once more, as another tool may have loaded something meanwhile, checks
// that the loaded kernel is intact and starts it. Returns only on failure, or with kOrderly when
// the shutdown has begun.
// Errors: kNothingLoaded, kArenaGone, kForeignImage, …
Result<void> Exec(system::System& system, ExecMode mode, const Progress& progress,
                  Leaving leaving = {});

enum class LastCheckResult : uint8_t { kNothing, kReady };

// What is done at the end of a shutdown that somebody else finishes by reboot(2): Exec() with
// kLastCheck. `otherwise`: what is done where khop exec has not said it. What is not khop's is left
// alone (kNothing). On failure the kernel is unloaded, so that reboot(2) goes by the firmware.
Result<LastCheckResult> LastCheck(system::System& system, const Progress& progress,
                                  const Leaving& otherwise);

// The file of the package by which systemd calls `khop last-check`.
inline constexpr const char* kShutdownHook = "/usr/lib/systemd/system-shutdown/khop.shutdown";

// Starts whatever the kernel has loaded: khop knows nothing about it. Returns only on failure.
Result<void> Leave(system::System& system, Leaving leaving);

}  // namespace khop::load
