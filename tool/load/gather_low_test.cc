// SPDX-License-Identifier: MIT
// When the gather route goes to the lowest memory.
#include <gtest/gtest.h>

#include <string>
#include <string_view>

#include "tool/load/gather_machine.h"

namespace khop::load {
namespace {

// The kernel would fit into the lowest memory, but not the initrd; what else there is is in one
// window with it (booting.rst), or further away.
TEST(GatherTest, TheLowestMemoryIsForAllPartsOrNone) {
  for (const uint64_t far : {uint64_t{9} << 30, uint64_t{64} << 30}) {
    GatherMachine machine;
    constexpr uint64_t kReserved = uint64_t{1} << 32;
    machine.system.SetFile("/proc/iomem",
                           "40000000-41ffffff : System RAM\n  40000000-403fffff : Kernel code\n" +
                               Hex(far).substr(2) + "-" + Hex(far + 0x1ffffff).substr(2) +
                               " : System RAM\n");
    for (uint64_t page = 0x40000000; page < 0x42000000; page += kTestPage) {
      if (page < 0x41000000 || page >= 0x41070000) machine.system.page_flags[page] = kReserved;
    }
    machine.system.base_pages.clear();
    for (uint64_t i = 0; i < 512; ++i) {
      machine.system.base_pages.push_back(far + 16 * i * kTestPage);
    }
    const auto plan = machine.Load(machine.Options());
    ASSERT_TRUE(plan) << plan.error().message;
    EXPECT_GE(plan->entry, far);
    EXPECT_GE(FindSegment(*plan, "initrd").start, far);
    ExpectHop(machine, *plan);
  }
}

// What goes to the lowest memory has pages from elsewhere and leaves the next kernel most of it.
TEST(GatherTest, WhatGoesToTheLowestMemory) {
  const struct {
    std::string_view low;  // plain memory below 4 GiB, in iomem's words
    uint64_t below;        // of 32 pages that can be had, how many lie there
    uint64_t apart;        // pages from one to the next
    bool goes;
  } cases[] = {
      {"40000000-41ffffff", 0, 12, true},
      {"40000000-41ffffff", 3, 12, true},
      {"40000000-41ffffff", 5, 12, false},
      // A sixth is in place where they are.
      {"40000000-41ffffff", 0, 6, false},
      // 544 KiB are less than a quarter of 3 MiB, and more than one of 1.75 MiB.
      {"41000000-412fffff", 0, 12, true},
      {"41000000-411bffff", 0, 12, false},
      // A first stretch that nothing fits into.
      {"10000000-1000ffff : System RAM\n40000000-41ffffff", 0, 12, true},
  };
  for (const auto& [low, below, apart, goes] : cases) {
    SCOPED_TRACE(std::string(low) + ", " + std::to_string(below) + " of 32 pages, by " +
                 std::to_string(apart));
    GatherMachine machine;
    machine.system.SetFile(
        "/proc/iomem", std::string(low) + " : System RAM\n" + "240000000-241ffffff : System RAM\n");
    machine.system.base_pages.clear();
    for (uint64_t i = 0; i < 640; ++i) {
      const uint64_t start = i % 32 < below ? 0x41000000 : 0x240000000;
      machine.system.base_pages.push_back(start + apart * i * kTestPage);
    }
    const auto plan = machine.Load(machine.Options());
    ASSERT_TRUE(plan) << plan.error().message;
    EXPECT_EQ(plan->entry < 0x100000000, goes);
    ExpectHop(machine, *plan);
  }
}

// The first page is nobody's place: address 0 is nothing in the hand-off.
TEST(GatherTest, MemoryMayBeginAtZero) {
  GatherMachine machine(1, 1500);
  machine.system.SetFile("/proc/iomem",
                         "00000000-01ffffff : System RAM\n240000000-247ffffff : System RAM\n");
  for (uint64_t& page : machine.system.base_pages) page = 0x240000000 + (page - 0x40000000) * 4;
  machine.system.SetFile("/boot/initrd", std::string(2'200'000, 'z'));
  const auto plan = machine.Load(machine.Options());
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(FindSegment(*plan, "initrd").start, 0x200000U);
  ExpectHop(machine, *plan);
  machine.system.NewProcess();
  // The kernel has to go elsewhere, and the initrd stays.
  machine.system.page_flags[plan->entry + 8 * kTestPage] = kSlab;
  const auto done = Exec(machine.system, ExecMode::kNow, NoProgress);
  ASSERT_TRUE(done) << done.error().message;
  machine.system.NewProcess();
  const auto again = LoadedPlan(machine.system);
  ASSERT_TRUE(again);
  EXPECT_EQ(FindSegment(*again, "initrd").start, 0x200000U);
  EXPECT_LT(again->entry, 0x2000000U);  // there is room beside it
  ExpectHop(machine, *again);
}

// A sixth is in place far above. Then the kernel takes a page of what `taken` is to go to.
struct GoesLow {
  std::string_view taken;
  size_t initrd;  // bytes
  bool kernel_goes;
  bool initrd_goes;
};
class GatherExecLow : public testing::TestWithParam<GoesLow> {};

TEST_P(GatherExecLow, AnInitrdThatHasToMove) {
  const auto& [taken, initrd, kernel_goes, initrd_goes] = GetParam();
  GatherMachine machine;
  constexpr uint64_t kHigh = 0x240000000;
  machine.system.SetFile("/proc/iomem",
                         "40000000-41ffffff : System RAM\n240000000-247ffffff : System RAM\n");
  machine.system.SetFile("/boot/initrd", std::string(initrd, 'z'));
  machine.system.base_pages.clear();
  for (uint64_t i = 0; i < 4000; ++i) {
    machine.system.base_pages.push_back(kHigh + 6 * i * kTestPage);
  }
  const auto plan = machine.Load(machine.Options());
  ASSERT_TRUE(plan) << plan.error().message;
  ASSERT_GE(plan->entry, kHigh);
  ASSERT_GE(FindSegment(*plan, "initrd").start, kHigh);
  machine.system.NewProcess();
  machine.system.page_flags[UnownedPage(machine, FindSegment(*plan, taken))] = kSlab;
  const auto done = Exec(machine.system, ExecMode::kNow, NoProgress);
  ASSERT_TRUE(done) << done.error().message;
  machine.system.NewProcess();
  const auto again = LoadedPlan(machine.system);
  ASSERT_TRUE(again);
  EXPECT_EQ(again->entry < kHigh, kernel_goes);
  EXPECT_EQ(FindSegment(*again, "initrd").start < kHigh, initrd_goes);
  ExpectHop(machine, *again);
}

// To bring the kernel there, too, has to be worth it.
INSTANTIATE_TEST_SUITE_P(Gather, GatherExecLow,
                         testing::Values(GoesLow{"initrd", 2'200'000, true, true},
                                         GoesLow{"initrd", 1'500'000, false, false},
                                         GoesLow{"kernel", 2'200'000, false, false}));

}  // namespace
}  // namespace khop::load
