// SPDX-License-Identifier: MIT
#include "tool/system/numa.h"

#include <gtest/gtest.h>

#include "tool/system/fake_system.h"

namespace khop::system {
namespace {

TEST(BootNodeTest, IsThatOfTheCpuThatReboots) {
  FakeSystem system;
  EXPECT_FALSE(BootNode(system)) << "no NUMA";
  PreferBootNode(system);
  EXPECT_EQ(system.preferred_node, -1);
  system.SetNodes({{0, {{0x40000000}, 0x40000000}}, {1, {{0x80000000}, 0x40000000}}}, 1);
  EXPECT_EQ(BootNode(system), 1);
  system.SetFile("/sys/devices/system/cpu/cpu5/node0", "");
  system.SetFile("/sys/devices/system/cpu/cpu5/nodes", "");
  system.SetFile("/sys/kernel/reboot/cpu", "5\n");
  EXPECT_EQ(BootNode(system), 0);
  PreferBootNode(system);
  EXPECT_EQ(system.preferred_node, 0);
  system.SetFile("/sys/kernel/reboot/cpu", "6\n");
  EXPECT_FALSE(BootNode(system)) << "no such CPU";
}

TEST(BootNodeTest, OneNodeWithMemoryIsNoChoice) {
  FakeSystem system;
  system.SetFile("/sys/devices/system/node/has_memory", "0\n");
  system.SetFile("/sys/devices/system/cpu/cpu0/node0", "");
  EXPECT_FALSE(BootNode(system));
}

}  // namespace
}  // namespace khop::system
