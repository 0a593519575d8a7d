// SPDX-License-Identifier: MIT
#include "tool/config/config.h"

#include <cerrno>
#include <fstream>
#include <iterator>
#include <sstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tool/system/fake_system.h"

namespace khop::config {
namespace {

using testing::HasSubstr;

std::string Refusal(std::string_view text) {
  const auto parsed = Parse(text);
  if (parsed) return "it was taken";
  EXPECT_EQ(parsed.error().code, ExitCode::kBadConfig);
  return parsed.error().message;
}

TEST(Config, EveryKey) {
  const auto parsed = Parse(
      "# a comment\n\n"
      "kernel = /vmlinuz\n\tinitrd=/a\ninitrd = /b c \r\n"
      "cmdline = root=/dev/vda # no comment\nappend=quiet\n"
      "dtb = /t.dtb\nroute = gather\nmmu = off\nverify = crc32c\n"
      "preload = yes\ninitramfs = yes\npark-cpus = no\nwatchdog = 120");
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(parsed->kernel, "/vmlinuz");
  EXPECT_EQ(parsed->initrds, (std::vector<std::string>{"/a", "/b c"}));
  EXPECT_EQ(parsed->command_line, "root=/dev/vda # no comment");
  EXPECT_EQ(parsed->append, "quiet");
  EXPECT_EQ(parsed->dtb, "/t.dtb");
  EXPECT_EQ(parsed->route, "gather");
  EXPECT_EQ(parsed->mmu, "off");
  EXPECT_EQ(parsed->verify, "crc32c");
  EXPECT_TRUE(parsed->preload);
  EXPECT_TRUE(parsed->initramfs);
  EXPECT_FALSE(parsed->park_cpus);
  EXPECT_EQ(parsed->watchdog, 120U);
}

TEST(Config, NothingIsTheDefaults) {
  const auto parsed = Parse("");
  ASSERT_TRUE(parsed);
  EXPECT_FALSE(parsed->preload);
  EXPECT_FALSE(parsed->command_line);
  EXPECT_EQ(parsed->watchdog, 0U);
}

TEST(Config, TheErrorNamesTheLineAndWhatIsAllowed) {
  EXPECT_EQ(Refusal("\n# x\nkernle = /vmlinuz\n"),
            "/etc/khop.conf line 3: there is no key \"kernle\"; allowed are kernel, initrd, entry, "
            "cmdline, append, dtb, route, mmu, verify, preload, initramfs, park-cpus, watchdog");
  EXPECT_EQ(Refusal("preload"),
            "/etc/khop.conf line 1: there is no '=' in it; write KEY = VALUE, or # before a "
            "comment");
  EXPECT_EQ(Refusal("preload = maybe"),
            "/etc/khop.conf line 1: preload cannot be \"maybe\"; give yes or no");
  EXPECT_THAT(Refusal("kernel = vmlinuz"), HasSubstr("give an absolute path"));
  EXPECT_THAT(Refusal("route = fast"), HasSubstr("give auto, in-place, reserved"));
  EXPECT_THAT(Refusal("verify ="), HasSubstr("verify cannot be \"\""));
  EXPECT_THAT(Refusal("preload = no\npreload = yes"),
              HasSubstr("line 2: preload is there for the"));
  EXPECT_THAT(Refusal("kernel = /a\nentry = b"), HasSubstr("both kernel and entry"));
  EXPECT_THAT(Refusal("initrd = /a"), HasSubstr("an initrd and no kernel"));
}

TEST(Config, Watchdogs) {
  for (const char* const bad : {"", "-1", "60s", "3601", "99999999999"}) {
    EXPECT_THAT(Refusal(std::string("watchdog = ") + bad), HasSubstr("give seconds")) << bad;
  }
}

// Cut anywhere, it is taken or refused with a line; never something else.
TEST(Config, HalfEdited) {
  const std::string whole = "kernel = /vmlinuz\ninitrd = /initrd.img\nverify = sha256\n";
  for (size_t size = 0; size < whole.size(); ++size) {
    const auto parsed = Parse(std::string_view(whole).substr(0, size));
    if (parsed) continue;
    EXPECT_THAT(parsed.error().message, HasSubstr("/etc/khop.conf")) << size;
  }
}

TEST(Config, ThatOfTheMachine) {
  system::FakeSystem system;
  ASSERT_TRUE(Read(system));  // none: the defaults
  system.SetFile(kPath, "preload = yes\n");
  EXPECT_TRUE(Read(system).value().preload);
  system.SetFile(kPath, std::string(100'000, '#'));
  EXPECT_EQ(Read(system).error().code, ExitCode::kBadConfig);
}

// What the package brings: only comments, and each commented line would be understood.
TEST(Config, TheShippedFile) {
  std::ifstream file(KHOP_CONF);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  ASSERT_FALSE(text.empty());
  ASSERT_TRUE(Parse(text));
  std::istringstream lines(text);
  int keys = 0;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with("#") || line.find(" = ") == std::string::npos) continue;
    const auto parsed = Parse((line.find("initrd") == 1 ? "kernel = /k\n" : "") + line.substr(1));
    EXPECT_TRUE(parsed) << parsed.error().message;
    ++keys;
  }
  EXPECT_EQ(keys, 13);
}

}  // namespace
}  // namespace khop::config
