// SPDX-License-Identifier: MIT
// Machines and moments in which a load or a hop must not be: refused, and nothing is changed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <libfdt.h>

#include "tool/load/gather_machine.h"
#include "tool/load/test_machine.h"

namespace khop::load {
namespace {

using testing::HasSubstr;

constexpr const char* kLimit = "/proc/sys/kernel/kexec_load_limit_reboot";
constexpr const char* kLockdown = "/sys/kernel/security/lockdown";

// TestTree() with two CPUs that start in this way.
std::string TreeWithCpus(const std::string& enable_method) {
  std::string blob(8192, '\0');
  EXPECT_EQ(fdt_open_into(TestTree(0x40000000).data(), blob.data(), 8192), 0);
  const int cpus = fdt_add_subnode(blob.data(), 0, "cpus");
  for (const char* name : {"cpu@1", "cpu@0"}) {
    const int cpu = fdt_add_subnode(blob.data(), cpus, name);
    fdt_setprop(blob.data(), cpu, "enable-method", enable_method.data(),
                static_cast<int>(enable_method.size()) + 1);
  }
  return blob;
}

ExitCode CodeOf(const Result<report::Plan>& plan) {
  return plan ? ExitCode::kOk : plan.error().code;
}

TEST(SpinTableTest, IsRefusedWhereTheKernelHasMoreThanOneCpu) {
  TestMachine machine;
  machine.system.SetFile("/sys/firmware/fdt", TreeWithCpus("spin-table"));
  const auto before = machine.Look();
  // Offline CPUs count: they wait in the kernel's memory, and do not come back.
  for (const char* possible : {"0-1\n", "0-3\n", ""}) {
    machine.system.SetFile("/sys/devices/system/cpu/possible", possible);
    EXPECT_EQ(CodeOf(Load(machine.system, machine.Options(), NoProgress)), ExitCode::kCpusStuck);
    EXPECT_EQ(machine.Look(), before);
    machine.system.NewProcess();
  }
  machine.system.SetFile("/sys/devices/system/cpu/possible", "0\n");
  EXPECT_EQ(CodeOf(Load(machine.system, machine.Options(), NoProgress)), ExitCode::kOk);
}

TEST(SpinTableTest, OfTheRunningMachineCountsWhateverTreeIsGiven) {
  TestMachine machine;
  machine.system.SetFile("/sys/devices/system/cpu/possible", "0-1\n");
  machine.system.SetFile("/boot/dtb", TreeWithCpus("psci"));
  LoadOptions options = machine.Options();
  options.dtb = "/boot/dtb";
  EXPECT_EQ(CodeOf(Load(machine.system, options, NoProgress)), ExitCode::kOk);
  machine.system.NewProcess();
  machine.system.SetFile("/sys/firmware/fdt", TreeWithCpus("spin-table"));
  EXPECT_EQ(CodeOf(Load(machine.system, options, NoProgress)), ExitCode::kCpusStuck);
}

TEST(LoadLimitTest, AUsedUpLimitStopsLoadAndUnloadButNotExec) {
  TestMachine machine;
  ASSERT_TRUE(Load(machine.system, machine.Options(), NoProgress));
  const int loads = machine.system.kexec_loads;
  EXPECT_EQ(loads, 1) << "a load must cost one of the limit";
  machine.system.SetFile(kLimit, "0\n");
  const auto before = machine.Look();
  machine.system.NewProcess();
  EXPECT_EQ(CodeOf(Load(machine.system, machine.Options(), NoProgress)), ExitCode::kLoadLimit);
  machine.system.NewProcess();
  EXPECT_EQ(Unload(machine.system).error().code, ExitCode::kLoadLimit);
  EXPECT_EQ(machine.Look(), before);
  EXPECT_EQ(machine.system.kexec_loads, loads);
  machine.system.NewProcess();
  EXPECT_TRUE(report::Ready(*GetStatus(machine.system)));
  machine.system.NewProcess();
  EXPECT_TRUE(Exec(machine.system, ExecMode::kNow, NoProgress));
  EXPECT_EQ(machine.system.reboots, 1);
}

// Pages have moved, and what would put it right is a load that the kernel will refuse.
TEST(LoadLimitTest, WhatNeedsAnotherLoadIsRefusedAndKept) {
  struct Case {
    const char* file;
    const char* text;
    ExitCode code;
    const char* says;
  };
  for (const Case& c :
       {Case{kLimit, "0\n", ExitCode::kLoadLimit, "kexec_load_limit_reboot is used up"},
        Case{"/proc/sys/kernel/kexec_load_disabled", "1\n", ExitCode::kKexecDisabled,
             "kexec_load_disabled is 1"}}) {
    GatherMachine machine(1, 500);
    ASSERT_TRUE(machine.Load(machine.Options()));
    machine.system.NewProcess();
    const uint64_t from = machine.system.Held(kTestPage).front();
    const uint64_t to = machine.system.base_pages.front();
    machine.system.base_pages.front() = from;
    machine.system.Migrate(from, to);
    machine.system.SetFile(c.file, c.text);
    const auto before = machine.Look();
    const auto image = machine.system.loaded->bytes;
    const std::string state = machine.system.files().at("/run/khop/state.json").text;
    const auto status = GetStatus(machine.system);
    ASSERT_TRUE(status);
    EXPECT_FALSE(report::Ready(*status));
    EXPECT_THAT(testing::PrintToString(status->checks.front().detail),
                HasSubstr(std::string("1 of ")));
    EXPECT_THAT(status->checks.front().detail, HasSubstr(c.says));
    machine.system.NewProcess();
    const auto done = Exec(machine.system, ExecMode::kNow, NoProgress);
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().code, c.code);
    EXPECT_THAT(done.error().message, HasSubstr(c.says));
    EXPECT_THAT(done.error().message, HasSubstr("1 pages have moved"));
    EXPECT_EQ(machine.system.reboots, 0);
    EXPECT_EQ(machine.system.kexec_loads, 1);
    EXPECT_EQ(machine.Look(), before);
    EXPECT_EQ(machine.system.loaded->bytes, image);
    EXPECT_EQ(machine.system.files().at("/run/khop/state.json").text, state);
    // What is loaded becomes good again with the page, or with the limit.
    machine.system.NewProcess();
    machine.system.Migrate(to, from);
    EXPECT_TRUE(Exec(machine.system, ExecMode::kNow, NoProgress));
  }
}

// Exec begins by loading what is loaded once more, but not when the new plan needs the last load.
TEST(LoadLimitTest, TheLastLoadIsTheNewPlans) {
  GatherMachine machine(1, 500);
  ASSERT_TRUE(machine.Load(machine.Options()));
  machine.system.NewProcess();
  const uint64_t from = machine.system.Held(kTestPage).front();
  const uint64_t to = machine.system.base_pages.front();
  machine.system.base_pages.front() = from;
  machine.system.Migrate(from, to);
  machine.system.SetFile(kLimit, "1\n");
  machine.system.meanwhile = [&](std::string_view call) {
    if (call == "KexecLoad") machine.system.SetFile(kLimit, "0\n");
  };
  const auto done = Exec(machine.system, ExecMode::kNow, NoProgress);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_EQ(machine.system.kexec_loads, 2);
  EXPECT_EQ(machine.system.reboots, 1);
}

// The payload lies in memory that root can write, which is what lockdown is to keep from running.
TEST(LockdownTest, SinceTheLoadStopsExec) {
  TestMachine machine;
  ASSERT_TRUE(Load(machine.system, machine.Options(), NoProgress));
  machine.system.SetFile(kLockdown, "none [integrity] confidentiality\n");
  const auto before = machine.Look();
  machine.system.NewProcess();
  EXPECT_FALSE(report::Ready(*GetStatus(machine.system)));
  machine.system.NewProcess();
  const auto done = Exec(machine.system, ExecMode::kNow, NoProgress);
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ExitCode::kLockdown);
  EXPECT_EQ(machine.system.reboots, 0);
  machine.system.NewProcess();
  EXPECT_EQ(Unload(machine.system).error().code, ExitCode::kLockdown);
  EXPECT_EQ(machine.Look(), before);
}

}  // namespace
}  // namespace khop::load
