// SPDX-License-Identifier: MIT
#include "tool/system/kexec_state.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>

namespace khop::system {
namespace {

constexpr const char* kLoadDisabled = "/proc/sys/kernel/kexec_load_disabled";
constexpr const char* kLoadLimit = "/proc/sys/kernel/kexec_load_limit_reboot";
constexpr const char* kPanicLimit = "/proc/sys/kernel/kexec_load_limit_panic";
constexpr const char* kLoaded = "/sys/kernel/kexec_loaded";
constexpr const char* kCrashLoaded = "/sys/kernel/kexec_crash_loaded";
constexpr const char* kLockdown = "/sys/kernel/security/lockdown";

// Whether the kernel itself (records of other facilities have higher priorities: dev-kmsg in Linux,
// Documentation/ABI/testing) has logged a line that holds all of `parts`, in this order.
bool KernelSaid(System& system, std::initializer_list<std::string_view> parts) {
  const auto log = system.KernelLog();
  std::string_view rest = log ? std::string_view(*log) : std::string_view();
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    if (line.size() < 2 || line[0] < '0' || line[0] > '7' || line[1] != ',') continue;
    size_t at = line.find(';');
    for (const std::string_view part : parts) {
      if (at != std::string_view::npos) at = line.find(part, at);
    }
    if (at != std::string_view::npos) return true;
  }
  return false;
}

bool OnCommandLine(System& system, std::string_view word) {
  const auto line = ReadFile(system, "/proc/cmdline");
  return line && line->find(word) != std::string::npos;
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

Failure Refuse(ExitCode code, std::string_view why, std::string_view todo) {
  return Fail(code, "kexec_load", why, todo).error();
}

Failure NotBuilt() {
  return Refuse(ExitCode::kKexecNotBuilt, "the running kernel does not have it",
                "boot a kernel with CONFIG_KEXEC");
}

Failure ProtectedKvm() {
  return Refuse(ExitCode::kProtectedKvm,
                "protected KVM owns EL2, and the kernel refuses to kexec beneath it",
                "boot without kvm-arm.mode=protected");
}

// What has been turned off for both system calls.
std::optional<Failure> TurnedOff(System& system) {
  if (LoadDisabled(system)) {
    return Refuse(ExitCode::kKexecDisabled, "kernel.kexec_load_disabled is 1",
                  "only a reboot turns kexec on again");
  }
  if (LoadLimitUsedUp(system)) {
    return Refuse(ExitCode::kLoadLimit,
                  "kernel.kexec_load_limit_reboot is used up, and unloads count too",
                  "only a reboot gives more loads");
  }
  return std::nullopt;
}

// Why the kernel would refuse with EPERM, as far as it tells.
std::optional<Failure> Forbidden(System& system) {
  if (auto off = TurnedOff(system)) return off;
  if (LockedDown(system)) {
    return Refuse(ExitCode::kLockdown, "kernel lockdown (Secure Boot) forbids it",
                  "khop does not get round lockdown; boot without it if you may");
  }
  return std::nullopt;
}

}  // namespace

// "none [integrity] confidentiality": the word in brackets is in force. Without securityfs the
// kernel log tells: of the moment when lockdown was turned on, and of an attempt that it stopped.
bool LockedDown(System& system) {
  if (const auto text = ReadFile(system, kLockdown)) {
    return text->find('[') != std::string::npos && text->find("[none]") == std::string::npos;
  }
  return KernelSaid(system, {"Kernel is locked down from "}) ||
         KernelSaid(system, {"Lockdown: ", ": kexec of unsigned images is restricted"});
}

Failure ExplainKexecLoad(System& system, Errno error) {
  switch (error.value) {
    case ENOSYS:
      return NotBuilt();
    case EPERM:
      if (auto forbidden = Forbidden(system)) return *std::move(forbidden);
      return Refuse(ExitCode::kLockdown, "the kernel or a security module forbids it",
                    "run khop as root outside containers, and look at the kernel log");
    case EBUSY:
      // From machine_kexec_prepare(): what it cannot stop it does not name.
      if (!KernelSaid(system, {"Can't kexec: CPUs are stuck in the kernel"})) {
        return Refuse(ExitCode::kBusy, "another program is loading a kernel at this moment",
                      "try again");
      }
      if (OnCommandLine(system, "kvm-arm.mode=protected")) return ProtectedKvm();
      return Refuse(ExitCode::kCpusStuck,
                    "the kernel cannot stop all CPUs: one did not come up, or "
                    "they start by spin tables",
                    "look at the kernel log");
    case ENOMEM:
      return Refuse(ExitCode::kNoMemory,
                    "the kernel has no memory for the control pages and its copy of the linear map",
                    "free memory and try again");
    default:
      return FailErrno(ExitCode::kSystemCall, "kexec_load", error.value, "look at the kernel log")
          .error();
  }
}

// The image and its signature are looked at first, so most numbers mean one thing here
// (security/keys and crypto/asymmetric_keys for the signature's).
Failure ExplainKexecFileLoad(System& system, Errno error) {
  const auto refuse = [](ExitCode code, std::string_view why, std::string_view todo) {
    return Fail(code, "kexec_file_load", why, todo).error();
  };
  static constexpr std::string_view kSign = "sign the kernel with a key that this kernel trusts";
  switch (error.value) {
    case ENOSYS:
      return refuse(ExitCode::kKexecFileNotBuilt, "the running kernel does not have it",
                    "boot a kernel with CONFIG_KEXEC_FILE, or take another route");
    case EPERM:
      if (auto off = TurnedOff(system)) return *std::move(off);
      if (LockedDown(system)) {
        return refuse(ExitCode::kSignature,
                      "kernel lockdown takes signed kernels only, and this one has no signature "
                      "that the kernel accepts",
                      kSign);
      }
      return refuse(ExitCode::kLockdown, "the kernel or a security module forbids it",
                    "run khop as root outside containers, and look at the kernel log");
    case EACCES:
      return refuse(ExitCode::kImaPolicy, "IMA's policy does not accept the kernel or the initrd",
                    "sign the files for IMA (security.ima), and look at the audit log");
    case ENODATA:
      return refuse(ExitCode::kSignature, "the kernel has no signature", kSign);
    case ENOKEY:
      return refuse(ExitCode::kSignature, "the key of the signature is not known", kSign);
    case EKEYREJECTED:
    case EKEYREVOKED:
    case EKEYEXPIRED:
      return refuse(ExitCode::kSignature, "the signature or its key is rejected", kSign);
    case EBADMSG:
      return refuse(ExitCode::kSignature, "the signature is damaged or is not that of this file",
                    kSign);
    case ELIBBAD:
      return refuse(ExitCode::kSignature, "the kernel is no PE file, so it cannot have a signature",
                    "take one that is built with CONFIG_EFI, and sign it");
    case ENOPKG:
      return refuse(ExitCode::kSignature,
                    "the signature is of a kind that the running kernel cannot check", kSign);
    case ENOEXEC:
      return refuse(ExitCode::kNotAKernel, "the running kernel does not know this kind of file",
                    "give an uncompressed arm64 Image");
    case EINVAL:
      return refuse(ExitCode::kNotAKernel,
                    "the kernel is no arm64 Image that this machine can start, or the command line "
                    "is too long",
                    "give an uncompressed arm64 Image of a page size that the CPUs have");
    case EFBIG:
      return refuse(ExitCode::kNoMemory, "a file is larger than the kernel reads",
                    "make it smaller");
    case ENOMEM:
      return refuse(ExitCode::kNoMemory, "the kernel has no memory for the files and their copies",
                    "free memory and try again");
    case EADDRNOTAVAIL:
      return refuse(ExitCode::kNoContiguousMemory,
                    "the kernel found no room in memory for the kernel, the initrd or the tree",
                    "take a smaller initrd");
    case EBUSY:
      if (auto busy = ExplainKexecLoad(system, error); busy.code != ExitCode::kBusy) return busy;
      return refuse(ExitCode::kBusy, "another program is loading a kernel at this moment",
                    "try again");
    case ETXTBSY:
      return refuse(ExitCode::kFileChanged, "somebody has the file open for writing",
                    "load again when nobody writes to it");
    default:
      return FailErrno(ExitCode::kSystemCall, "kexec_file_load", error.value,
                       "look at the kernel log")
          .error();
  }
}

Result<void> CheckMachine(System& system, Purpose purpose) {
  if (const std::string machine = system.Machine(); machine != "aarch64") {
    return Fail(ExitCode::kNotArm64, "this machine", "its kernel is " + machine + ", not arm64",
                "run khop on the arm64 machine that is to hop");
  }
  if (purpose == Purpose::kDo && system.EffectiveUid() != 0) {
    return Fail(ExitCode::kNotRoot, "khop", "you are not root", "run it with sudo");
  }
  for (const auto& [there, root, todo] :
       {std::array{"/proc/self", "/proc", "mount -t proc proc /proc"},
        std::array{"/sys/kernel", "/sys", "mount -t sysfs sysfs /sys"}}) {
    if (const auto info = system.Lstat(there); !info) {
      return info.error().value == ENOENT
                 ? Fail(ExitCode::kSystemCall, root, "it is not mounted", todo)
                 : FailErrno(ExitCode::kSystemCall, there, info.error().value);
    }
  }
  return {};
}

Result<void> CheckLoadAllowed(System& system) {
  if (auto forbidden = Forbidden(system)) return std::unexpected(*std::move(forbidden));
  return {};
}

// From 5.12 on the kernel logs the mode (6.5: "hVHE" on CPUs with VHE), whichever of the two lines
// still is there.
bool ProtectedKvmIsOn(System& system) {
  return KernelSaid(system, {"CPU features: detected: Protected KVM"}) ||
         KernelSaid(system, {"kvm [", "]: Protected ", "VHE", " mode initialized successfully"});
}

bool HasLoadLimit(System& system) { return ReadNumber(system, kLoadLimit).has_value(); }

namespace {

// What neither system call can do anything about.
Result<void> CheckEither(System& system) {
  if (auto off = TurnedOff(system)) return std::unexpected(*std::move(off));
  if (const auto loaded = ReadFile(system, kLoaded); !loaded && loaded.error().value == ENOENT) {
    return std::unexpected(NotBuilt());
  }
  // No probe: the kernel looks at this only when it gets a whole image.
  if (ProtectedKvmIsOn(system)) return std::unexpected(ProtectedKvm());
  return {};
}

}  // namespace

Result<void> CheckKexec(System& system) {
  if (auto machine = CheckMachine(system, Purpose::kLook); !machine) return machine;
  if (auto allowed = CheckLoadAllowed(system); !allowed) return allowed;
  if (auto either = CheckEither(system); !either) return either;
  // The probe is an attempt, and attempts may be counted: then the load itself has to tell. Others
  // than root learn nothing by it.
  if (!HasLoadLimit(system) && system.EffectiveUid() == 0) {
    if (const Errno probe = system.KexecProbe(); probe.value == ENOSYS || probe.value == EPERM) {
      return std::unexpected(ExplainKexecLoad(system, probe));
    }
  }
  return {};
}

Result<void> CheckKexecFile(System& system) {
  if (auto machine = CheckMachine(system, Purpose::kLook); !machine) return machine;
  if (auto either = CheckEither(system); !either) return either;
  if (!HasLoadLimit(system) && system.EffectiveUid() == 0) {
    if (const Errno probe = system.KexecFileProbe(0);
        probe.value == ENOSYS || probe.value == EPERM) {
      return std::unexpected(ExplainKexecFileLoad(system, probe));
    }
  }
  return {};
}

Result<void> CheckSharedMemory(System& system, uint64_t bytes) {
  const auto forced = ReadNumber(system, "/proc/sys/kernel/shm_rmid_forced");
  if (!forced) {
    return FailKernelFile(ExitCode::kNoRoute, "/proc/sys/kernel/shm_rmid_forced",
                          forced.error().value, "khop needs a kernel with CONFIG_SYSVIPC");
  }
  if (*forced != 0) {
    return Fail(ExitCode::kUnsafeSystem, "kernel.shm_rmid_forced",
                "it is 1, so the kernel would free the loaded image when khop exits",
                "set it to 0 with sysctl");
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

Result<void> CheckIpcNamespace(System& system) {
  // The number of the first namespace (PROC_IPC_INIT_INO, in the UAPI since 6.18). That of PID 1 is
  // a container's own in a container.
  static constexpr std::string_view kFirst = "ipc:[4026531839]";
  const auto own = system.ReadLink("/proc/self/ns/ipc");
  // ENOENT: no CONFIG_IPC_NS, so there is only one.
  if (!own && own.error().value != ENOENT) {
    return FailErrno(ExitCode::kSystemCall, "/proc/self/ns/ipc", own.error().value);
  }
  if (own && *own != kFirst) {
    return Fail(ExitCode::kUnsafeSystem, "the IPC namespace",
                "it is not the machine's own: a loaded image cannot be seen from here, and one "
                "made here would vanish with it",
                "run khop on the host, outside containers and units with PrivateIPC=");
  }
  return {};
}

namespace {

Result<bool> ReadLoaded(System& system, const char* path) {
  const auto value = ReadNumber(system, path);
  if (!value) {
    if (value.error().value == ENOENT) return std::unexpected(NotBuilt());
    return FailErrno(ExitCode::kSystemCall, path, value.error().value);
  }
  return *value != 0;
}

}  // namespace

Result<bool> KexecLoaded(System& system) { return ReadLoaded(system, kLoaded); }

Result<bool> CrashLoaded(System& system) {
  // Since Linux 6.9 a kernel with CONFIG_KEXEC may be one without CONFIG_CRASH_DUMP.
  const auto value = ReadNumber(system, kCrashLoaded);
  if (!value && value.error().value == ENOENT) {
    if (const auto loaded = KexecLoaded(system); !loaded) return Forward(loaded);
    return false;
  }
  return ReadLoaded(system, kCrashLoaded);
}

Result<void> CheckCrashLoadAllowed(System& system, uint64_t attempts) {
  if (LoadDisabled(system) || LockedDown(system)) return CheckLoadAllowed(system);
  const auto limit = ReadNumber(system, kPanicLimit);
  if (limit && *limit < attempts) {
    return Fail(ExitCode::kLoadLimit, "kexec_load",
                "kernel.kexec_load_limit_panic allows " + std::to_string(*limit) + " of the " +
                    std::to_string(attempts) + " crash loads that this takes, unloads included",
                "only a reboot gives more loads");
  }
  return {};
}

}  // namespace khop::system
