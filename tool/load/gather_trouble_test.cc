// SPDX-License-Identifier: MIT
// The gather route when every call fails in turn, and when khop dies at every call.
#include <gtest/gtest.h>

#include <cerrno>
#include <random>

#include "tool/load/load.h"
#include "tool/load/replay_hop.h"
#include "tool/load/test_machine.h"

namespace khop::load {
namespace {

constexpr uint64_t kPage = 4096;

// As small as it can be: each case is a whole load, and there are hundreds.
struct SmallMachine : TestMachine {
  SmallMachine() {
    static const std::string image = TestImage(20'000, 40'000);
    system.SetFile("/proc/iomem",
                   "40000000-407fffff : System RAM\n  40000000-401fffff : Kernel code\n");
    system.SetFile("/boot/Image", image);
    system.SetFile("/boot/initrd", std::string(10'000, 'i'));
    system.free_pages.clear();
    std::mt19937 random(5);
    for (uint64_t i = 0; i < 120; ++i) {
      system.base_pages.push_back(0x40200000 + (i * 7 + random() % 7) * kPage);
    }
    for (uint64_t i = 0; i < 3; ++i) {
      system.pools[64 << 10].free.push_back(0x40700000 + i * (128 << 10));
    }
  }
  LoadOptions Options() const {
    LoadOptions options = TestMachine::Options();
    options.initrds = {"/boot/initrd"};
    options.route = Route::kGather;
    options.digest = handoff::DigestKind::kCrc32c;
    return options;
  }
};

void ExpectLoaded(SmallMachine& machine, int call) {
  machine.system.NewProcess();
  const auto status = GetStatus(machine.system);
  ASSERT_TRUE(status) << call << ": " << status.error().message;
  EXPECT_TRUE(report::Ready(*status)) << call << "\n" << report::RenderText(*status);
  EXPECT_TRUE(HopReplay(machine.system).Verified()) << call;
}

TEST(GatherTroubleTest, KilledAnywhere) {
  for (const bool over_an_older_one : {false, true}) {
    int deaths = 0;
    for (int call = 0;; ++call) {
      SmallMachine machine;
      const auto clean = machine.Look();
      if (over_an_older_one) {
        ASSERT_TRUE(Load(machine.system, machine.Options(), NoProgress));
      }
      machine.system.NewProcess();
      machine.system.die_call = call;
      (void)Load(machine.system, machine.Options(), NoProgress);
      if (!machine.system.dead()) break;
      ++deaths;
      machine.system.NewProcess();
      EXPECT_TRUE(!over_an_older_one || machine.system.loaded) << call;
      // Every other time the next khop clears up without loading first.
      if (call % 2 == 0) {
        const auto plan = Load(machine.system, machine.Options(), NoProgress);
        ASSERT_TRUE(plan) << call << ": " << plan.error().message;
        ExpectLoaded(machine, call);
        machine.system.NewProcess();
      }
      ASSERT_TRUE(Unload(machine.system)) << call;
      EXPECT_EQ(machine.Look(), clean) << call;
    }
    EXPECT_GT(deaths, 50);
  }
}

TEST(GatherTroubleTest, EachCallFailsOnce) {
  for (const int error : {EIO, ENOMEM}) {
    // Every call; of those that differ by the error, each kind comes often enough with every other.
    for (int call = 0;; call += error == EIO ? 1 : 2) {
      SmallMachine machine;
      const auto clean = machine.Look();
      ASSERT_TRUE(Load(machine.system, machine.Options(), NoProgress));
      machine.system.NewProcess();
      machine.system.fail_call = call;
      machine.system.fail_error = error;
      const auto plan = Load(machine.system, machine.Options(), NoProgress);
      if (machine.system.calls <= call) break;
      // Either one is loaded and whole.
      machine.system.NewProcess();
      const auto done = Exec(machine.system, ExecMode::kNow, NoProgress);
      ASSERT_TRUE(done) << "call " << call << ": " << done.error().message << " after "
                        << (plan ? "a load" : plan.error().message);
      EXPECT_TRUE(HopReplay(machine.system).Verified()) << call;
      EXPECT_EQ(machine.system.loose_pages, 0) << call;
      machine.system.NewProcess();
      ASSERT_TRUE(Unload(machine.system)) << call;
      EXPECT_EQ(machine.Look(), clean) << call << (plan ? "" : plan.error().message);
    }
  }
}

// Pages moved, and khop dies while it plans anew: nothing that is jumped to is wrong, and a load
// puts everything right.
TEST(GatherTroubleTest, KilledAnywhereWhilePlanningAnew) {
  int deaths = 0;
  for (int call = 0;; ++call) {
    SmallMachine machine;
    const auto clean = machine.Look();
    ASSERT_TRUE(Load(machine.system, machine.Options(), NoProgress));
    machine.system.NewProcess();
    const auto held = machine.system.Held(kPage);
    for (size_t i = 0; i < 6; ++i) {
      const uint64_t to = machine.system.base_pages.back();
      machine.system.base_pages.pop_back();
      machine.system.Migrate(held[i * 2], to);
      machine.system.base_pages.push_back(held[i * 2]);
    }
    machine.system.die_call = call;
    (void)Exec(machine.system, ExecMode::kNow, NoProgress);
    const bool died = machine.system.dead();
    machine.system.NewProcess();
    if (machine.system.reboots == 1) break;
    ASSERT_TRUE(died) << call;
    ++deaths;
    const auto done = Exec(machine.system, ExecMode::kNow, NoProgress);
    if (done) {
      EXPECT_TRUE(HopReplay(machine.system).Verified()) << call;
    } else {
      EXPECT_EQ(done.error().code, ExitCode::kArenaGone) << call << done.error().message;
    }
    machine.system.NewProcess();
    ASSERT_TRUE(Unload(machine.system)) << call;
    EXPECT_EQ(machine.Look(), clean) << call;
  }
  EXPECT_GT(deaths, 30);
}

}  // namespace
}  // namespace khop::load
