// SPDX-License-Identifier: MIT
#include "tool/system/cpu_granules.h"

#include <gtest/gtest.h>

#include <string>

#include "tool/system/fake_system.h"

namespace khop::system {
namespace {

constexpr uint64_t kCortexA57 = 0x411fd070;
constexpr uint64_t kNeoverseN1 = 0x413fd0c1;

TEST(CpuGranules, OfCores) {
  EXPECT_TRUE(CoreHasGranule(kCortexA57, 4096));
  EXPECT_FALSE(CoreHasGranule(kCortexA57, 16384));
  EXPECT_TRUE(CoreHasGranule(kCortexA57, 65536));
  EXPECT_TRUE(CoreHasGranule(kNeoverseN1, 16384));
  EXPECT_FALSE(CoreHasGranule(kNeoverseN1, 8192));
  EXPECT_FALSE(CoreHasGranule(0x611f0221, 4096)) << "another implementer's";
}

TEST(CpuGranules, EveryCpuOnlineCounts) {
  FakeSystem system;
  const auto set = [&](int cpu, const std::string& midr) {
    system.SetFile(
        "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/regs/identification/midr_el1",
        midr);
  };
  EXPECT_FALSE(CpusHaveGranule(system, 4096)) << "nothing known";
  set(0, "0x00000000413fd0c1\n");
  EXPECT_TRUE(CpusHaveGranule(system, 16384));
  set(1, "0x00000000411fd070\n");
  EXPECT_FALSE(CpusHaveGranule(system, 16384));
  EXPECT_TRUE(CpusHaveGranule(system, 4096));
  set(1, "nonsense\n");
  system.SetFile("/sys/devices/system/cpu/cpu1", "");
  system.SetFile("/sys/devices/system/cpu/cpu1/regs", "");
  EXPECT_FALSE(CpusHaveGranule(system, 4096));
}

}  // namespace
}  // namespace khop::system
