// SPDX-License-Identifier: MIT
#include "tool/system/kexec_state.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "tool/system/fake_system.h"

namespace khop::system {
namespace {

ExitCode Refusal(FakeSystem& system) {
  const auto checked = CheckKexec(system);
  if (checked) return ExitCode::kOk;
  // One line: what, why, what to do.
  EXPECT_NE(checked.error().message.find(": "), std::string::npos);
  EXPECT_NE(checked.error().message.find("; "), std::string::npos);
  EXPECT_EQ(checked.error().message.find('\n'), std::string::npos);
  return checked.error().code;
}

TEST(CheckKexecTest, AcceptsAGoodMachine) {
  FakeSystem system;
  EXPECT_EQ(Refusal(system), ExitCode::kOk);
  EXPECT_EQ(system.kexec_loads, 0);
}

TEST(CheckKexecTest, ToDoSomethingTakesRoot) {
  FakeSystem system;
  system.uid = 1000;
  system.kexec_error = EPERM;  // what others than root get from a probe
  EXPECT_EQ(CheckMachine(system).error().code, ExitCode::kNotRoot);
  EXPECT_TRUE(CheckMachine(system, Purpose::kLook));
  EXPECT_TRUE(CheckKexec(system));
}

TEST(CheckKexecTest, EachRefusalHasItsCode) {
  struct Case {
    void (*spoil)(FakeSystem&);
    ExitCode code;
  };
  const Case cases[] = {
      {[](FakeSystem& s) { s.machine = "x86_64"; }, ExitCode::kNotArm64},
      {[](FakeSystem& s) { s.SetFile("/proc/sys/kernel/kexec_load_disabled", "1\n"); },
       ExitCode::kKexecDisabled},
      {[](FakeSystem& s) { s.SetFile("/proc/sys/kernel/kexec_load_limit_reboot", "0\n"); },
       ExitCode::kLoadLimit},
      {[](FakeSystem& s) {
         s.SetFile("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
       },
       ExitCode::kLockdown},
      {[](FakeSystem& s) { s.Remove("/sys/kernel/kexec_loaded"); }, ExitCode::kKexecNotBuilt},
      {[](FakeSystem& s) { s.kexec_error = ENOSYS; }, ExitCode::kKexecNotBuilt},
      {[](FakeSystem& s) { s.kexec_error = EPERM; }, ExitCode::kLockdown},
  };
  for (const Case& c : cases) {
    FakeSystem system;
    c.spoil(system);
    EXPECT_EQ(Refusal(system), c.code) << static_cast<int>(c.code);
  }
}

TEST(CheckKexecTest, NoLockdownIsNoRefusal) {
  FakeSystem system;
  system.SetFile("/sys/kernel/security/lockdown", "[none] integrity confidentiality\n");
  system.SetFile("/proc/sys/kernel/kexec_load_limit_reboot", "-1\n");
  EXPECT_EQ(Refusal(system), ExitCode::kOk);
}

TEST(CheckKexecTest, AProbeIsNotSpentWhereLoadsAreCounted) {
  FakeSystem system;
  system.SetFile("/proc/sys/kernel/kexec_load_limit_reboot", "1\n");
  system.kexec_error = EPERM;  // what a probe would get
  EXPECT_EQ(Refusal(system), ExitCode::kOk);
}

TEST(CheckSharedMemoryTest, Refusals) {
  {
    FakeSystem system;
    EXPECT_TRUE(CheckSharedMemory(system, 100 << 20).has_value());
  }
  {
    FakeSystem system;
    system.SetFile("/proc/sys/kernel/shm_rmid_forced", "1\n");
    EXPECT_EQ(CheckSharedMemory(system, 0).error().code, ExitCode::kUnsafeSystem);
  }
  {
    FakeSystem system;
    system.SetFile("/proc/sys/kernel/shmmax", "1000000\n");
    EXPECT_TRUE(CheckSharedMemory(system, 1000000).has_value());
    EXPECT_EQ(CheckSharedMemory(system, 1000001).error().code, ExitCode::kMemoryLimit);
  }
  {
    FakeSystem system;
    system.SetFile("/proc/sys/kernel/shmall", "10\n");
    EXPECT_TRUE(CheckSharedMemory(system, 40960).has_value());
    EXPECT_EQ(CheckSharedMemory(system, 40961).error().code, ExitCode::kMemoryLimit);
  }
}

TEST(CheckIpcNamespaceTest, OnlyTheFirstWillDo) {
  FakeSystem system;
  EXPECT_TRUE(CheckIpcNamespace(system));
  system.Find("/proc/self/ns/ipc")->link = "ipc:[4026532205]";
  EXPECT_EQ(CheckIpcNamespace(system).error().code, ExitCode::kUnsafeSystem);
  // Without CONFIG_IPC_NS there is no other.
  system.Remove("/proc/self/ns/ipc");
  EXPECT_TRUE(CheckIpcNamespace(system));
}

TEST(LoadedTest, AKernelWithoutCrashDumpHasNoCrashImage) {
  FakeSystem system;
  system.Remove("/sys/kernel/kexec_crash_loaded");
  ASSERT_TRUE(CrashLoaded(system));
  EXPECT_FALSE(*CrashLoaded(system));
  system.Remove("/sys/kernel/kexec_loaded");
  EXPECT_EQ(CrashLoaded(system).error().code, ExitCode::kKexecNotBuilt);
  EXPECT_EQ(KexecLoaded(system).error().code, ExitCode::kKexecNotBuilt);
}

TEST(CheckMachineTest, ProcAndSysHaveToBeThere) {
  for (const char* const gone : {"/proc/self", "/sys/kernel"}) {
    FakeSystem system;
    EXPECT_TRUE(CheckMachine(system));
    system.Remove(gone);
    const auto checked = CheckMachine(system);
    ASSERT_FALSE(checked);
    EXPECT_TRUE(checked.error().message.contains("is not mounted")) << checked.error().message;
  }
}

}  // namespace
}  // namespace khop::system
