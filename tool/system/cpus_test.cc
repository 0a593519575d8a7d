// SPDX-License-Identifier: MIT
#include "tool/system/cpus.h"

#include <gtest/gtest.h>

#include "tool/system/fake_system.h"

namespace khop::system {
namespace {

class Cpus : public testing::Test {
 protected:
  // CPUs 0 to 3, of which 2 is offline.
  Cpus() {
    system_.SetFile("/sys/devices/system/cpu/online", "0-1,3\n");
    for (const int cpu : {0, 1, 3}) system_.SetFile(File(cpu), "1\n");
    system_.SetFile(File(2), "0\n");
  }
  static std::string File(int cpu) {
    return "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/online";
  }
  std::string Online() {
    std::string online;
    for (int cpu = 0; cpu < 4; ++cpu) online += system_.Find(File(cpu))->text[0];
    return online;
  }
  static void NoProgress(std::string_view) {}

  FakeSystem system_;
};

TEST_F(Cpus, Online) {
  EXPECT_EQ(OnlineCpus(system_), (std::set<uint32_t>{0, 1, 3}));
  system_.SetFile("/sys/devices/system/cpu/online", "x\n");
  EXPECT_EQ(OnlineCpus(system_), std::set<uint32_t>{0});
}

TEST_F(Cpus, ParksAllButTheOneThatJumpsAndPutsThemBack) {
  std::vector<std::string> said;
  {
    const auto parked =
        ParkedCpus::Park(system_, [&](std::string_view text) { said.emplace_back(text); });
    ASSERT_TRUE(parked);
    EXPECT_EQ(parked->count(), 2U);
    EXPECT_EQ(Online(), "1000");
  }
  EXPECT_EQ(Online(), "1101");
  EXPECT_EQ(said, (std::vector<std::string>{"taking CPU 3 offline", "taking CPU 1 offline"}));
}

TEST_F(Cpus, KeepsTheCpuThatTheKernelRebootsOn) {
  system_.SetFile("/sys/kernel/reboot/cpu", "3\n");
  const auto parked = ParkedCpus::Park(system_, NoProgress);
  ASSERT_TRUE(parked);
  EXPECT_EQ(Online(), "0001");
}

TEST_F(Cpus, PutsBackWhatWasParkedWhenOneStays) {
  system_.Remove(File(1));
  const auto parked = ParkedCpus::Park(system_, NoProgress);
  ASSERT_FALSE(parked);
  EXPECT_EQ(parked.error().code, ExitCode::kSystemCall);
  EXPECT_NE(parked.error().message.find("CPU 1"), std::string::npos);
  EXPECT_EQ(system_.Find(File(3))->text, "1\n");
}

}  // namespace
}  // namespace khop::system
