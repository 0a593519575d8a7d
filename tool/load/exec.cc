// SPDX-License-Identifier: MIT
// What happens to a loaded kernel: looked at, started, given back.
#include <atomic>
#include <cstring>

#include "tool/load/load.h"
#include "tool/load/session.h"
#include "tool/system/kexec_state.h"

namespace khop::load {

using system::System;

namespace {

std::unexpected<Failure> NothingLoaded() {
  return Fail(ExitCode::kNothingLoaded, "khop", "no kernel is loaded", "load one with khop load");
}

bool SameHex(std::span<const std::byte> bytes, const std::vector<std::string>& hex, size_t size) {
  if (bytes.size() != hex.size() * size) return false;
  for (size_t i = 0; i < bytes.size(); ++i) {
    static constexpr std::string_view kDigits = "0123456789abcdef";
    const auto value = std::to_integer<unsigned>(bytes[i]);
    const std::string& text = hex[i / size];
    const size_t at = i % size * 2;
    if (text.size() != size * 2 || text[at] != kDigits[value >> 4] ||
        text[at + 1] != kDigits[value & 15]) {
      return false;
    }
  }
  return true;
}

// Whether the payload still has the digests of the load.
Result<void> CheckContents(System& system, const Loaded& loaded, const Arena& arena) {
  const auto features = digest::DigestFeatures::FromHwcap(system.Hwcap());
  for (const Verified& entry : loaded.verified) {
    const auto now = DigestPieces(arena, {{entry.start}, entry.size}, loaded.digest_kind, features);
    if (!now) return Forward(now);
    if (!SameHex(*now, entry.digests, handoff::DigestSize(loaded.digest_kind))) {
      return Fail(ExitCode::kArenaGone, "the loaded kernel",
                  "its memory has changed at or after " + Hex(entry.start), "load it again");
    }
  }
  return {};
}

Result<Arena> CheckLoaded(System& system, const Loaded& loaded) {
  const auto in_kernel = system::KexecLoaded(system);
  if (!in_kernel) return Forward(in_kernel);
  if (!*in_kernel) {
    return Fail(ExitCode::kForeignImage, "the loaded kernel", "another tool has unloaded it",
                "load it again");
  }
  return Arena::Open(system, loaded.arena);
}

std::string Summary(const Failure& failure) {
  const size_t colon = failure.message.find(": ");
  return colon == std::string::npos ? failure.message : failure.message.substr(colon + 2);
}

void AddChecks(System& system, const Loaded& loaded, report::Status& status) {
  const auto arena = CheckLoaded(system, loaded);
  const size_t pages = loaded.arena.pages.size();
  if (!arena) {
    status.checks.push_back({"pages", false, Summary(arena.error())});
    return;
  }
  status.checks.push_back(
      {"pages", true,
       std::to_string(pages) + " of " + std::to_string(pages) + " are in their places"});
  if (loaded.verified.empty()) {
    status.notes.emplace_back("loaded with --verify none: contents cannot be checked");
  } else {
    const auto contents = CheckContents(system, loaded, *arena);
    status.checks.push_back(
        {"contents", contents.has_value(),
         contents ? "every digest is that of the load" : Summary(contents.error())});
  }
  const auto shm = system::CheckSharedMemory(system, 0);
  status.checks.push_back(
      {"persistence", shm.has_value(), shm ? "the memory outlives khop" : Summary(shm.error())});
}

}  // namespace

Result<report::Plan> LoadedPlan(System& system) {
  if (const auto machine = system::CheckMachine(system); !machine) return Forward(machine);
  const auto session = Session::Open(system);
  if (!session) return Forward(session);
  if (!session->state().current) return NothingLoaded();
  return session->state().current->plan;
}

Result<report::Status> GetStatus(System& system) {
  report::Status status;
  if (const auto machine = system::CheckMachine(system); !machine) return Forward(machine);
  const auto in_kernel = system::KexecLoaded(system);
  if (!in_kernel) return Forward(in_kernel);
  status.crash_loaded =
      system::ReadNumber(system, "/sys/kernel/kexec_crash_loaded").value_or(0) != 0;
  const auto session = Session::Open(system);
  if (!session) return Forward(session);
  const State& state = session->state();
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
  status.digest = loaded.plan.digest;
  AddChecks(system, loaded, status);
  return status;
}

Result<bool> Unload(System& system) {
  if (const auto checked = system::CheckKexec(system); !checked) return Forward(checked);
  return Session::ClearAll(system);
}

Result<void> Exec(System& system, ExecMode mode, const Progress& progress) {
  // Not CheckKexec: what is loaded may be started when loading has been turned off since.
  if (const auto machine = system::CheckMachine(system); !machine) return machine;
  auto session = Session::Open(system);
  if (!session) return Forward(session);
  if (const auto recovered = session->Recover(); !recovered) return recovered;
  if (!session->state().current) return NothingLoaded();
  const Loaded& loaded = *session->state().current;
  if (const auto shm = system::CheckSharedMemory(system, 0); !shm) return shm;
  progress("checking that the loaded kernel is intact");
  auto arena = CheckLoaded(system, loaded);
  if (!arena) return Forward(arena);
  if (const auto contents = CheckContents(system, loaded, *arena); !contents) return contents;
  if (mode == ExecMode::kOrderly && system.Lstat("/run/systemd/system")) {
    progress("asking systemd to shut down and jump");
    const auto status = system.Run({"systemctl", "kexec"});
    if (!status) return FailErrno(ExitCode::kSystemCall, "systemctl", status.error().value);
    if (*status != 0) {
      return Fail(ExitCode::kFailure, "systemctl kexec", "exit status " + std::to_string(*status),
                  "look at its message, or use khop exec --now");
    }
    return {};
  }
  progress("writing file systems back and jumping");
  system.Sync();
  // The last thing before the system call: where the blackout starts.
  const std::span<std::byte> stamp = arena->At({{loaded.stamp}, sizeof(uint64_t)});
  const uint64_t now = system.Counter();
  memcpy(stamp.data(), &now, sizeof(now));
  system.CleanToPoc(stamp.data(), stamp.size());
  const auto rebooted = system.Reboot(system::RebootMode::kKexec);
  if (!rebooted) {
    return FailErrno(ExitCode::kSystemCall, "reboot", rebooted.error().value,
                     "the kernel is still loaded; look at the kernel log");
  }
  return {};
}

}  // namespace khop::load
