// SPDX-License-Identifier: MIT
#include "tool/cli/kexec/options.h"

#include <gtest/gtest.h>

#include <sstream>

namespace khop::cli::kexec {
namespace {

using Words = std::vector<std::string>;

Words Split(const std::string& line) {
  std::istringstream in(line);
  Words words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

Options Must(const std::string& line) {
  const auto parsed = ParseOptions(Split(line));
  if (!parsed) {
    ADD_FAILURE() << line << ": " << parsed.error().message;
    return {};
  }
  const auto* const options = std::get_if<Options>(&*parsed);
  if (options == nullptr) {
    ADD_FAILURE() << line << ": done at once";
    return {};
  }
  return *options;
}

// What a command line does, as letters: S status, u unload, l load, r shutdown, e exec; P if it is
// about the crash image; with a jump, y without sync and x without ifdown.
std::string Steps(const std::string& line) {
  const Options options = Must(line);
  std::string steps;
  if (options.status) steps += 'S';
  if (options.unload) steps += 'u';
  if (options.load) steps += 'l';
  if (options.shutdown) steps += 'r';
  if (options.exec) steps += 'e';
  if (options.crash) steps += 'P';
  if (options.exec && !options.sync) steps += 'y';
  if (options.exec && !options.ifdown) steps += 'x';
  return steps;
}

TEST(KexecOptionsTest, WhatIsDone) {
  struct Case {
    const char* line;
    const char* steps;
  };
  static constexpr Case kCases[] = {
      {"K", "lr"},
      {"--append=a K", "lr"},
      {"-d K", "lr"},
      {"-l K", "l"},
      {"--load K", "l"},
      {"K -l", "l"},
      {"-e", "e"},
      {"--exec", "e"},
      {"-ex", "ex"},
      {"-x -y -e", "eyx"},
      {"-e --no-ifdown --no-sync", "eyx"},
      {"-f K", "le"},
      {"--force K -y", "ley"},
      {"-p K", "lP"},
      {"--load-panic K", "lP"},
      {"-u", "u"},
      {"--unload", "u"},
      {"-p -u", "uP"},
      {"-u -p", "uP"},
      {"-s -p -u", "uP"},
      // The last of them wins, but -p stays in force.
      {"-l -f K", "le"},
      {"-f -l K", "l"},
      {"-l -p K", "lP"},
      {"-p -l K", "lP"},
      {"-f -p K", "lP"},
      {"-e -f K", "le"},
      {"-e -p K", "lP"},
      {"-f -e", "e"},
      {"-p -e", "eP"},
      // Unloaded first, then loaded.
      {"-u -l K", "ul"},
      {"-u -f K", "ule"},
      {"-u -p K", "ulP"},
      // --status is for the crash image, unless -l stands beside it.
      {"-S", "SP"},
      {"--status", "SP"},
      {"-p -S", "SP"},
      {"-S -p", "SP"},
      {"-l -S", "S"},
      {"-S -l", "S"},
      {"-p -l -S", "SP"},
      {"-d -S", "SP"},
      {"-s -S", "SP"},
  };
  for (const Case& c : kCases) EXPECT_EQ(Steps(c.line), c.steps) << c.line;
}

TEST(KexecOptionsTest, WhatIsLoaded) {
  const Options options = Must(
      "-l K -t Image --append=root=/dev/vda --initrd=I --dtb D --serial ttyAMA0 -i "
      "--mem-min=0x40000000 --mem-max 2147483648 -c -d --reuse-cmdline");
  EXPECT_EQ(options.kernel, "K");
  EXPECT_EQ(options.type, "Image");
  EXPECT_EQ(options.append, "root=/dev/vda");
  EXPECT_EQ(options.initrd, "I");
  EXPECT_EQ(options.dtb, "D");
  EXPECT_EQ(options.serial, "ttyAMA0");
  EXPECT_TRUE(options.no_checks);
  EXPECT_EQ(options.mem_min, 0x40000000);
  EXPECT_EQ(options.mem_max, 0x80000000);
  EXPECT_EQ(options.syscall, Syscall::kLoad);
  EXPECT_TRUE(options.verbose);
  EXPECT_TRUE(options.reuse_command_line);

  const Options plain = Must("-l K");
  EXPECT_FALSE(plain.append || plain.initrd || plain.dtb || plain.serial || plain.type ||
               plain.mem_min || plain.mem_max || plain.no_checks || plain.verbose ||
               plain.reuse_command_line || plain.reuse_initrd || plain.no_cma);
  EXPECT_EQ(plain.syscall, Syscall::kAuto);
}

TEST(KexecOptionsTest, TheLastOfAnOptionWins) {
  EXPECT_EQ(Must("-l K --append=a --command-line=b").append, "b");
  EXPECT_EQ(Must("-l K --command-line=b --append=a").append, "a");
  EXPECT_EQ(Must("-l K --initrd=a --ramdisk=b").initrd, "b");
  EXPECT_EQ(Must("-l K --dtb=a --dtb=b").dtb, "b");
  EXPECT_EQ(Must("-l K -t Image -t uki").type, "uki");
  EXPECT_EQ(Must("-l K -s -c -a").syscall, Syscall::kAuto);
  EXPECT_EQ(Must("-l K -a -c -s").syscall, Syscall::kFile);
  EXPECT_EQ(Must("-l K --mem-min=1 --mem-min=2").mem_min, 2);
  EXPECT_EQ(Must("-l K --append=").append, "");
}

TEST(KexecOptionsTest, AbbreviationsAndAnyOrder) {
  const Options options = Must("K --app=a -l --ini I --comm b --kexec-syscall -dx");
  EXPECT_EQ(options.kernel, "K");
  EXPECT_EQ(options.append, "b");
  EXPECT_EQ(options.initrd, "I");
  EXPECT_EQ(options.syscall, Syscall::kLoad);
  EXPECT_FALSE(options.ifdown);
  EXPECT_EQ(Must("-l -- -K").kernel, "-K");
  EXPECT_EQ(Must("-tImage -l K").type, "Image");
  EXPECT_EQ(Must("--ramd=I -l K").initrd, "I");
  EXPECT_TRUE(Must("--reusei -l K").reuse_initrd);
  EXPECT_TRUE(Must("--reuse- -l K").reuse_command_line);
}

TEST(KexecOptionsTest, AtOnce) {
  struct Case {
    const char* line;
    AtOnce done;
  };
  static constexpr Case kCases[] = {
      {"-h", AtOnce::kHelp},
      {"--help", AtOnce::kHelp},
      {"-v", AtOnce::kVersion},
      {"--vers", AtOnce::kVersion},
      {"-l -h --none", AtOnce::kHelp},  // what stands after it is not looked at
      {"-vh", AtOnce::kVersion},
      {"--print-ckr-size", AtOnce::kPrintCrashSize},
      {"-e --print", AtOnce::kPrintCrashSize},
  };
  for (const Case& c : kCases) {
    const auto parsed = ParseOptions(Split(c.line));
    ASSERT_TRUE(parsed) << c.line << ": " << parsed.error().message;
    ASSERT_TRUE(std::holds_alternative<AtOnce>(*parsed)) << c.line;
    EXPECT_EQ(std::get<AtOnce>(*parsed), c.done) << c.line;
  }
}

TEST(KexecOptionsTest, Refusals) {
  struct Case {
    const char* line;
    int code;
    const char* names;  // what the line is about
  };
  static constexpr Case kCases[] = {
      // What getopt_long() does not take.
      {"--none", 1, "--none"},
      {"-l K -z", 1, "-z"},
      {"-lz K", 1, "-lz"},
      {"-?", 1, "-?"},
      {"-l K --append", 1, "--append"},
      {"-l K -t", 1, "-t"},
      {"--lo K", 1, "--lo"},           // --load, --load-panic, …
      {"-l K --reuse", 1, "--reuse"},  // --reuseinitrd, --reuse-cmdline
      {"-l K --no-c", 1, "--no-c"},    // --no-checks, --no-cma
      {"--load=1 K", 1, "--load=1"},
      {"--args-linux -l K", 1, "--args-linux"},
      {"--none -h", 1, "--none"},
      {"-l K --mem-min=12x", 1, "--mem-min"},
      {"-l K --mem-max=0x", 1, "--mem-max"},
      {"-l K --mem-max=0x1ffffffffffffffff", 1, "--mem-max"},
      {"-l K --entry=text", 1, "--entry"},
      // No kernel.
      {"", 255, "kexec: no kernel"},
      {"-l", 255, "no kernel"},
      {"-f", 255, "no kernel"},
      {"-p", 255, "no kernel"},
      {"-u -l", 255, "no kernel"},
      // Two things at once.
      {"-l K -e", 1, "-l -e"},
      {"-e -l K", 1, "-l -e"},
      {"-l -e -f K", 1, "-l -e"},
      {"-u -e", 1, "-u -e"},
      {"-e -u", 1, "-u -e"},
      {"-f K -u", 1, "-f -u"},
      {"-p -f K", 1, "-p -f"},
      // What would be ignored.
      {"-e K", 1, "K"},
      {"-f K -e", 1, "K"},
      {"-u K", 1, "K"},
      {"-l K -u", 1, "K"},
      {"-l K L", 1, "L"},
      {"-e --append=a", 1, "--append"},
      {"-e -i", 1, "-i"},
      {"-u --initrd=I", 1, "--initrd"},
      {"-u -t Image", 1, "-t"},
      {"-e --mem-min=1", 1, "--mem-min"},
      {"-s -l K --dtb=D", 1, "--dtb"},
      {"-s -l K --mem-min=1", 1, "--mem-min"},
      {"-s -l K --mem-max=1", 1, "--mem-max"},
      {"-s -l K --serial=ttyS0", 1, "--serial"},
      {"-l K --initrd=I --reuseinitrd", 1, "--reuseinitrd"},
      {"-l K --dtb=D --force-dtb", 1, "--force-dtb"},
      {"-l K --mem-min=2 --mem-max=1", 1, "--mem-min"},
      // What no arm64 kernel does.
      {"-l K --entry=0x80000000", 255, "--entry"},
      {"-l K --hotplug", 1, "--hotplug"},
      {"-p K --hotplug", 1, "--hotplug"},
      {"--load-preserve-context K", 1, "--load-preserve-context"},
      {"--load-preserve-context -c K", 1, "--load-preserve-context"},
      {"--load-preserve-context -c --mem-max=1 K", 255, "--load-preserve-context"},
      {"--load-jump-back-helper", 1, "--load-jump-back-helper"},
      {"-c --load-jump-back-helper", 255, "--load-jump-back-helper"},
      {"-s --load-jump-back-helper", 1, "--load-jump-back-helper"},
      {"--load-live-update K", 1, "Xen"},
      {"--exec-live-update", 1, "Xen"},
      // Exit code 1 of --status is an answer.
      {"-S K", 255, "-S"},
      {"-S -e", 255, "-S"},
      {"-l -S K", 255, "-S"},
      {"-S -u", 255, "-S"},
      {"-S -f", 255, "-S"},
      {"-S --append=a", 255, "-S"},
  };
  for (const Case& c : kCases) {
    const auto parsed = ParseOptions(Split(c.line));
    ASSERT_FALSE(parsed) << c.line;
    EXPECT_EQ(static_cast<int>(parsed.error().code), c.code) << c.line;
    const std::string& message = parsed.error().message;
    EXPECT_TRUE(message.starts_with("kexec")) << message;
    EXPECT_NE(message.find(c.names), std::string::npos) << c.line << ": " << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

// They are what khop does on arm64 anyway, or ask for nothing.
TEST(KexecOptionsTest, TakenAsTheyAre) {
  EXPECT_EQ(Steps("-l K --force-dtb"), "l");
  EXPECT_EQ(Steps("-l K --entry=0"), "l");
  EXPECT_EQ(Steps("-l K -x -y"), "l");
  EXPECT_TRUE(Must("-s -l K --no-cma").no_cma);
  EXPECT_EQ(Must("-l K --mem-max=-1").mem_max, UINT64_MAX);  // as strtoul(3)
}

// A command line may hold anything; the message stays one line.
TEST(KexecOptionsTest, ControlCharactersStayOutOfTheMessage) {
  const auto parsed = ParseOptions({"--no\nsuch"});
  ASSERT_FALSE(parsed);
  EXPECT_EQ(parsed.error().message.find('\n'), std::string::npos);
}

// getopt_long() keeps its state in globals.
TEST(KexecOptionsTest, OneCallAfterTheOther) {
  EXPECT_FALSE(ParseOptions({"-lz", "K"}));  // ends inside a word
  EXPECT_EQ(Must("K -l").kernel, "K");
  EXPECT_FALSE(ParseOptions({"-l", "K", "--append"}));
  EXPECT_EQ(Must("-l K --append a").append, "a");
}

}  // namespace
}  // namespace khop::cli::kexec
