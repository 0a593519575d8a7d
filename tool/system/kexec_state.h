// SPDX-License-Identifier: MIT
// Whether this machine lets khop kexec at all, and what is loaded.
#pragma once

#include "tool/base/error.h"
#include "tool/system/system.h"

namespace khop::system {

// Who asks: to do something takes root, and so does to be told whether the kernel would refuse it.
enum class Purpose : uint8_t { kDo, kLook };

// Refuses other machines than arm64, missing /proc and /sys, and, to do something, other users than
// root.
Result<void> CheckMachine(System& system, Purpose purpose = Purpose::kDo);

// Whether kernel lockdown is in force (Linux, man kernel_lockdown.7), as far as it can be seen.
bool LockedDown(System& system);

// Refuses where the kernel would refuse any kexec_load, unloads included: kexec_load_disabled, a
// used-up kexec_load_limit_reboot, lockdown. It costs no load of that limit.
Result<void> CheckLoadAllowed(System& system);

// Refuses, with the reason and its own exit code: not arm64, a kernel without kexec_load, what
// CheckLoadAllowed() refuses, protected KVM; as far as it can be seen without root by others.
Result<void> CheckKexec(System& system);
// Whether protected KVM owns EL2, by the kernel log.
bool ProtectedKvmIsOn(System& system);
// The same for kexec_file_load, which lockdown leaves to signatures.
Result<void> CheckKexecFile(System& system);
// Whether attempts are counted, so that a probe would cost one.
bool HasLoadLimit(System& system);

// Refuses where SysV shared memory would not last until the reboot or is not the machine's own:
// kernel.shm_rmid_forced, shmmax or shmall below `bytes`.
Result<void> CheckSharedMemory(System& system, uint64_t bytes);

// Refuses another IPC namespace than the machine's first: the arena cannot be seen from there, and
// one that was made there would vanish with it.
Result<void> CheckIpcNamespace(System& system);

// /sys/kernel/kexec_loaded: whether a default (not crash) image is loaded, by whomever.
Result<bool> KexecLoaded(System& system);

// /sys/kernel/kexec_crash_loaded: whether a crash image is loaded, by whomever.
Result<bool> CrashLoaded(System& system);

// Refuses where the kernel would refuse one of `attempts` crash loads, unloads included:
// kexec_load_disabled, a used-up kexec_load_limit_panic, lockdown.
Result<void> CheckCrashLoadAllowed(System& system, uint64_t attempts);

// The failure of a kexec_load, in the user's terms.
Failure ExplainKexecLoad(System& system, Errno error);
// The failure of a kexec_file_load.
Failure ExplainKexecFileLoad(System& system, Errno error);

}  // namespace khop::system
