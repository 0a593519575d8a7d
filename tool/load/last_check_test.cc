// SPDX-License-Identifier: MIT
// The end of a shutdown that somebody else finishes: `khop last-check`.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <memory>

#include "tool/load/small_machine.h"
#include "tool/load/state.h"

namespace khop::load {
namespace {

using testing::HasSubstr;

constexpr const char* kCpu1 = "/sys/devices/system/cpu/cpu1/online";

class LastCheckTest : public testing::TestWithParam<Route> {
 protected:
  LastCheckTest() : machine_(GetParam()) {
    machine_.system.SetFile("/sys/devices/system/cpu/online", "0-1\n");
    machine_.system.SetFile(kCpu1, "1\n");
    machine_.system.SetFile("/sys/class/watchdog/watchdog0/identity", "i6300ESB timer\n");
    machine_.system.SetFile("/sys/module/watchdog/parameters/stop_on_reboot", "0\n");
    machine_.system.SetFile("/dev/watchdog0", "");
    machine_.system.SetFile("/run/systemd/system", "");
    machine_.system.SetFile(kShutdownHook, "");
  }
  Result<LastCheckResult> Check(const Leaving& otherwise = {}) {
    machine_.system.NewProcess();
    auto done = LastCheck(machine_.system, NoProgress, otherwise);
    machine_.system.NewProcess();
    return done;
  }
  uint64_t Stamp() {
    const auto state = StateStore::Open(machine_.system)->Read();
    uint64_t stamp = 0;
    memcpy(&stamp, machine_.system.PhysicalBytes(state->current->stamp), sizeof(stamp));
    return stamp;
  }

  SmallMachine machine_;
};

TEST_P(LastCheckTest, WhatIsIntactStartsWithTheTimeNoted) {
  ASSERT_TRUE(machine_.LoadAnew());
  machine_.system.counter = 123456;
  EXPECT_EQ(Check(), LastCheckResult::kReady);
  EXPECT_EQ(machine_.system.reboots, 0);
  EXPECT_EQ(machine_.system.syncs, 0);
  EXPECT_EQ(Stamp(), 123456U);
  ExpectSoundHop(machine_, "after the last check");
  // And kexec -e after it finds nothing wrong.
  EXPECT_TRUE(machine_.ExecAnew());
}

TEST_P(LastCheckTest, NothingOfKhopsIsLeftAlone) {
  EXPECT_EQ(Check(), LastCheckResult::kNothing);
  EXPECT_FALSE(machine_.system.Lstat("/run/khop"));
  machine_.system.loaded = std::make_unique<system::FakeSystem::LoadedImage>();  // another tool's
  EXPECT_EQ(Check(), LastCheckResult::kNothing);
  EXPECT_TRUE(machine_.system.loaded);
}

TEST_P(LastCheckTest, OnDoubtItUnloads) {
  const auto plan = machine_.LoadAnew();
  ASSERT_TRUE(plan);
  if (GetParam() == Route::kInPlace) {
    *machine_.system.PhysicalBytes(plan->segments.front().start + 64) ^= std::byte{1};
  } else {
    machine_.system.RemoveSegment(SegmentKey(0, 0));
  }
  const auto done = Check();
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ExitCode::kArenaGone);
  EXPECT_FALSE(machine_.system.loaded);
  EXPECT_EQ(machine_.Look().segments, 0U);
}

TEST_P(LastCheckTest, ADamagedStateUnloadsToo) {
  ASSERT_TRUE(machine_.LoadAnew());
  machine_.system.SetFile(kStateFile, "{}");
  const auto done = Check();
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ExitCode::kBadState);
  EXPECT_FALSE(machine_.system.loaded);
}

TEST_P(LastCheckTest, AsExecWasAsked) {
  ASSERT_TRUE(machine_.LoadAnew());
  ASSERT_TRUE(
      Exec(machine_.system, ExecMode::kOrderly, NoProgress, {.park_cpus = true, .watchdog = 60}));
  EXPECT_EQ(machine_.system.Find(kCpu1)->text, "1\n");
  EXPECT_EQ(machine_.system.watchdog_timeout, 0U);
  EXPECT_EQ(Check(), LastCheckResult::kReady);
  EXPECT_EQ(machine_.system.Find(kCpu1)->text, "0\n");
  EXPECT_EQ(machine_.system.watchdog_timeout, 60U);
  EXPECT_EQ(machine_.system.Find("/dev/watchdog0")->text, "");  // not stood down
}

