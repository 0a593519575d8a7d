// SPDX-License-Identifier: MIT
#include <cerrno>
#include <charconv>

#include "tool/doctor/checks.h"
#include "tool/system/kexec_state.h"

namespace khop::doctor {

using report::Level;
using system::ReadFile;
using system::ReadNumber;

std::optional<bool> HasKexecFileLoad(system::System& system) {
  const auto config = ReadFile(system, "/boot/config-" + system.KernelRelease(), 4U << 20);
  if (!config) return std::nullopt;
  return config->find("CONFIG_KEXEC_FILE=y") != std::string::npos;
}

void CheckKexecCalls(Machine& machine) {
  const auto loaded = ReadNumber(machine.system, "/sys/kernel/kexec_loaded");
  if (!loaded && loaded.error().value == ENOENT) {
    machine.Add(Level::kBlocker, "kexec-load", "the kernel has no kexec_load",
                "it cannot start another kernel", "boot a kernel with CONFIG_KEXEC");
  } else if (!loaded) {
    machine.Add(Level::kUnknown, "kexec-load", "/sys/kernel/kexec_loaded cannot be read",
                "whether the kernel can start another one is not known", "run khop as root");
  } else {
    machine.Add(Level::kGood, "kexec-load", "the kernel has kexec_load", "all routes but `file`");
    if (*loaded != 0) {
      machine.Add(Level::kNote, "loaded", "a kernel is loaded now", "khop load takes its place",
                  "khop status tells whose it is");
    }
  }
  if (const auto file = HasKexecFileLoad(machine.system)) {
    machine.Add(Level::kNote, "kexec-file-load",
                *file ? "the kernel has kexec_file_load" : "the kernel has no kexec_file_load",
                *file ? "it takes signed kernels where lockdown is on" : "no route `file`");
  }
}

void CheckLimits(Machine& machine) {
  const auto disabled = ReadNumber(machine.system, "/proc/sys/kernel/kexec_load_disabled");
  if (disabled && *disabled != 0) {
    machine.Add(Level::kBlocker, "load-disabled", "kernel.kexec_load_disabled is 1",
                "the kernel takes no other kernel", "only a reboot turns kexec on again");
  } else if (disabled) {
    machine.Add(Level::kGood, "load-disabled", "kernel.kexec_load_disabled is 0",
                "loading is allowed");
  }
  // -1, no limit, does not read as a number; kernels before 6.3 have no such file.
  const auto limit = ReadNumber(machine.system, "/proc/sys/kernel/kexec_load_limit_reboot");
  if (!limit) return;
  if (*limit == 0) {
    machine.Add(Level::kBlocker, "load-limit", "kernel.kexec_load_limit_reboot is used up",
                "the kernel takes no other kernel", "only a reboot gives more loads");
  } else {
    machine.Add(*limit < 3 ? Level::kWarning : Level::kNote, "load-limit",
                "kernel.kexec_load_limit_reboot is " + std::to_string(*limit),
                "so many loads and unloads are left; load and exec take one each");
  }
}

void CheckLockdown(Machine& machine) {
  if (system::LockedDown(machine.system)) {
    machine.Add(Level::kBlocker, "lockdown", "kernel lockdown is on (Secure Boot)",
                "kexec_load is refused, and khop does not get round it",
                "boot without Secure Boot if you may");
    return;
  }
  const bool seen = ReadFile(machine.system, "/sys/kernel/security/lockdown").has_value() ||
                    machine.system.KernelLog().has_value();
  machine.Add(seen ? Level::kGood : Level::kUnknown, "lockdown",
              seen ? "kernel lockdown is off" : "neither securityfs nor the kernel log can be read",
              seen ? "kexec_load is not forbidden by it" : "lockdown may be on",
              seen ? "" : "run khop as root");
}

// A rule that appraises kernels makes the kernel refuse kexec_load, which has no file to appraise
// (Linux, Documentation/ABI/testing/ima_policy).
void CheckIma(Machine& machine) {
  const auto policy = ReadFile(machine.system, "/sys/kernel/security/ima/policy", 4U << 20);
  const auto line = ReadFile(machine.system, "/proc/cmdline");
  bool appraised = line && line->find("ima_policy=secure_boot") != std::string::npos;
  if (policy) {
    std::string_view rest = *policy;
    while (!rest.empty()) {
      const std::string_view rule = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(rule.size() + 1, rest.size()));
      appraised =
          appraised || (rule.starts_with("appraise") && rule.contains("KEXEC_KERNEL_CHECK"));
    }
  }
  if (appraised) {
    machine.Add(Level::kBlocker, "ima", "IMA appraises kernels before they are loaded",
                "kexec_load is refused: only files with a signature are taken",
                "hop to a signed kernel by a route that hands files over, or change the policy");
  } else {
    machine.Add(Level::kGood, "ima", "no rule of IMA's that is to be seen is about kernels",
                "kexec_load is not forbidden by it");
  }
}

void CheckProtectedKvm(Machine& machine) {
  if (!machine.system.KernelLog()) {
    machine.Add(Level::kUnknown, "protected-kvm", "the kernel log cannot be read",
                "protected KVM may be on, and would forbid it", "run khop as root");
  } else if (system::ProtectedKvmIsOn(machine.system)) {
    machine.Add(Level::kBlocker, "protected-kvm", "protected KVM owns EL2",
                "the kernel refuses to kexec beneath it", "boot without kvm-arm.mode=protected");
  } else {
    machine.Add(Level::kGood, "protected-kvm", "protected KVM is off", "EL2 is free to be left");
  }
}

}  // namespace khop::doctor
