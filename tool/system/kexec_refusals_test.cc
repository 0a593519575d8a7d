// SPDX-License-Identifier: MIT
// What a kernel that will not kexec is recognised by, and which of its reasons khop gives.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "tool/system/fake_system.h"
#include "tool/system/kexec_state.h"

namespace khop::system {
namespace {

using testing::HasSubstr;

constexpr const char* kLimit = "/proc/sys/kernel/kexec_load_limit_reboot";

TEST(LockedDownTest, TheKernelLogTellsWithoutSecurityfs) {
  FakeSystem system;
  EXPECT_FALSE(LockedDown(system));
  system.kernel_log =
      "5,12,0,-;Kernel is locked down from command line; see man kernel_lockdown.7\n";
  EXPECT_TRUE(LockedDown(system));
  system.kernel_log =
      "5,12,0,-;Lockdown: khop: kexec of unsigned images is restricted; see man "
      "kernel_lockdown.7\n";
  EXPECT_TRUE(LockedDown(system));
  EXPECT_EQ(CheckKexec(system).error().code, ExitCode::kLockdown);
  EXPECT_THAT(CheckKexec(system).error().message, HasSubstr("lockdown"));
  // Not the kernel's own words.
  system.kernel_log = "12,12,0,-;Kernel is locked down from command line\n";
  EXPECT_FALSE(LockedDown(system));
  system.kernel_log = "5,12,0,-;Lockdown: kprobe: use of kprobes is restricted\n";
  EXPECT_FALSE(LockedDown(system));
}

TEST(LockedDownTest, TheFileComesFirst) {
  FakeSystem system;
  system.kernel_log =
      "5,12,0,-;Kernel is locked down from command line; see man kernel_lockdown.7\n";
  system.SetFile("/sys/kernel/security/lockdown", "[none] integrity confidentiality\n");
  EXPECT_FALSE(LockedDown(system));
}

TEST(ProtectedKvmTest, IsRefusedBeforeAnyLoad) {
  for (const char* line : {
           "6,1,0,-;CPU features: detected: Protected KVM",
           "6,1,0,-;kvm [1]: Protected nVHE mode initialized successfully",
           "6,1,0,-;kvm [1]: Protected hVHE mode initialized successfully",
           "6,1,0,-;kvm [1]: Protected nVHE with more mode initialized successfully",
       }) {
    FakeSystem system;
    system.kernel_log = std::string("6,0,0,-;Booting\n") + line + "\n SUBSYSTEM=x\n";
    const auto checked = CheckKexec(system);
    ASSERT_FALSE(checked) << line;
    EXPECT_EQ(checked.error().code, ExitCode::kProtectedKvm);
    EXPECT_THAT(checked.error().message, HasSubstr("kvm-arm.mode=protected"));
    EXPECT_EQ(system.kexec_loads, 0);
  }
}

TEST(ProtectedKvmTest, OtherModesAreNot) {
  FakeSystem system;
  for (const char* line : {"6,1,0,-;kvm [1]: Hyp mode initialized successfully",
                           "6,1,0,-;kvm [1]: VHE mode initialized successfully",
                           "6,1,0,-;kvm [1]: nVHE mode initialized successfully",
                           // What was asked for is not what came of it: at EL1 there is no KVM.
                           "5,1,0,-;Kernel command line: kvm-arm.mode=protected",
                           "14,1,0,-;kvm [1]: Protected nVHE mode initialized successfully"}) {
    system.kernel_log = std::string(line) + "\n";
    EXPECT_TRUE(CheckKexec(system)) << line;
  }
}

TEST(ExplainKexecLoadTest, BusyHasThreeReasons) {
  FakeSystem system;
  EXPECT_EQ(ExplainKexecLoad(system, {EBUSY}).code, ExitCode::kBusy);
  system.kernel_log = "3,9,0,-;Can't kexec: CPUs are stuck in the kernel.\n";
  EXPECT_EQ(ExplainKexecLoad(system, {EBUSY}).code, ExitCode::kCpusStuck);
  // The log has wrapped since KVM started.
  system.SetFile("/proc/cmdline", "quiet kvm-arm.mode=protected\n");
  EXPECT_EQ(ExplainKexecLoad(system, {EBUSY}).code, ExitCode::kProtectedKvm);
}

TEST(CheckLoadAllowedTest, CostsNothing) {
  FakeSystem system;
  system.SetFile(kLimit, "1\n");
  system.SetFile("/proc/sys/kernel/kexec_load_limit_panic", "0\n");  // not of khop's loads
  EXPECT_TRUE(CheckLoadAllowed(system));
  EXPECT_TRUE(CheckKexec(system));
  EXPECT_EQ(system.kexec_loads, 0);
  system.SetFile(kLimit, "0\n");
  ASSERT_FALSE(CheckLoadAllowed(system));
  EXPECT_EQ(CheckLoadAllowed(system).error().code, ExitCode::kLoadLimit);
  EXPECT_THAT(CheckLoadAllowed(system).error().message, HasSubstr("kexec_load_limit_reboot"));
}

}  // namespace
}  // namespace khop::system