TEST_P(LastCheckTest, AsTheConfigurationSays) {
  ASSERT_TRUE(machine_.LoadAnew());
  EXPECT_EQ(Check({.park_cpus = true}), LastCheckResult::kReady);
  EXPECT_EQ(machine_.system.Find(kCpu1)->text, "0\n");
}

TEST_P(LastCheckTest, WithoutTheWatchdogThereIsNoHop) {
  ASSERT_TRUE(machine_.LoadAnew());
  machine_.system.SetFile("/sys/module/watchdog/parameters/stop_on_reboot", "-1\n");
  const auto done = Check({.park_cpus = true, .watchdog = 60});
  ASSERT_FALSE(done);
  EXPECT_EQ(done.error().code, ExitCode::kNoWatchdog);
  EXPECT_FALSE(machine_.system.loaded);
  EXPECT_EQ(machine_.system.Find(kCpu1)->text, "1\n");
}

TEST_P(LastCheckTest, WhatCannotBeDoneAtTheEndIsRefusedBeforeTheShutdown) {
  ASSERT_TRUE(machine_.LoadAnew());
  machine_.system.Remove(kShutdownHook);
  auto refused = Exec(machine_.system, ExecMode::kOrderly, NoProgress, {.park_cpus = true});
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("khop.shutdown, which is not there"));
  machine_.system.SetFile(kShutdownHook, "");
  machine_.system.Remove("/sys/class/watchdog/watchdog0/identity");
  machine_.system.NewProcess();
  refused = Exec(machine_.system, ExecMode::kOrderly, NoProgress, {.watchdog = 60});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ExitCode::kNoWatchdog);
  EXPECT_TRUE(machine_.system.runs.empty());
}

// A shutdown that did not begin leaves no wish behind.
TEST_P(LastCheckTest, AWishEndsWithItsExec) {
  ASSERT_TRUE(machine_.LoadAnew());
  machine_.system.run_status = 1;
  EXPECT_FALSE(Exec(machine_.system, ExecMode::kOrderly, NoProgress, {.park_cpus = true}));
  EXPECT_EQ(Check(), LastCheckResult::kReady);
  EXPECT_EQ(machine_.system.Find(kCpu1)->text, "1\n");
}

// An initrd may have keys in it: unload overwrites what it gives back, and so does the next load.
TEST_P(LastCheckTest, WhatIsGivenBackIsOverwritten) {
  ASSERT_TRUE(machine_.LoadAnew());
  machine_.system.NewProcess();
  const auto marked = [&] {
    uint64_t count = 0;
    for (const uint64_t unit : {machine_.system.PageSize(), uint64_t{2} << 20}) {
      for (const uint64_t page : machine_.system.Held(unit)) {
        const std::byte* const bytes = machine_.system.PhysicalBytes(page);
        count += static_cast<uint64_t>(
            std::count_if(bytes, bytes + unit, [](std::byte b) { return b != std::byte{0}; }));
      }
    }
    return count;
  };
  uint64_t at_removal = UINT64_MAX;
  machine_.system.meanwhile = [&](std::string_view call) {
    if (call == "ShmRemove" && at_removal == UINT64_MAX) at_removal = marked();
  };
  EXPECT_GT(marked(), 0U);
  EXPECT_TRUE(machine_.UnloadAnew());
  EXPECT_EQ(at_removal, 0U);
}

// Whatever call fails (of the many that read pages one in 211): either the kernel is ready, or it
// is unloaded, or khop says that it cannot be.
TEST_P(LastCheckTest, EveryCallFails) {
  for (int call = 0;; call += call < 20 ? 1 : 211) {
    SmallMachine machine(GetParam());
    ASSERT_TRUE(machine.LoadAnew());
    machine.system.NewProcess();
    machine.system.fail_call = machine.system.calls + call;
    const auto done = LastCheck(machine.system, NoProgress, {});
    const bool reached = machine.system.calls > machine.system.fail_call;
    machine.system.fail_call = -1;
    if (!reached) {
      EXPECT_EQ(done, LastCheckResult::kReady);
      return;
    }
    machine.system.NewProcess();
    if (done == LastCheckResult::kReady) {
      ExpectSoundHop(machine, "call " + std::to_string(call));
    } else if (!done) {
      EXPECT_FALSE(machine.system.loaded) << call << ": " << done.error().message;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Routes, LastCheckTest, testing::Values(Route::kInPlace, Route::kGather),
                         [](const auto& test) {
                           return test.param == Route::kInPlace ? "InPlace" : "Gather";
                         });

}  // namespace
}  // namespace khop::load
