// SPDX-License-Identifier: MIT
// What an installed khop does without anybody typing it: loads as khop.conf says, and the last
// check.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "tool/cli/cli_machine.h"
#include "tool/cli/command.h"
#include "tool/config/config.h"

namespace khop::cli {
namespace {

using testing::HasSubstr;

class InstallTest : public CliMachine {
 protected:
  void Configure(const std::string& text) { machine_.system.SetFile(config::kPath, text); }
  std::string CommandLine() {
    const auto plan = load::LoadedPlan(machine_.system);
    machine_.system.NewProcess();
    return plan ? plan->command_line : plan.error().message;
  }
};

TEST_F(InstallTest, LoadsAsConfigured) {
  const load::LoadOptions usual = machine_.Options();
  Configure("kernel = " + usual.kernel + "\ncmdline = from khop.conf\nappend = more\n");
  const Outcome loaded = Khop({"load", "--configured"});
  EXPECT_EQ(loaded.code, 0) << loaded.err;
  EXPECT_EQ(CommandLine(), "from khop.conf more");
  // Nothing about the command line: the running kernel's.
  machine_.system.SetFile("/proc/cmdline", "BOOT_IMAGE=/vmlinuz root=here\n");
  Configure("kernel = " + usual.kernel + "\n");
  EXPECT_EQ(Khop({"load", "--configured"}).code, 0);
  EXPECT_EQ(CommandLine(), "root=here");
}

TEST_F(InstallTest, PreloadsOnlyWhereItIsWanted) {
  const load::LoadOptions usual = machine_.Options();
  const std::vector<std::string> preload = {"load", "--preload", usual.kernel};
  Outcome done = Khop(preload);
  EXPECT_EQ(done.code, 0);
  EXPECT_THAT(done.out, HasSubstr("does not say preload = yes"));
  EXPECT_FALSE(machine_.system.loaded);
  // What is configured for the boot is not taken for the new kernel's.
  Configure("preload = yes\nkernel = /boot/other\ninitrd = /boot/other\ncmdline = x\n");
  done = Khop(preload);
  EXPECT_EQ(done.code, 0) << done.err;
  EXPECT_TRUE(machine_.system.loaded);
  EXPECT_EQ(CommandLine(), "x");
}

TEST_F(InstallTest, AHalfEditedConfigurationIsNeverHalfFollowed) {
  Configure("preload = yes\nkernle = /boot/Image\n");
  for (const auto& arguments : std::vector<std::vector<std::string>>{
           {"load", "--configured"}, {"load", "--preload", machine_.Options().kernel}, {"exec"}}) {
    const Outcome refused = Khop(arguments);
    EXPECT_EQ(refused.code, 100) << arguments.back();
    EXPECT_THAT(refused.err, HasSubstr("/etc/khop.conf line 2: there is no key \"kernle\""));
  }
  EXPECT_FALSE(machine_.system.loaded);
  // It is about what nobody types: the rest goes on.
  EXPECT_EQ(Khop({"load", machine_.Options().kernel}).code, 0);
  const Outcome last = Khop({"last-check"});
  EXPECT_EQ(last.code, 0);
  EXPECT_THAT(last.err, HasSubstr("going by the defaults"));
  EXPECT_THAT(last.out, HasSubstr("intact, and starts now"));
}

TEST_F(InstallTest, WhatDoesNotGoTogether) {
  for (const auto& arguments :
       std::vector<std::vector<std::string>>{{"load", "--configured", "K"},
                                             {"load", "--configured", "--initrd", "i"},
                                             {"load", "--configured", "--preload"},
                                             {"load", "--configured", "--route", "gather"},
                                             {"load", "--preload"},
                                             {"load", "--preload", "K", "--cmdline", "x"},
                                             {"exec", "--watchdog", "0"},
                                             {"exec", "--watchdog", "3601"},
                                             {"exec", "--watchdog", "soon"}}) {
    EXPECT_EQ(Khop(arguments).code, static_cast<int>(ExitCode::kUsage)) << arguments.back();
  }
  const auto parsed = Parse({"exec", "--park-cpus", "--watchdog", "60"});
  ASSERT_TRUE(parsed);
  EXPECT_EQ(std::get<Command>(*parsed).watchdog, 60U);
}

// Whatever khop.conf has, the parser of the command line understands what is made of it.
TEST_F(InstallTest, EveryKeyBecomesAnOption) {
  Configure(
      "kernel = /boot/missing\ninitrd = /a\ncmdline =\nappend = -x\ndtb = /t\nroute = gather\n"
      "mmu = off\nverify = none\n");
  const Outcome done = Khop({"load", "--configured"});
  EXPECT_EQ(done.code, static_cast<int>(ExitCode::kFileMissing)) << done.err;
}

}  // namespace
}  // namespace khop::cli
