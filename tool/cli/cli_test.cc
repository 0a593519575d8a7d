// SPDX-License-Identifier: MIT
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <new>
#include <set>
#include <sstream>

#include "tool/cli/cli_machine.h"
#include "tool/cli/command.h"

namespace khop::cli {
namespace {

class CliTest : public CliMachine {};

Command ParseOne(const std::vector<std::string>& arguments) {
  const auto parsed = Parse(arguments);
  EXPECT_TRUE(parsed) << parsed.error().message;
  return std::get<Command>(*parsed);
}

TEST(ParseTest, Load) {
  const Command command =
      ParseOne({"load",        "--initrd",  "a",        "K",     "--initrd=b", "--cmdline",
                "x y=\"1 2\"", "--append",  "-z",       "--dtb", "d",          "--dtbo",
                "o1",          "--dtbo=o2", "--config", "c",     "--verify",   "crc32c",
                "--route",     "in-place",  "--mmu",    "off",   "-v",         "--json"});
  EXPECT_EQ(command.verb, Verb::kLoad);
  EXPECT_EQ(command.load.kernel, "K");
  EXPECT_EQ(command.load.initrds, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(command.load.command_line, "x y=\"1 2\"");
  EXPECT_EQ(command.load.append, "-z");
  EXPECT_EQ(command.load.dtb, "d");
  EXPECT_EQ(command.load.dtbos, (std::vector<std::string>{"o1", "o2"}));
  EXPECT_EQ(command.load.configuration, "c");
  EXPECT_EQ(ParseOne({"load", "--entry", "default"}).load.entry, "default");
  EXPECT_EQ(ParseOne({"inspect", "f"}).file, "f");
  EXPECT_EQ(command.load.digest, handoff::DigestKind::kCrc32c);
  EXPECT_EQ(command.load.route, load::Route::kInPlace);
  EXPECT_EQ(command.load.mmu, load::MmuMode::kOff);
  EXPECT_EQ(ParseOne({"load", "K"}).load.mmu, load::MmuMode::kAuto);
  EXPECT_EQ(ParseOne({"load", "K", "--mmu", "on"}).load.mmu, load::MmuMode::kOn);
  EXPECT_EQ(ParseOne({"plan", "K", "--route", "gather"}).load.route, load::Route::kGather);
  EXPECT_TRUE(command.verbose);
  EXPECT_TRUE(command.json);
}

TEST(ParseTest, CrashKernelsAndBounds) {
  EXPECT_TRUE(ParseOne({"load", "--crash", "K"}).crash);
  EXPECT_TRUE(ParseOne({"unload", "--crash"}).crash);
  EXPECT_FALSE(ParseOne({"unload"}).crash);
  const auto command =
      ParseOne({"load", "K", "--route", "reserved", "--crash-kernel", "C", "--crash-initrd", "i",
                "--crash-cmdline", "a b", "--mem-min", "0x40000000", "--mem-max", "2G"});
  EXPECT_EQ(command.load.route, load::Route::kReserved);
  EXPECT_EQ(command.load.mem_min, 0x40000000U);
  EXPECT_EQ(command.load.mem_max, uint64_t{2} << 30);
  ASSERT_TRUE(command.load.crash_kernel);
  EXPECT_EQ(command.load.crash_kernel->kernel, "C");
  EXPECT_EQ(command.load.crash_kernel->initrds, (std::vector<std::string>{"i"}));
  EXPECT_EQ(command.load.crash_kernel->command_line, "a b");
  for (const std::vector<std::string>& wrong :
       {std::vector<std::string>{"load", "K", "--crash-kernel", "C"},
        {"load", "K", "--crash-initrd", "i"},
        {"load", "K", "--crash", "--route", "gather"},
        {"load", "K", "--mem-min", "12X"},
        {"load", "K", "--mem-max", "-1"},
        {"load", "K", "--mem-max", "99999999999G"}}) {
    const auto parsed = Parse(wrong);
    ASSERT_FALSE(parsed) << wrong.back();
    EXPECT_EQ(parsed.error().code, ExitCode::kUsage);
  }
}

TEST(ParseTest, EmptyAndAbsentCommandLinesDiffer) {
  EXPECT_EQ(ParseOne({"load", "K", "--cmdline", ""}).load.command_line, "");
  EXPECT_FALSE(ParseOne({"load", "K"}).load.command_line.has_value());
  // Absent, that of the image counts.
  const std::vector<std::string> both = {"load", "K", "--route", "reserved", "--crash-kernel", "C"};
  EXPECT_FALSE(ParseOne(both).load.crash_kernel->command_line.has_value());
  auto with_line = both;
  with_line.insert(with_line.end(), {"--crash-cmdline", ""});
  EXPECT_EQ(ParseOne(with_line).load.crash_kernel->command_line, "");
}

// An option takes one value: the kernel may follow any of them.
TEST(ParseTest, TheKernelMayComeLast) {
  for (const char* const option : {"--cmdline", "--append", "--dtb", "--dtbo", "--initrd"}) {
    const Command command = ParseOne({"load", option, "x", "K"});
    EXPECT_EQ(command.load.kernel, "K") << option;
  }
}

TEST(ParseTest, UsageErrors) {
  const std::vector<std::vector<std::string>> cases = {
      {"load", "K", "L"},
      {"load", "K", "--entry", "default"},
      {"inspect"},
      {"load", "K", "--initrd"},
      {"load", "K", "--verify", "md5"},
      {"load", "K", "--route", "magic"},
      {"load", "K", "--mmu", "perhaps"},
      {"load", "K", "--mmu"},
      {"load", "K", "--cmdline", "x", "--reuse-cmdline"},
      {"load", "K", "--unknown"},
      {"exec", "--later"},
      {"exec", "--now=0"},
      {"status", "--json=3"},
      {"status", "x"},
      {"dance"},
      {"load", "exec" /* a kernel named exec */, "status"},
  };
  for (const auto& arguments : cases) {
    const auto parsed = Parse(arguments);
    ASSERT_FALSE(parsed) << arguments.back();
    EXPECT_EQ(parsed.error().code, ExitCode::kUsage);
  }
}

TEST_F(CliTest, HelpAndVersion) {
  EXPECT_EQ(Khop({"--version"}).out, "khop " KHOP_VERSION "\n");
  const Outcome help = Khop({"help"});
  EXPECT_EQ(help.code, 0);
  for (const char* const verb :
       {"load", "exec", "unload", "status", "plan", "report", "doctor", "capture"}) {
    EXPECT_NE(help.out.find(verb), std::string::npos) << verb;
    EXPECT_EQ(Khop({"help", verb}).code, 0);
    EXPECT_EQ(Khop({verb, "--help"}).code, 0);
  }
  EXPECT_NE(Khop({"help", "load"}).out.find("--initrd"), std::string::npos);
  EXPECT_NE(Khop({"help", "exit-codes"}).out.find("not-a-kernel"), std::string::npos);
  EXPECT_EQ(Khop({"help", "dance"}).code, static_cast<int>(ExitCode::kUsage));
}

TEST_F(CliTest, FailuresAreOneLineOnStderrAndTheCode) {
  const Outcome failed = Khop({"load", "/none\n"});
  EXPECT_EQ(failed.code, static_cast<int>(ExitCode::kFileMissing));
  EXPECT_EQ(failed.out, "");
  EXPECT_TRUE(failed.err.starts_with("khop: "));
  EXPECT_EQ(failed.err.find('\n'), failed.err.size() - 1);
  // Named, though by nothing: no reason to look for a kernel.
  EXPECT_EQ(Khop({"load", ""}).code, static_cast<int>(ExitCode::kFileMissing));
}

TEST_F(CliTest, RefusesElsewhere) {
  machine_.system.machine = "x86_64";
  for (const std::vector<std::string>& arguments :
       std::vector<std::vector<std::string>>{{"load", "/boot/Image"},
                                             {"exec"},
                                             {"unload"},
                                             {"status"},
                                             {"plan"},
                                             {"capture", "/tmp/c"}}) {
    EXPECT_EQ(Khop(arguments).code, static_cast<int>(ExitCode::kNotArm64));
  }
}

TEST_F(CliTest, AWholeLife) {
  EXPECT_EQ(Khop({"plan"}).code, static_cast<int>(ExitCode::kNothingLoaded));
  const Outcome dry = Khop({"plan", "/boot/Image", "--json"});
  EXPECT_EQ(dry.code, 0) << dry.err;
  EXPECT_EQ(machine_.system.kexec_loads, 0);
  EXPECT_EQ(machine_.system.segment_count(), 0U);
  const Outcome load = Khop({"load", "/boot/Image", "--initrd", "/boot/initrd", "-v"});
  EXPECT_EQ(load.code, 0) << load.err;
  EXPECT_NE(load.out.find("in-place"), std::string::npos);
  EXPECT_NE(load.err.find("reading the kernel"), std::string::npos);
  // The same, and what a plan has beyond it.
  EXPECT_THAT(Khop({"plan"}).out,
              testing::StartsWith(load.out.substr(0, load.out.find("\n\nDevice"))));
  EXPECT_NE(Khop({"status", "--json"}).out.find("\"ready\": true"), std::string::npos);
  EXPECT_EQ(Khop({"exec", "--now"}).code, 0);
  EXPECT_EQ(machine_.system.reboots, 1);
  EXPECT_EQ(Khop({"unload"}).out, "Unloaded.\n");
  EXPECT_EQ(Khop({"exec", "--now"}).code, static_cast<int>(ExitCode::kNothingLoaded));
  EXPECT_EQ(machine_.system.segment_count(), 0U);
}

TEST_F(CliTest, ReportWithoutAHop) {
  EXPECT_EQ(Khop({"report"}).code, static_cast<int>(ExitCode::kNothingLoaded));
}

TEST_F(CliTest, NoMemoryIsSaidInOneLine) {
  machine_.system.meanwhile = [](std::string_view call) {
    if (call == "Populate") throw std::bad_alloc();
  };
  const Outcome outcome = Khop({"load", "/boot/Image"});
  machine_.system.meanwhile = nullptr;
  EXPECT_EQ(outcome.code, 30);
  EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 1) << outcome.err;
  EXPECT_EQ(machine_.system.segment_count(), 0U);
  EXPECT_EQ(Khop({"load", "/boot/Image"}).code, 0);
}

}  // namespace
}  // namespace khop::cli
