// SPDX-License-Identifier: MIT
#include "tool/system/kexec_state.h"

#include <cerrno>
#include <string>

namespace khop::system {
namespace {

constexpr const char* kLoadDisabled = "/proc/sys/kernel/kexec_load_disabled";
constexpr const char* kLoadLimit = "/proc/sys/kernel/kexec_load_limit_reboot";
constexpr const char* kLoaded = "/sys/kernel/kexec_loaded";
constexpr const char* kLockdown = "/sys/kernel/security/lockdown";

// "none [integrity] confidentiality": the word in brackets is in force.
bool LockedDown(System& system) {
  const auto text = ReadFile(system, kLockdown);
  return text && text->find('[') != std::string::npos && text->find("[none]") == std::string::npos;
}

bool LoadDisabled(System& system) {
  const auto value = ReadNumber(system, kLoadDisabled);
  return value && *value != 0;
}

// -1, which is no limit, does not read as an unsigned number.
bool LoadLimitUsedUp(System& system) {
  const auto value = ReadNumber(system, kLoadLimit);
  return value && *value == 0;
}

bool HasLoadLimit(System& system) { return ReadNumber(system, kLoadLimit).has_value(); }

Failure NotBuilt() {
  return Fail(ExitCode::kKexecNotBuilt, "kexec_load", "the running kernel does not have it",
              "boot a kernel with CONFIG_KEXEC")
      .error();
}

}  // namespace

Failure ExplainKexecLoad(System& system, Errno error) {
  static constexpr std::string_view kWhat = "kexec_load";
  switch (error.value) {
    case ENOSYS:
      return NotBuilt();
    case EPERM:
      if (LoadDisabled(system)) {
        return Fail(ExitCode::kKexecDisabled, kWhat, "kernel.kexec_load_disabled is 1",
                    "only a reboot turns kexec on again")
            .error();
      }
      if (LoadLimitUsedUp(system)) {
        return Fail(ExitCode::kLoadLimit, kWhat, "kernel.kexec_load_limit_reboot is used up",
                    "only a reboot gives more loads")
            .error();
      }
      if (LockedDown(system)) {
        return Fail(ExitCode::kLockdown, kWhat, "kernel lockdown (Secure Boot) forbids it",
                    "khop does not get round lockdown; boot without it if you may")
            .error();
      }
      return Fail(ExitCode::kLockdown, kWhat, "the kernel or a security module forbids it",
                  "run khop as root outside containers, and look at the kernel log")
          .error();
    case EBUSY:
      return Fail(ExitCode::kUnsupportedMachine, kWhat,
                  "the kernel is busy with another load, or its CPUs cannot be stopped (spin "
                  "tables, protected KVM)",
                  "look at the kernel log")
          .error();
    case ENOMEM:
      return Fail(ExitCode::kNoMemory, kWhat,
                  "the kernel has no memory for the control pages and its copy of the linear map",
                  "free memory and try again")
          .error();
    default:
      return FailErrno(ExitCode::kSystemCall, kWhat, error.value, "look at the kernel log").error();
  }
}

Result<void> CheckMachine(System& system) {
  if (const std::string machine = system.Machine(); machine != "aarch64") {
    return Fail(ExitCode::kNotArm64, "this machine", "its kernel is " + machine + ", not arm64",
                "run khop on the arm64 machine that is to hop");
  }
  if (system.EffectiveUid() != 0) {
    return Fail(ExitCode::kNotRoot, "khop", "you are not root", "run it with sudo");
  }
  return {};
}

Result<void> CheckKexec(System& system) {
  if (auto machine = CheckMachine(system); !machine) return machine;
  if (LoadDisabled(system)) return std::unexpected(ExplainKexecLoad(system, {EPERM}));
  if (LoadLimitUsedUp(system)) return std::unexpected(ExplainKexecLoad(system, {EPERM}));
  if (LockedDown(system)) return std::unexpected(ExplainKexecLoad(system, {EPERM}));
  if (const auto loaded = ReadFile(system, kLoaded); !loaded && loaded.error().value == ENOENT) {
    return std::unexpected(NotBuilt());
  }
  // The probe is an attempt, and attempts may be counted: then the load itself has to tell.
  if (!HasLoadLimit(system)) {
    if (const Errno probe = system.KexecProbe(); probe.value == ENOSYS || probe.value == EPERM) {
      return std::unexpected(ExplainKexecLoad(system, probe));
    }
  }
  return {};
}

Result<void> CheckSharedMemory(System& system, uint64_t bytes) {
  const auto forced = ReadNumber(system, "/proc/sys/kernel/shm_rmid_forced");
  if (!forced) {
    return FailErrno(ExitCode::kNoRoute, "/proc/sys/kernel/shm_rmid_forced", forced.error().value,
                     "khop needs a kernel with CONFIG_SYSVIPC");
  }
  if (*forced != 0) {
    return Fail(ExitCode::kUnsafeSystem, "kernel.shm_rmid_forced",
                "it is 1, so the kernel would free the loaded image when khop exits",
                "set it to 0 with sysctl");
  }
  const auto own = system.ReadLink("/proc/self/ns/ipc");
  const auto init = system.ReadLink("/proc/1/ns/ipc");
  if (!own || !init || *own != *init) {
    return Fail(ExitCode::kUnsafeSystem, "the IPC namespace",
                "it is not that of PID 1, so the loaded image would vanish with it",
                "run khop on the host, outside containers and units with PrivateIPC=");
  }
  const auto shmmax = ReadNumber(system, "/proc/sys/kernel/shmmax");
  if (shmmax && *shmmax < bytes) {
    return Fail(ExitCode::kMemoryLimit, "kernel.shmmax",
                "it is below the " + HumanBytes(bytes) + " that this load needs",
                "raise it with sysctl");
  }
  const auto shmall = ReadNumber(system, "/proc/sys/kernel/shmall");
  if (shmall && *shmall < (bytes + system.PageSize() - 1) / system.PageSize()) {
    return Fail(ExitCode::kMemoryLimit, "kernel.shmall",
                "it is below the " + HumanBytes(bytes) + " that this load needs",
                "raise it with sysctl");
  }
  return {};
}

Result<bool> KexecLoaded(System& system) {
  const auto value = ReadNumber(system, kLoaded);
  if (!value) {
    if (value.error().value == ENOENT) return std::unexpected(NotBuilt());
    return FailErrno(ExitCode::kSystemCall, kLoaded, value.error().value);
  }
  return *value != 0;
}

}  // namespace khop::system
