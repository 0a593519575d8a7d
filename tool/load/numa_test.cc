// SPDX-License-Identifier: MIT
// On a machine with two nodes the payload lies on that of the boot CPU, as far as there is memory.
#include <gtest/gtest.h>

#include <algorithm>

#include "tool/load/gather_machine.h"
#include "tool/load/test_machine.h"

namespace khop::load {
namespace {

constexpr uint64_t kHuge = system::FakeSystem::kDefaultHuge;
constexpr PhysRange kLow = {{0x40000000}, 0x18000000};
constexpr PhysRange kHigh = {{0x58000000}, 0x28000000};

// Pages of the two nodes by turns, as the kernel hands them out; `high` on the upper one.
void SetFree(TestMachine& machine, uint64_t low, uint64_t high) {
  machine.system.free_pages.clear();
  for (uint64_t i = 0; i < std::max(low, high); ++i) {
    if (i < low) machine.system.free_pages.push_back(0x50000000 + i * kHuge);
    if (i < high) machine.system.free_pages.push_back(kHigh.start.value + i * kHuge);
  }
}

size_t HeldIn(TestMachine& machine, PhysRange range, uint64_t page = kHuge) {
  return static_cast<size_t>(std::ranges::count_if(
      machine.system.Held(page), [&](uint64_t at) { return range.Contains(PhysAddr{at}); }));
}

TEST(NumaTest, InPlaceIsOnTheBootNode) {
  for (const int boot_node : {0, 1}) {
    TestMachine machine;
    machine.system.SetNodes({{0, kLow}, {1, kHigh}}, boot_node);
    SetFree(machine, 32, 32);
    const auto before = machine.Look();
    ASSERT_TRUE(Load(machine.system, machine.Options(), NoProgress));
    EXPECT_GT(HeldIn(machine, boot_node == 0 ? kLow : kHigh), 0U);
    EXPECT_EQ(HeldIn(machine, boot_node == 0 ? kHigh : kLow), 0U);
    machine.system.NewProcess();
    ASSERT_TRUE(Unload(machine.system));
    EXPECT_EQ(machine.Look(), before);
  }
}

TEST(NumaTest, InPlaceTakesTheOtherNodeWhereTheBootNodeIsFull) {
  TestMachine machine;
  machine.system.SetNodes({{0, kLow}, {1, kHigh}}, 1);
  SetFree(machine, 32, 1);
  ASSERT_TRUE(Load(machine.system, machine.Options(), NoProgress));
  EXPECT_GT(HeldIn(machine, kLow), 0U);
}

TEST(NumaTest, GatherTakesBasePagesOfTheBootNode) {
  GatherMachine machine(1, 1200);
  std::vector<uint64_t>& pages = machine.system.base_pages;
  std::ranges::sort(pages);
  const uint64_t middle = pages[pages.size() / 2];
  const PhysRange low = {{0x40000000}, middle - 0x40000000};
  const PhysRange high = {{middle}, 0x80000000 - middle};
  for (const int boot_node : {0, 1}) {
    machine.system.SetNodes({{0, low}, {1, high}}, boot_node);
    ASSERT_TRUE(machine.Load(machine.Options()));
    const size_t held = machine.system.Held(kTestPage).size();
    EXPECT_EQ(HeldIn(machine, boot_node == 0 ? low : high, kTestPage), held);
    machine.system.NewProcess();
    ASSERT_TRUE(Unload(machine.system));
    machine.system.NewProcess();
  }
}

}  // namespace
}  // namespace khop::load
