// SPDX-License-Identifier: MIT
// khop as kexec, on the fake machine: what it does, what it says, and its exit codes.
#include "tool/cli/kexec/run.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <sstream>

#include "tool/cli/kexec/translate.h"
#include "tool/devicetree/next_tree.h"
#include "tool/load/test_machine.h"

namespace khop::cli::kexec {
namespace {

struct Outcome {
  int code;
  std::string out;
  std::string err;
};

class KexecTest : public testing::Test {
 protected:
  Outcome Kexec(std::vector<std::string> arguments) {
    std::ostringstream out;
    std::ostringstream err;
    Context context{.system = system_, .out = out, .err = err, .blob = machine_.blob};
    arguments.insert(arguments.begin(), kKexec);
    const int code = cli::Run(context, arguments);
    system_.NewProcess();
    return {code, out.str(), err.str()};
  }

  // Loads something that is not khop's.
  void LoadForeign() {
    std::vector<std::byte> page(4096);
    const system::KexecSegment segment{.buffer = page, .destination = {0x48000000}, .size = 4096};
    ASSERT_TRUE(system_.KexecLoad({0x48000000}, {&segment, 1}));
  }

  bool loaded() const { return system_.loaded != nullptr; }

  load::TestMachine machine_;
  system::FakeSystem& system_ = machine_.system;
};

TEST_F(KexecTest, LoadSaysNothing) {
  const Outcome outcome = Kexec({"-l", "/boot/Image", "--initrd=/boot/initrd", "--append=quiet"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(outcome.out + outcome.err, "");
  EXPECT_TRUE(loaded());
  EXPECT_EQ(system_.reboots + system_.syncs + system_.interfaces_down, 0);
  EXPECT_TRUE(system_.runs.empty());
}

TEST_F(KexecTest, DebugTellsTheSteps) {
  const Outcome outcome = Kexec({"-d", "-l", "/boot/Image"});
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(outcome.out, "");
  EXPECT_NE(outcome.err.find("reading the kernel"), std::string::npos) << outcome.err;
}

TEST_F(KexecTest, StatusIsInverted) {
  EXPECT_EQ(Kexec({"-S"}).code, 0);
  EXPECT_EQ(Kexec({"-l", "-S"}).code, 0);
  ASSERT_EQ(Kexec({"-l", "/boot/Image"}).code, 0);
  EXPECT_EQ(Kexec({"-l", "-S"}).code, 1);
  EXPECT_EQ(Kexec({"-S"}).code, 0);
  system_.crash = std::make_unique<system::FakeSystem::CrashImage>();
  EXPECT_EQ(Kexec({"-S"}).code, 1);
  EXPECT_EQ(Kexec({"-p", "-S"}).code, 1);
  system_.uid = 1000;  // no need to be root
  EXPECT_EQ(Kexec({"-S"}).code, 1);
  system_.Remove("/sys/kernel/kexec_crash_loaded");
  EXPECT_EQ(Kexec({"-S"}).code, 255);
}

TEST_F(KexecTest, ExecStartsWhatKhopLoaded) {
  ASSERT_EQ(Kexec({"-l", "/boot/Image"}).code, 0);
  const int loads = system_.kexec_loads;
  Kexec({"-e"});
  EXPECT_EQ(system_.reboots, 1);
  EXPECT_EQ(system_.syncs, 1);
  EXPECT_EQ(system_.interfaces_down, 1);
  EXPECT_EQ(system_.kexec_loads, loads + 1);  // as khop exec does
  Kexec({"-e", "-x", "-y"});
  EXPECT_EQ(system_.reboots, 2);
  EXPECT_EQ(system_.syncs, 1);
  EXPECT_EQ(system_.interfaces_down, 1);
}

TEST_F(KexecTest, ExecChecksTheArena) {
  ASSERT_EQ(Kexec({"-l", "/boot/Image"}).code, 0);
  *system_.PhysicalBytes(system_.Held(system::FakeSystem::kDefaultHuge).front()) ^= std::byte{1};
  const Outcome outcome = Kexec({"-e"});
  EXPECT_EQ(outcome.code, 255);
  EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 1) << outcome.err;
  EXPECT_EQ(system_.reboots + system_.interfaces_down, 0);
}

TEST_F(KexecTest, ExecStartsWhatOthersLoaded) {
  LoadForeign();
  Kexec({"-e"});
  EXPECT_EQ(system_.reboots, 1);
  EXPECT_EQ(system_.syncs, 1);
  EXPECT_EQ(system_.interfaces_down, 1);
}

TEST_F(KexecTest, InterfacesThatStayUpDoNotKeepItBack) {
  LoadForeign();
  system_.meanwhile = [&](std::string_view call) {
    if (call == "TakeInterfacesDown") system_.fail_call = system_.calls - 1;
  };
  Kexec({"-e"});
  EXPECT_EQ(system_.interfaces_down, 0);
  EXPECT_EQ(system_.reboots, 1);
}

TEST_F(KexecTest, NothingHasBeenLoaded) {
  const Outcome outcome = Kexec({"-e"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_NE(outcome.err.find("Nothing has been loaded!"), std::string::npos) << outcome.err;
  EXPECT_EQ(system_.reboots + system_.interfaces_down, 0);
  // Loaded by khop, unloaded by another tool.
  ASSERT_EQ(Kexec({"-l", "/boot/Image"}).code, 0);
  ASSERT_TRUE(system_.KexecLoad({0}, {}));
  EXPECT_EQ(Kexec({"-e"}).code, 1);
  EXPECT_EQ(system_.reboots, 0);
}

TEST_F(KexecTest, ForceLoadsAndStarts) {
  Kexec({"-f", "/boot/Image", "-x"});
  EXPECT_TRUE(loaded());
  EXPECT_EQ(system_.reboots, 1);
  EXPECT_EQ(system_.syncs, 1);
  EXPECT_EQ(system_.interfaces_down, 0);
  EXPECT_EQ(Kexec({"-f", "/none"}).code, 1);
  EXPECT_EQ(system_.reboots, 1);
}

TEST_F(KexecTest, TheBareFormShutsDown) {
  EXPECT_EQ(Kexec({"/boot/Image"}).code, 0);
  EXPECT_TRUE(loaded());
  ASSERT_EQ(system_.runs.size(), 1U);
  EXPECT_EQ(system_.runs.front(), (std::vector<std::string>{"/sbin/shutdown", "-r", "now"}));
  EXPECT_EQ(system_.reboots + system_.syncs + system_.interfaces_down, 0);
  system_.run_status = 3;
  EXPECT_EQ(Kexec({"/boot/Image"}).code, 3);
  EXPECT_EQ(Kexec({"/none"}).code, 1);
  EXPECT_EQ(system_.runs.size(), 2U);
}

TEST_F(KexecTest, UnloadWhosever) {
  EXPECT_EQ(Kexec({"-u"}).code, 0);
  ASSERT_EQ(Kexec({"-l", "/boot/Image"}).code, 0);
  EXPECT_EQ(Kexec({"-u"}).code, 0);
  EXPECT_FALSE(loaded());
  EXPECT_EQ(system_.segment_count(), 0U);
  LoadForeign();
  EXPECT_EQ(Kexec({"-u"}).code, 0);
  EXPECT_FALSE(loaded());
  LoadForeign();
  EXPECT_EQ(Kexec({"-u", "-l", "/boot/Image"}).code, 0);
  EXPECT_TRUE(loaded());
}

// The crash image of another tool.
TEST_F(KexecTest, TheCrashImageIsUnloadedWhosever) {
  EXPECT_EQ(Kexec({"-p", "-u"}).code, 0);
  system_.crash = std::make_unique<system::FakeSystem::CrashImage>();
  ASSERT_EQ(Kexec({"-l", "/boot/Image"}).code, 0);
  EXPECT_EQ(Kexec({"-u"}).code, 0);
  EXPECT_FALSE(loaded());
  EXPECT_NE(system_.crash, nullptr);
  EXPECT_EQ(Kexec({"-p", "-u"}).code, 0);
  EXPECT_EQ(system_.crash, nullptr);
}

TEST_F(KexecTest, ACrashKernelNeedsAReservation) {
  const Outcome outcome = Kexec({"-p", "/boot/Image"});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 1) << outcome.err;
  system_.Reserve({{0x60000000}, uint64_t{64} << 20});
  EXPECT_EQ(Kexec({"-p", "/boot/Image", "--mem-min=0x60000000"}).code, 1);
  EXPECT_EQ(system_.crash, nullptr);
}

TEST_F(KexecTest, FileLoadOnlyIsNeverAnythingElse) {
  // As on Debian's kernels: not built.
  EXPECT_EQ(Kexec({"-s", "-l", "/boot/Image"}).code, 253);
  system_.kexec_file_error = 0;
  EXPECT_EQ(Kexec({"-s", "-p", "/boot/Image"}).code, 253);
  EXPECT_EQ(system_.kexec_loads, 0);
  EXPECT_EQ(Kexec({"-s", "-l", "/boot/Image", "--append=quiet"}).code, 0);
  EXPECT_EQ(system_.kexec_loads, 0);
  EXPECT_EQ(Kexec({"-l", "-S"}).code, 1);
  Kexec({"-e"});
  EXPECT_EQ(system_.reboots, 1);
  EXPECT_EQ(Kexec({"-u"}).code, 0);
  const int loads = system_.kexec_loads;
  system_.kexec_file_error = EKEYREJECTED;
  const Outcome rejected = Kexec({"-s", "-l", "/boot/Image"});
  EXPECT_EQ(rejected.code, 255);
  EXPECT_EQ(std::ranges::count(rejected.err, '\n'), 1) << rejected.err;
  EXPECT_EQ(system_.kexec_loads, loads);
  EXPECT_EQ(Kexec({"-l", "-S"}).code, 0);
  // Where kexec_load is off, the other is taken; not with -c.
  system_.kexec_file_error = 0;
  system_.SetFile("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
  EXPECT_EQ(Kexec({"-c", "-l", "/boot/Image"}).code, 255);
  EXPECT_EQ(Kexec({"-l", "-S"}).code, 0);
}

TEST_F(KexecTest, FailuresAreOneLineAndKexecToolsExitCode) {
  struct Case {
    std::vector<std::string> arguments;
    int code;
  };
  system_.SetFile("/boot/text", "text\n");
  const std::vector<Case> cases = {
      {{"-l", "/none"}, 1},
      {{"-c", "-l", "/none"}, 1},
      {{"-l", "/boot/text"}, 255},
      {{"-l", "/boot/Image", "--initrd=/none"}, 255},
      {{"-c", "-l", "/boot/Image", "--initrd=/none"}, 1},
      {{"-l", "/boot/Image", "-t", "uki"}, 255},
      {{"-l", "/boot/Image", "-t", "bzImage"}, 255},
      {{"-l", "/boot/Image", "--reuseinitrd"}, 1},
      {{"-l", "/boot/Image", "--serial=ttyNONE"}, 1},
      {{"-l", "/boot/Image", "--append=" + std::string(3000, 'x')}, 255},
      {{"-l", ""}, 1},
      {{"-l"}, 255},
      {{"--none"}, 1},
  };
  for (const Case& c : cases) {
    const Outcome outcome = Kexec(c.arguments);
    const std::string line = testing::PrintToString(c.arguments);
    EXPECT_EQ(outcome.code, c.code) << line << outcome.err;
    EXPECT_TRUE(outcome.err.starts_with("khop: ")) << line << outcome.err;
    EXPECT_EQ(std::ranges::count(outcome.err, '\n'), 1) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    EXPECT_FALSE(loaded());
  }
  system_.uid = 1000;
  EXPECT_EQ(Kexec({"-l", "/boot/Image"}).code, 255);
  system_.uid = 0;
  system_.machine = "x86_64";
  EXPECT_EQ(Kexec({"-l", "/boot/Image"}).code, 255);
}

TEST_F(KexecTest, HelpVersionAndCrashSize) {
  const Outcome help = Kexec({"-h"});
  EXPECT_EQ(help.code, 0);
  for (const char* const option : {"--load",
                                   "--exec",
                                   "--force",
                                   "--load-panic",
                                   "--unload",
                                   "--status",
                                   "--print-ckr-size",
                                   "--append",
                                   "--reuse-cmdline",
                                   "--initrd",
                                   "--reuseinitrd",
                                   "--dtb",
                                   "--serial",
                                   "--type",
                                   "--no-checks",
                                   "--mem-min",
                                   "--mem-max",
                                   "--kexec-file-syscall",
                                   "--kexec-syscall",
                                   "--kexec-syscall-auto",
                                   "--no-cma",
                                   "--force-dtb",
                                   "--no-ifdown",
                                   "--no-sync",
                                   "--debug",
                                   "--entry",
                                   "--hotplug",
                                   "--load-preserve-context",
                                   "--load-jump-back-helper",
                                   "--load-live-update",
                                   "--exec-live-update",
                                   "--command-line",
                                   "--ramdisk",
                                   "--help",
                                   "--version"}) {
    EXPECT_NE(help.out.find(option), std::string::npos) << option;
  }
  const Outcome version = Kexec({"--version"});
  EXPECT_EQ(version.code, 0);
  EXPECT_TRUE(version.out.starts_with("kexec-tools 2.0.32 ")) << version.out;
  EXPECT_EQ(Kexec({"--print-ckr-size"}).out, "0\n");
  system_.SetFile("/proc/iomem",
                  "40000000-7fffffff : System RAM\n"
                  "  50000000-5fffffff : Crash kernel\n"
                  "  70000000-70ffffff : Crash kernel\n"
                  "80000000-80000fff : pl011\n");
  EXPECT_EQ(Kexec({"--print-ckr-size"}).out, "16777216\n");
  system_.SetFile("/proc/iomem",
                  "00000000-00000000 : System RAM\n  00000000-00000000 : Crash kernel\n");
  EXPECT_EQ(Kexec({"--print-ckr-size"}).out, "0\n");
}

TEST_F(KexecTest, CommandLines) {
  const auto line = [&](const std::vector<std::string>& arguments) {
    const auto parsed = ParseOptions(arguments);
    EXPECT_TRUE(parsed);
    const auto translated = Translate(system_, std::get<Options>(*parsed), {});
    EXPECT_TRUE(translated) << translated.error().message;
    const auto text = load::CommandLine(system_, *translated);
    EXPECT_TRUE(text);
    return text.value_or("");
  };
  // The tree's own is kept where kexec_load is asked for, or another tree.
  const std::string own = "of the tree";
  const std::string bare = load::TestTree();
  const auto tree = devicetree::Tree::Parse(std::as_bytes(std::span(bare)), "");
  devicetree::NextTreeOptions with_line;
  with_line.command_line = own;
  const auto bytes = devicetree::BuildNextTree(*tree, with_line)->bytes;
  system_.SetFile("/sys/firmware/fdt", {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
  for (const char* const how : {"-c", "--dtb=/sys/firmware/fdt"}) {
    EXPECT_EQ(line({how, "-p", "K"}), own);
    // A UKI's comes first.
    const auto parsed = ParseOptions({how, "-p", "K"});
    const auto translated = Translate(system_, std::get<Options>(*parsed), {});
    EXPECT_EQ(load::CommandLine(system_, *translated, "of the UKI").value_or(""), "of the UKI");
  }
  EXPECT_EQ(line({"-l", "K"}), "");
  EXPECT_EQ(line({"-l", "K", "--append", "a=\"b c\""}), "a=\"b c\"");
  EXPECT_EQ(line({"-l", "K", "--append", "a", "--command-line=b"}), "b");
  EXPECT_EQ(line({"-l", "K", "--reuse-cmdline"}), "console=ttyAMA0");
  EXPECT_EQ(line({"-l", "K", "--reuse-cmdline", "--append=x"}), "console=ttyAMA0 x");
}

TEST_F(KexecTest, LoadOptions) {
  const auto translate = [&](const std::vector<std::string>& arguments) {
    const auto translated =
        Translate(system_, std::get<Options>(*ParseOptions(arguments)), machine_.blob);
    EXPECT_TRUE(translated) << translated.error().message;
    return *translated;
  };
  const load::LoadOptions options =
      translate({"-l", "/boot/Image", "--initrd=I", "--dtb=/sys/firmware/fdt", "-i", "--serial",
                 "ttyAMA0", "-t", "Image"});
  EXPECT_EQ(options.kernel, "/boot/Image");
  EXPECT_EQ(options.initrds, std::vector<std::string>{"I"});
  EXPECT_EQ(options.dtb, "/sys/firmware/fdt");
  EXPECT_EQ(options.digest, handoff::DigestKind::kNone);
  EXPECT_EQ(options.console_tty, "ttyAMA0");
  EXPECT_EQ(options.route, load::Route::kAuto);
  EXPECT_EQ(options.blob.size(), machine_.blob.size());
  EXPECT_EQ(translate({"-l", "K"}).digest, handoff::DigestKind::kSha256);
  system_.SetFile("/sys/firmware/initrd", "initrd");
  EXPECT_EQ(translate({"-l", "K", "--reuseinitrd"}).initrds,
            std::vector<std::string>{"/sys/firmware/initrd"});
}

}  // namespace
}  // namespace khop::cli::kexec
