// SPDX-License-Identifier: MIT
#include "tool/entry/entry.h"

#include <gtest/gtest.h>

namespace khop::entry {
namespace {

TEST(Entry, EveryKey) {
  const auto entry = ParseEntry(
      "# a comment\n"
      "title   Debian GNU/Linux 12\r\n"
      "version 6.12.94\n\n"
      "machine-id 4098b3f648d74c13b1f04ccfba7798e8\n"
      "sort-key debian\n"
      "options  root=UUID=1 ro\n"
      "options  quiet x=\"a  b\"\n"
      "linux\t/4098/6.12.94/linux\n"
      "initrd /4098/microcode\n"
      "initrd /4098/initrd\n"
      "architecture AA64\n"
      "devicetree /4098/board.dtb\n"
      "devicetree-overlay /a.dtbo  /b.dtbo\n",
      "4098-6.12.94+3-1.conf");
  ASSERT_TRUE(entry) << entry.error().message;
  EXPECT_EQ(entry->id, "4098-6.12.94");
  EXPECT_FALSE(entry->bad);
  EXPECT_EQ(entry->title, "Debian GNU/Linux 12");
  EXPECT_EQ(entry->options, "root=UUID=1 ro quiet x=\"a  b\"");
  EXPECT_EQ(entry->linux, "/4098/6.12.94/linux");
  EXPECT_EQ(entry->initrds, (std::vector<std::string>{"/4098/microcode", "/4098/initrd"}));
  EXPECT_EQ(entry->devicetree, "/4098/board.dtb");
  EXPECT_EQ(entry->overlays, (std::vector<std::string>{"/a.dtbo", "/b.dtbo"}));
}

TEST(Entry, WhatCannotBeStarted) {
  EXPECT_EQ(ParseEntry("title x\n", "x.conf").error().code, ExitCode::kBadEntry);
  EXPECT_EQ(ParseEntry("efi /shellx64.efi\n", "x.conf").error().code, ExitCode::kBadEntry);
  EXPECT_EQ(ParseEntry("linux /../etc/shadow\n", "x.conf").error().code, ExitCode::kBadEntry);
  EXPECT_EQ(ParseEntry("linux /k\ninitrd a/..\n", "x.conf").error().code, ExitCode::kBadEntry);
  EXPECT_EQ(ParseEntry("linux /k\narchitecture x64\n", "x.conf").error().code,
            ExitCode::kOtherArchitecture);
  EXPECT_TRUE(ParseEntry("linux /a..b/k\n", "x.conf"));
}

TEST(Entry, Counters) {
  bool bad = false;
  EXPECT_EQ(IdOf("a+0-3.conf", &bad), "a");
  EXPECT_TRUE(bad);
  EXPECT_EQ(IdOf("a+12.efi", &bad), "a");
  EXPECT_FALSE(bad);
  EXPECT_EQ(IdOf("6.12.94+deb13-arm64.conf", &bad), "6.12.94+deb13-arm64");
  EXPECT_EQ(IdOf("a+.conf", &bad), "a+");
}

TEST(Versions, Order) {
  // Each before the next: the example of the UAPI group's version format specification.
  const char* const ascending[] = {"122.1",  "123~rc1-1", "123",       "123-a",   "123-a.1",
                                   "123-1",  "123-1.1",   "123^post1", "123.a-1", "123.1-1",
                                   "123a-1", "124-1",     "124.9",     "124.12"};
  for (size_t i = 0; i + 1 < std::size(ascending); ++i) {
    EXPECT_LT(CompareVersions(ascending[i], ascending[i + 1]), 0) << ascending[i];
    EXPECT_GT(CompareVersions(ascending[i + 1], ascending[i]), 0) << ascending[i];
  }
  EXPECT_EQ(CompareVersions("1_", "1"), 0);
  EXPECT_EQ(CompareVersions("001", "1"), 0);
}

Entry Make(const char* id, const char* key, const char* version, bool bad = false) {
  Entry entry;
  entry.id = id;
  entry.sort_key = key;
  entry.version = version;
  entry.bad = bad;
  return entry;
}

TEST(Choose, TheSpecificationsOrder) {
  std::vector<Entry> entries = {Make("z-9", "", ""), Make("a", "debian", "6.1"),
                                Make("c", "debian", "6.13", true), Make("b", "debian", "6.12")};
  EXPECT_EQ(Choose(entries, "default", {})->id, "b");
  entries.pop_back();
  EXPECT_EQ(Choose(entries, "default", {})->id, "a");
  const std::string patterns[] = {"nothing*", "z-*.conf"};
  EXPECT_EQ(Choose(entries, "default", patterns)->id, "z-9");
  EXPECT_EQ(Choose(entries, "c.conf", {})->id, "c");
  const auto none = Choose(entries, "d", {});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ExitCode::kNoEntry);
  EXPECT_EQ(none.error().message, "boot entry d: there is none of that name; there are a, z-9, c");
  EXPECT_EQ(Choose({}, "default", {}).error().code, ExitCode::kNoEntry);
  EXPECT_EQ(DefaultPattern("timeout 3\ndefault  debian-*\n"), "debian-*");
}

TEST(Uki, OsRelease) {
  Entry entry;
  TakeOsRelease("ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME='Debian 12'\nIMAGE_VERSION=7\n", entry);
  EXPECT_EQ(entry.title, "Debian 12");
  EXPECT_EQ(entry.sort_key, "debian");
  EXPECT_EQ(entry.version, "7");
}

}  // namespace
}  // namespace khop::entry
