// SPDX-License-Identifier: MIT
#include "tool/system/watchdog.h"

#include <cerrno>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tool/system/fake_system.h"

namespace khop::system {
namespace {

using testing::HasSubstr;

constexpr const char* kStop = "/sys/module/watchdog/parameters/stop_on_reboot";
constexpr const char* kDevice = "/dev/watchdog0";

class WatchdogTest : public testing::Test {
 protected:
  void AddHardware() {
    system_.SetFile("/sys/class/watchdog/watchdog0/identity", "i6300ESB timer\n");
    system_.SetFile("/sys/class/watchdog/watchdog0/state", "inactive\n");
    system_.SetFile(kStop, "0\n");
    system_.SetFile(kDevice, "");
  }
  std::string Refusal(uint32_t seconds = 60) {
    const auto armed = ArmedWatchdog::Arm(system_, seconds);
    if (armed) return "it was armed";
    EXPECT_EQ(armed.error().code, ExitCode::kNoWatchdog);
    return armed.error().message;
  }

  FakeSystem system_;
};

TEST_F(WatchdogTest, ArmedAndStoodDown) {
  AddHardware();
  {
    const auto armed = ArmedWatchdog::Arm(system_, 60);
    ASSERT_TRUE(armed) << armed.error().message;
    EXPECT_EQ(system_.watchdog_timeout, 60U);
    EXPECT_EQ(system_.Find(kDevice)->text, "");
  }
  EXPECT_EQ(system_.Find(kDevice)->text, "V");
}

TEST_F(WatchdogTest, LeftRunning) {
  AddHardware();
  {
    auto armed = ArmedWatchdog::Arm(system_, 60);
    ASSERT_TRUE(armed);
    armed->Leave();
  }
  EXPECT_EQ(system_.Find(kDevice)->text, "");
}

TEST_F(WatchdogTest, RefusedWhereItWouldNotOutliveTheKernel) {
  EXPECT_THAT(Refusal(), HasSubstr("there is no hardware watchdog"));
  AddHardware();
  system_.SetFile(kStop, "-1\n");
  EXPECT_EQ(Refusal(),
            "i6300ESB timer: the kernel may stop it on reboot (watchdog.stop_on_reboot is not 0); "
            "boot with watchdog.stop_on_reboot=0 on the command line, or exec without --watchdog");
  system_.Remove(kStop);
  EXPECT_THAT(Refusal(), HasSubstr("may stop it on reboot"));
  system_.SetFile(kStop, "0\n");
  system_.watchdog_options = 0x8080;  // no WDIOF_MAGICCLOSE
  EXPECT_THAT(Refusal(), HasSubstr("stops it when the program that started it ends"));
  EXPECT_EQ(system_.Find(kDevice)->text, "V");
  system_.SetFile("/sys/class/watchdog/watchdog0/identity", "Software Watchdog\n");
  EXPECT_THAT(Refusal(), HasSubstr("softdog"));
}

TEST_F(WatchdogTest, TheSecondMayBeTheRightOne) {
  AddHardware();
  system_.SetFile("/sys/class/watchdog/watchdog0/identity", "Software Watchdog\n");
  system_.SetFile("/sys/class/watchdog/watchdog1/identity", "SBSA Generic Watchdog\n");
  const auto found = FindWatchdog(system_);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->device, "/dev/watchdog1");
  EXPECT_EQ(found->identity, "SBSA Generic Watchdog");
}

// Whatever fails, nothing is left running.
TEST_F(WatchdogTest, EveryCallFails) {
  AddHardware();
  for (int call = 0; call < 100; ++call) {
    system_.fail_call = system_.calls + call;
    system_.fail_error = EBUSY;
    const auto armed = ArmedWatchdog::Arm(system_, 60);
    system_.fail_call = -1;
    if (armed) {
      EXPECT_GT(call, 5);
      return;
    }
    EXPECT_EQ(armed.error().code, ExitCode::kNoWatchdog) << call;
  }
  FAIL() << "it is never armed";
}

}  // namespace
}  // namespace khop::system
