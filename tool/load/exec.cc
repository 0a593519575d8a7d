// SPDX-License-Identifier: MIT
// What happens to a loaded kernel: looked at, started, given back.
#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <optional>

#include "tool/load/gather.h"
#include "tool/load/held.h"
#include "tool/load/load.h"
#include "tool/load/reserved.h"
#include "tool/load/routes.h"
#include "tool/load/session.h"
#include "tool/system/cpus.h"
#include "tool/system/kexec_state.h"
#include "tool/system/numa.h"
#include "tool/system/watchdog.h"

namespace khop::load {

using system::System;

namespace {

std::unexpected<Failure> NothingLoaded() {
  return Fail(ExitCode::kNothingLoaded, "khop", "no kernel is loaded", "load one with khop load");
}

Result<void> Jump(System& system) {
  const auto rebooted = system.Reboot(system::RebootMode::kKexec);
  if (!rebooted) {
    return FailErrno(ExitCode::kSystemCall, "reboot", rebooted.error().value,
                     "the kernel is still loaded; look at the kernel log");
  }
  return {};
}

// What the crash slot has, and whose it is.
Result<report::CrashStatus> GetCrash(System& system, const State& state) {
  report::CrashStatus crash;
  const auto loaded = system::CrashLoaded(system);
  if (!loaded) return Forward(loaded);
  const auto map = system::ReadMemoryMap(system);
  if (!map) return Forward(map);
  for (const PhysRange& range : map->crash) {
    crash.reservation.push_back({"reservation", range.start.value, range.size, 0});
  }
  if (!*loaded) {
    if (state.crash) crash.note = "another tool has unloaded the one that khop loaded";
    return crash;
  }
  if (state.crash_unsure) {
    crash.loaded_by = report::LoadedBy::kOther;
    crash.note = "by a khop that died at it, or by another tool";
    return crash;
  }
  if (!state.crash) {
    crash.loaded_by = report::LoadedBy::kOther;
    return crash;
  }
  crash.loaded_by = report::LoadedBy::kKhop;
  crash.loaded_at = state.crash->loaded_at;
  crash.kernel = state.crash->plan.kernel.path;
  crash.kernel_version = state.crash->plan.kernel_version;
  crash.initrds = state.crash->initrds;
  crash.command_line = state.crash->command_line;
  crash.entry = state.crash->plan.control.start;
  crash.segments = state.crash->plan.segments;
  crash.with_payload = state.crash->with_payload;
  return crash;
}

void AddReservedChecks(System& system, const State& state, report::Status& status) {
  const auto sound = CheckReserved(system, state);
  status.checks.push_back({"reservation", sound.has_value(),
                           sound ? "it covers the payload, and the crash slot is as khop left it"
                                 : Reason(sound.error())});
  const auto contents = CheckReservedContents(system, *state.current);
  if (contents && !*contents) return;
  status.checks.push_back(
      {"contents", contents.has_value(),
       contents ? "every digest is that of the load" : Reason(contents.error())});
}

// Lockdown leaves alone what the kernel has checked itself.
Result<void> CheckLockdown(System& system, const Loaded& loaded) {
  if (loaded.plan.route == "file" || !system::LockedDown(system)) return {};
  return Fail(
      ExitCode::kLockdown, "khop exec",
      "kernel lockdown is in force since the load, and no signature of what is loaded was checked",
      "reboot by firmware");
}

void AddHeldChecks(System& system, const Loaded& loaded, report::Status& status) {
  const auto still = CheckStillLoaded(system);
  status.checks.push_back(
      {"image", still.has_value(),
       still ? "the running kernel holds one, out of reach" : Reason(still.error())});
  if (const auto lockdown = CheckLockdown(system, loaded); !lockdown) {
    status.checks.push_back({"lockdown", false, "in force since the load; exec will refuse"});
  }
  status.notes.emplace_back(
      "the kernel tells nobody whose image it holds; exec loads the files once more");
}

void AddChecks(System& system, const State& state, report::Status& status) {
  const Loaded& loaded = *state.current;
  if (HeldByKernel(loaded)) {
    AddHeldChecks(system, loaded, status);
    return;
  }
  const bool reserved = loaded.plan.route == kReservedRoute;
  uint64_t moved = 0;
  const auto arena = AdoptLoaded(system, loaded, &moved);
  if (!arena) {
    status.checks.push_back({"pages", false, Reason(arena.error())});
    return;
  }
  uint64_t pages = 0;
  for (const LentPages& held : loaded.arena.Pages()) pages += held.count;
  // A new plan is a new load.
  const auto allowed = system::CheckLoadAllowed(system);
  const std::string anew =
      allowed ? "; exec will plan anew" : "; exec cannot plan anew: " + Reason(allowed.error());
  status.checks.push_back(
      {"pages", moved == 0 || allowed,
       moved == 0 ? std::to_string(pages) + " of " + std::to_string(pages) + " are in their places"
                  : std::to_string(moved) + " of " + std::to_string(pages) + " have moved" + anew});
  if (loaded.plan.route == "gather") {
    const auto trouble = FindTrouble(system, loaded, *arena);
    std::string detail = "none is in use by somebody else";
    if (!trouble) {
      detail = Reason(trouble.error());
    } else if (!trouble->empty()) {
      detail = HumanBytes(TotalSize(*trouble)) + " are in use" + anew;
    }
    status.checks.push_back({"destinations", trouble && (trouble->empty() || allowed), detail});
  }
  if (reserved) {
    AddReservedChecks(system, state, status);
  } else if (loaded.verified.empty()) {
    status.notes.emplace_back("loaded with --verify none: contents cannot be checked");
    if (const auto tree = CheckTree(loaded, *arena); !tree) {
      status.checks.push_back({"contents", false, Reason(tree.error())});
    }
  } else {
    const auto contents = CheckContents(system, loaded, *arena);
    status.checks.push_back(
        {"contents", contents.has_value(),
         contents ? "every digest is that of the load" : Reason(contents.error())});
  }
  if (system::LockedDown(system)) {
    status.checks.push_back({"lockdown", false, "in force since the load; exec will refuse"});
  }
  const auto shm = system::CheckSharedMemory(system, 0);
  status.checks.push_back(
      {"persistence", shm.has_value(), shm ? "the memory outlives khop" : Reason(shm.error())});
}

}  // namespace

Result<report::Plan> LoadedPlan(System& system) {
  if (const auto machine = system::CheckMachine(system); !machine) return Forward(machine);
  const auto session = Session::Open(system);
  if (!session) return Forward(session);
  if (!session->state().current) return NothingLoaded();
  report::Plan plan = session->state().current->plan;
  plan.addresses = "loaded";
  return plan;
}

Result<report::Status> GetStatus(System& system) {
  report::Status status;
  if (const auto machine = system::CheckMachine(system); !machine) return Forward(machine);
  const auto in_kernel = system::KexecLoaded(system);
  if (!in_kernel) return Forward(in_kernel);
  const auto session = Session::Open(system);
  if (!session) return Forward(session);
  const State& state = session->state();
  auto crash = GetCrash(system, state);
  if (!crash) return Forward(crash);
  status.crash = *std::move(crash);
  if (state.pending) {
    status.checks.push_back(
        {"leftovers", false, "a khop died at work; the next load or unload cleans up"});
  }
  if (!state.current) {
    status.loaded_by = *in_kernel ? report::LoadedBy::kOther : report::LoadedBy::kNobody;
    int orphans = 0;
    for (int slot = 0; slot < kSlots; ++slot) {
      if (!state.pending || state.pending->slot != slot) orphans += CountSegments(system, slot);
    }
    if (orphans != 0) {
      status.checks.push_back({"leftovers", false,
                               std::to_string(orphans) +
                                   " segments of shared memory that no state names; run khop "
                                   "unload"});
    }
    return status;
  }
  const Loaded& loaded = *state.current;
  status.loaded_by = report::LoadedBy::kKhop;
  status.route = loaded.plan.route;
  status.loaded_at = loaded.loaded_at;
  status.kernel = loaded.plan.kernel.path;
  status.kernel_version = loaded.plan.kernel_version;
  for (const auto& initrd : loaded.plan.initrds) status.initrds.push_back(initrd.path);
  status.command_line = loaded.plan.command_line;
  status.entry = loaded.plan.entry;
  status.segments = loaded.plan.segments;
  status.control = loaded.plan.control;
  status.arena = loaded.plan.arena;
  status.mmu = loaded.plan.mmu;
  status.mmu_reason = loaded.plan.mmu_reason;
  status.bytes_in_place = loaded.plan.bytes_in_place;
  status.bytes_to_move = loaded.plan.bytes_to_move;
  status.moves = loaded.plan.moves;
  status.digest = loaded.plan.digest;
  AddChecks(system, state, status);
  return status;
}

Result<bool> Unload(System& system) {
  if (const auto machine = system::CheckMachine(system); !machine) return Forward(machine);
  if (const auto checked = system::CheckKexec(system); !checked) {
    // What kexec_file_load has loaded it can unload, lockdown or not.
    const ExitCode code = checked.error().code;
    const bool other = code == ExitCode::kLockdown || code == ExitCode::kKexecNotBuilt;
    if (!other || !system::CheckKexecFile(system)) return Forward(checked);
  }
  return Session::ClearAll(system);
}

Result<void> Leave(System& system, Leaving leaving) {
  if (leaving.sync) system.Sync();
  if (leaving.interfaces_down) (void)system.TakeInterfacesDown();
  return Jump(system);
}

namespace {

// What is loaded may be started when loading has been turned off since.
bool MayStartUnseen(ExitCode code) {
  return code == ExitCode::kKexecDisabled || code == ExitCode::kLoadLimit ||
         code == ExitCode::kLockdown;
}

Result<void> MakeHeldSound(System& system, Session& session, const Progress& progress,
                           const Leaving& leaving) {
  if (const auto still = CheckStillLoaded(system); !still) return still;
  progress("loading the files once more");
  if (const auto again = LoadHeldAgain(system, session, progress); !again) {
    // Where memory is short the image that is there has to do as well.
    const ExitCode code = again.error().code;
    const bool gone = leaving.files_may_be_gone && code == ExitCode::kFileMissing;
    if (!MayStartUnseen(code) && code != ExitCode::kNoMemory && !gone) return again;
    if (session.state().pending) {
      if (const auto cancelled = session.CancelBuild(); !cancelled) return cancelled;
    }
    progress(again.error().message + "; taking what is loaded for khop's own");
  }
  return {};
}

// Has systemd stop everything and jump; what is left to do then is for the last check.
Result<void> AskSystemd(System& system, Session& session, const Leaving& leaving) {
  std::optional<Departure> departure;
  if (leaving.park_cpus || leaving.watchdog != 0) {
    if (!system.Lstat(kShutdownHook)) {
      return Fail(ExitCode::kUsage, leaving.park_cpus ? "--park-cpus" : "--watchdog",
                  std::string("at the end of a shutdown it takes ") + kShutdownHook +
                      ", which is not there",
                  "install khop's package, or give --now");
    }
    departure = Departure{.park_cpus = leaving.park_cpus, .watchdog = leaving.watchdog};
  }
  if (leaving.watchdog != 0) {
    // Now it can still be refused.
    if (const auto found = system::FindWatchdog(system); !found) return Forward(found);
  }
  if (const auto set = session.SetDeparture(departure); !set) return set;
  const auto status = system.Run({"systemctl", "kexec"});
  if (status && *status == 0) return {};
  (void)session.SetDeparture(std::nullopt);
  if (!status) return FailErrno(ExitCode::kSystemCall, "systemctl", status.error().value);
  return Fail(ExitCode::kFailure, "systemctl kexec", "exit status " + std::to_string(*status),
              "look at its message, or use khop exec --now");
}

}  // namespace

Result<void> Exec(System& system, ExecMode mode, const Progress& progress, Leaving leaving) {
  // Not CheckKexec: what is loaded may be started when loading has been turned off since.
  if (const auto machine = system::CheckMachine(system); !machine) return machine;
  system::PreferBootNode(system);
  auto session = Session::Open(system);
  if (!session) return Forward(session);
  if (const auto recovered = session->Recover(); !recovered) return recovered;
  if (!session->state().current) return NothingLoaded();
  if (const auto open = CheckLockdown(system, *session->state().current); !open) return open;
  const bool held = HeldByKernel(*session->state().current);
  if (held) {
    if (const auto sound = MakeHeldSound(system, *session, progress, leaving); !sound) return sound;
  } else if (const auto shm = system::CheckSharedMemory(system, 0); !shm) {
    return shm;
  }
  if (session->state().current->plan.route == "gather") {
    // What the kernel allocates from here on must not come from a destination that is not khop's:
    // the small free stretches are where it would take it, so khop takes them first. (Without this
    // khop would be looking for new places again and again on a small machine.)
    constexpr uint64_t kEnough = uint64_t{64} << 20;
    (void)TakeSome(system, kEnough);
  }
  const bool reserved = session->state().current->plan.route == kReservedRoute;
  if (reserved) {
    if (const auto sound = CheckReserved(system, session->state()); !sound) return sound;
  }
  const bool orderly = mode == ExecMode::kOrderly && system.Lstat("/run/systemd/system");
  if (!orderly && leaving.sync) {
    // Before the checks, so that they are the last thing.
    progress("writing file systems back");
    system.Sync();
  }
  progress("checking that the loaded kernel is intact");
  std::optional<Arena> arena;
  bool own = held;  // what the kernel holds is what khop has loaded, as far as can be known
  const auto look_again = [&]() -> Result<void> {
    if (held) return CheckStillLoaded(system);
    auto sound = MakeSound(system, *session, Planned::kBefore, progress);
    if (!sound) return Forward(sound);
    arena.emplace(std::move(sound->arena));
    own = own || sound->planned_anew;
    return {};
  };
  if (const auto sound = look_again(); !sound) return sound;
  // A new plan has been loaded just now, and that load may be the last that is allowed.
  if (!own) {
    progress("handing the control area to the kernel once more");
    if (const auto again = session->LoadAgain(); !again) {
      if (!MayStartUnseen(again.error().code)) return again;
      progress(again.error().message + "; taking what is loaded for khop's own");
    }
    arena.reset();
    if (const auto sound = look_again(); !sound) return sound;
  }
  const Loaded& loaded = *session->state().current;
  bool seen = false;  // that the contents are those of the load
  const auto set_stamp = [&](uint64_t time, uint64_t word) {
    if (held) return;
    const PhysAddr at{session->state().current->stamp};
    const std::array<uint64_t, 2> words = {time, word};
    const std::span<std::byte> stamp = arena->At({at, sizeof(words)});
    memcpy(stamp.data(), words.data(), stamp.size());
    system.CleanToPoc(stamp.data(), stamp.size());
  };
  // Whatever an exec before this one has left is not of this one.
  set_stamp(0, 0);
  if (reserved) {
    const auto contents = CheckReservedContents(system, loaded);
    if (!contents) return Forward(contents);
    seen = *contents;
  } else if (!held) {
    if (const auto contents = CheckContents(system, loaded, *arena); !contents) return contents;
    seen = true;
  }
  // What could not be looked at the relocator verifies.
  const bool early = loaded.plan.digest == "early" && seen;
  if (orderly) {
    progress("asking systemd to shut down and jump");
    return AskSystemd(system, *session, leaving);
  }
  std::optional<system::ArmedWatchdog> watchdog;  // stood down if this returns
  if (leaving.watchdog != 0) {
    auto armed = system::ArmedWatchdog::Arm(system, leaving.watchdog);
    if (!armed) return Forward(armed);
    watchdog.emplace(std::move(*armed));
    progress("a watchdog resets the machine in " + std::to_string(leaving.watchdog) + " s");
  }
  std::optional<system::ParkedCpus> parked;  // back online if this returns
  if (leaving.park_cpus) {
    auto done = system::ParkedCpus::Park(system, progress);
    if (!done) return Forward(done);
    parked.emplace(std::move(*done));
    progress(std::to_string(parked->count()) + " CPUs are offline");
  }
  // One that cannot be taken down is no reason to stay.
  if (leaving.interfaces_down) (void)system.TakeInterfacesDown();
  if (parked || leaving.interfaces_down) {
    // That took its time and memory of the kernel's: nothing may have moved, and nobody may have
    // taken a destination.
    arena.reset();
    if (const auto again = look_again(); !again) return again;
  }
  progress(mode == ExecMode::kLastCheck ? "all is well" : "jumping");
  // The last thing before the system call: where the blackout starts.
  const uint64_t now = system.Counter();
  set_stamp(now, early ? handoff::EarlyWord(now) : 0);
  if (mode == ExecMode::kLastCheck) {
    if (parked) parked->Leave();
    if (watchdog) watchdog->Leave();
    return {};
  }
  const auto rebooted = Jump(system);
  if (!rebooted) set_stamp(0, 0);
  return rebooted;
}

Result<LastCheckResult> LastCheck(System& system, const Progress& progress,
                                  const Leaving& otherwise) {
  // Where khop has loaded nothing it is not asked.
  if (!system.Lstat(kStateFile)) return LastCheckResult::kNothing;
  if (const auto loaded = system::KexecLoaded(system); loaded && !*loaded) {
    return LastCheckResult::kNothing;
  }
  Leaving leaving = otherwise;
  bool own = true;
  {
    const auto session = Session::Open(system);
    if (session) own = session->state().current || session->state().pending;
    if (session && session->state().departure) {
      leaving.park_cpus = session->state().departure->park_cpus;
      leaving.watchdog = session->state().departure->watchdog;
    }
  }
  if (!own) return LastCheckResult::kNothing;
  leaving.sync = false;
  leaving.files_may_be_gone = true;
  auto done = Exec(system, ExecMode::kLastCheck, progress, leaving);
  if (done) return LastCheckResult::kReady;
  progress("unloading, so that the machine reboots by its firmware");
  if (const auto unloaded = Unload(system); !unloaded) {
    return Fail(done.error().code, done.error().message,
                "and it cannot be unloaded: " + unloaded.error().message);
  }
  return Forward(done);
}

}  // namespace khop::load
