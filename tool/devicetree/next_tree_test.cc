// SPDX-License-Identifier: MIT
#include "tool/devicetree/next_tree.h"

#include <libfdt.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "core/handoff/handoff.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tool/devicetree/machine.h"
#include "tool/devicetree/test_tree.h"

namespace khop::devicetree {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::UnorderedElementsAre;

constexpr std::string_view kUsed = R"(
/memreserve/ 0x47000000 0x10000;    /* LPI tables: stays */
/memreserve/ 0x48000000 0x1235000;  /* the old initrd, in pages */
/memreserve/ 0x4f000000 0x2000;     /* elfcorehdr */
/memreserve/ 0x47000000 0x10000;
/ {
  #address-cells = <2>;
  #size-cells = <2>;
  model = "test";
  chosen {
    bootargs = "old";
    stdout-path = "/serial@9000000";
    kaslr-seed = <0 0>;
    linux,uefi-system-table = <0 0x7fd30018>;
    linux,initrd-start = <0x48000000>;
    linux,initrd-end = <0 0x49234567>;
    linux,elfcorehdr = <0 0x4f000000 0 0x2000>;
    linux,usable-memory-range = <0 0x4e000000 0 0x1000000>;
    linux,kho-fdt = <0 0x5000 0 0x1000>;
    linux,kho-whatever = <1>;
    linux,ima-kexec-buffer = <0 0x6000 0 0x1000>;
    linux,tpm-kexec-buffer = <0 0x7000 0 0x1000>;
    khop,timeline = [01 02 03];
    khop,elder = "x";
  };
  serial@9000000 { compatible = "arm,pl011"; };
};
)";

NextTreeOptions SomeOptions() {
  NextTreeOptions options;
  options.command_line = "console=ttyAMA0 root=/dev/vda1";
  options.initrd = PhysRange{{0x1'4800'0000}, 0x20'0001};
  options.kaslr_seed = 0x1122334455667788;
  options.rng_seed = std::vector<std::byte>(64, std::byte{0xa5});
  options.route = "in-place";
  options.from = "6.1.0-56-arm64";
  return options;
}

TEST(NextTree, TellsACaptureKernelOfItsMemory) {
  NextTreeOptions options = SomeOptions();
  options.elf_core_header = PhysRange{{0x1'2fff'0000}, 0x1000};
  options.usable_memory = {{{0x1'2000'0000}, 0x1000'0000}, {{0xf000'0000}, 0x800'0000}};
  const auto next = BuildNextTree(Compile(kUsed), options);
  ASSERT_TRUE(next) << next.error().message;
  EXPECT_EQ(Chosen(next->bytes, "linux,elfcorehdr"),
            std::string("\0\0\0\x01\x2f\xff\0\0\0\0\0\0\0\0\x10\0", 16));
  EXPECT_EQ(Chosen(next->bytes, "linux,usable-memory-range"),
            std::string("\0\0\0\x01\x20\0\0\0\0\0\0\0\x10\0\0\0"
                        "\0\0\0\0\xf0\0\0\0\0\0\0\0\x08\0\0\0",
                        32));
  // The root's cells are what the kernel reads it by.
  options.elf_core_header->start = {0x4fff'0000};
  options.usable_memory = {{{0x4000'0000}, 0x1000'0000}};
  const Tree small = Compile("/ { #address-cells = <1>; #size-cells = <1>; chosen {}; };");
  const auto narrow = BuildNextTree(small, options);
  ASSERT_TRUE(narrow) << narrow.error().message;
  EXPECT_EQ(Chosen(narrow->bytes, "linux,elfcorehdr"), std::string("\x4f\xff\0\0\0\0\x10\0", 8));
  options.usable_memory = {{{0x1'4000'0000}, 0x1000'0000}};
  const auto refused = BuildNextTree(small, options);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ExitCode::kBadDeviceTree);
}

TEST(NextTree, SetsWhatTheNextKernelNeeds) {
  const auto blob = QemuBlob("gic-version=3");
  const auto next = BuildNextTree(*Tree::Parse(blob, "qemu"), SomeOptions());
  ASSERT_TRUE(next) << next.error().message;
  ASSERT_EQ(fdt_check_full(next->bytes.data(), next->bytes.size()), 0);
  EXPECT_EQ(fdt_totalsize(next->bytes.data()), next->bytes.size());
  EXPECT_LT(next->bytes.size(), blob.size());
  EXPECT_EQ(Chosen(next->bytes, "bootargs"), std::string("console=ttyAMA0 root=/dev/vda1\0", 31));
  EXPECT_EQ(Chosen(next->bytes, "linux,initrd-start"), std::string("\0\0\0\x01\x48\0\0\0", 8));
  EXPECT_EQ(Chosen(next->bytes, "linux,initrd-end"), std::string("\0\0\0\x01\x48\x20\0\x01", 8));
  EXPECT_EQ(Chosen(next->bytes, "kaslr-seed"), "\x11\x22\x33\x44\x55\x66\x77\x88");
  EXPECT_EQ(Chosen(next->bytes, "rng-seed"), std::string(64, '\xa5'));
  EXPECT_EQ(Chosen(next->bytes, "linux,booted-from-kexec"), "");
  EXPECT_EQ(Chosen(next->bytes, "khop,route"), std::string("in-place\0", 9));
  EXPECT_EQ(Chosen(next->bytes, "khop,from"), std::string("6.1.0-56-arm64\0", 15));
  EXPECT_EQ(Chosen(next->bytes, "khop,timeline"), std::string(handoff::kTimelineSize, '\0'));
  EXPECT_EQ(Chosen(next->bytes, "stdout-path"), Chosen(blob, "stdout-path"));
  EXPECT_EQ(Contents(next->bytes), Contents(blob));
  EXPECT_EQ(fdt_boot_cpuid_phys(next->bytes.data()), fdt_boot_cpuid_phys(blob.data()));
}

TEST(NextTree, DropsWhatIsStale) {
  const auto next = BuildNextTree(Compile(kUsed), SomeOptions());
  ASSERT_TRUE(next) << next.error().message;
  const Tree tree = Tree::Parse(next->bytes, "next").value();
  std::vector<std::string> names;
  for (const Property& p : tree.nodes()[*tree.FindNode("/chosen")].properties) {
    names.emplace_back(p.name);
  }
  EXPECT_THAT(names, UnorderedElementsAre("stdout-path", "linux,uefi-system-table", "bootargs",
                                          "linux,initrd-start", "linux,initrd-end", "kaslr-seed",
                                          "rng-seed", "linux,booted-from-kexec", "khop,route",
                                          "khop,from", "khop,timeline"));
  EXPECT_THAT(tree.memory_reservations(), ElementsAre(PhysRange{{0x47000000}, 0x10000}));
}

TEST(NextTree, WithoutInitrdAndSeedsTheOldOnesAreGone) {
  NextTreeOptions options;
  options.timeline = false;
  const auto next = BuildNextTree(Compile(kUsed), options);
  ASSERT_TRUE(next);
  EXPECT_EQ(next->timeline_offset, 0u);
  const Tree tree = Tree::Parse(next->bytes, "next").value();
  std::vector<std::string> names;
  for (const Property& p : tree.nodes()[*tree.FindNode("/chosen")].properties) {
    names.emplace_back(p.name);
  }
  EXPECT_THAT(names, ElementsAre("stdout-path", "linux,uefi-system-table", "bootargs",
                                 "linux,booted-from-kexec"));
  EXPECT_EQ(Chosen(next->bytes, "bootargs"), std::string("\0", 1));
}

TEST(NextTree, SaysWhatItChanges) {
  const auto next = BuildNextTree(Compile(kUsed), SomeOptions());
  ASSERT_TRUE(next);
  const auto has = [&](ChangeKind kind, const char* path, const char* detail) {
    EXPECT_THAT(next->changes, Contains(Change{kind, path, detail}));
  };
  has(ChangeKind::kChanged, "/chosen/bootargs", "\"console=ttyAMA0 root=/dev/vda1\"");
  has(ChangeKind::kChanged, "/chosen/kaslr-seed", "fresh");
  has(ChangeKind::kAdded, "/chosen/rng-seed", "fresh");
  has(ChangeKind::kChanged, "/chosen/linux,initrd-start", "0x148000000");
  has(ChangeKind::kAdded, "/chosen/linux,booted-from-kexec", "");
  has(ChangeKind::kChanged, "/chosen/khop,timeline", "to be filled in by the relocator");
  has(ChangeKind::kRemoved, "/chosen/linux,elfcorehdr", "of a crash kernel");
  has(ChangeKind::kRemoved, "/chosen/linux,kho-whatever", "of an earlier kernel");
  has(ChangeKind::kRemoved, "/chosen/khop,elder", "of the last hop");
  has(ChangeKind::kRemoved, "/memreserve/ 0x48000000 0x1235000", "of the running kernel");
  has(ChangeKind::kRemoved, "/memreserve/ 0x47000000 0x10000", "a duplicate");
  EXPECT_EQ(next->changes.size(), 19u);

  // A second time with the same contents only the seeds are news.
  const auto again = BuildNextTree(*Tree::Parse(next->bytes, "next"), SomeOptions());
  ASSERT_TRUE(again);
  EXPECT_THAT(again->changes,
              UnorderedElementsAre(Change{ChangeKind::kChanged, "/chosen/kaslr-seed", "fresh"},
                                   Change{ChangeKind::kChanged, "/chosen/rng-seed", "fresh"}));
}

TEST(NextTree, TimelineIsAlignedWhateverStandsBeforeIt) {
  const Tree tree = Compile(kUsed);
  std::map<size_t, int> starts;
  std::map<size_t, size_t> sizes;
  for (size_t length = 0; length < 64; ++length) {
    NextTreeOptions options = SomeOptions();
    options.command_line.assign(length, 'x');
    const auto next = BuildNextTree(tree, options);
    ASSERT_TRUE(next);
    const int chosen = fdt_path_offset(next->bytes.data(), "/chosen");
    const auto* value = static_cast<const std::byte*>(
        fdt_getprop(next->bytes.data(), chosen, "khop,timeline", nullptr));
    ASSERT_NE(value, nullptr);
    EXPECT_EQ(value, next->bytes.data() + next->timeline_offset);
    EXPECT_EQ(next->timeline_offset % 8, 0u);
    ++starts[fdt_off_dt_struct(next->bytes.data()) % 8];
    // The size depends on the length in cells and on nothing else.
    const auto known = sizes.emplace((length + 1 + 3) / 4, next->bytes.size()).first;
    EXPECT_EQ(known->second, next->bytes.size());
  }
  EXPECT_EQ(starts.size(), 2u) << "both positions of the structure block were tried";
}

TEST(NextTree, MakesChosenWhereThereIsNone) {
  const auto next = BuildNextTree(Compile("/ { a { b { }; }; };"), SomeOptions());
  ASSERT_TRUE(next);
  ASSERT_EQ(fdt_check_full(next->bytes.data(), next->bytes.size()), 0);
  EXPECT_EQ(Chosen(next->bytes, "khop,route"), std::string("in-place\0", 9));
  EXPECT_GE(fdt_path_offset(next->bytes.data(), "/a/b"), 0);
  EXPECT_EQ(next->timeline_offset % 8, 0u);
}

TEST(NextTree, AddsReservationsOnce) {
  NextTreeOptions options;
  options.extra_reservations = {{{0x47000000}, 0x10000}, {{0x50000000}, 0x10000}, {{0x1000}, 0}};
  const auto next = BuildNextTree(Compile(kUsed), options);
  ASSERT_TRUE(next);
  const Tree tree = Tree::Parse(next->bytes, "next").value();
  EXPECT_THAT(tree.memory_reservations(),
              ElementsAre(PhysRange{{0x47000000}, 0x10000}, PhysRange{{0x50000000}, 0x10000}));
  EXPECT_THAT(next->changes,
              Contains(Change{ChangeKind::kAdded, "/memreserve/ 0x50000000 0x10000", ""}));
}

TEST(NextTree, ReservationOfAnotherRangeAtTheInitrdsStartStays) {
  const auto next = BuildNextTree(Compile(R"(
/memreserve/ 0x48000000 0x800;
/memreserve/ 0x48000000 0x100000;
/ { chosen { linux,initrd-start = <0x48000000>; linux,initrd-end = <0x48001000>; }; };
)"),
                                  {});
  ASSERT_TRUE(next);
  const Tree tree = Tree::Parse(next->bytes, "next").value();
  EXPECT_THAT(tree.memory_reservations(),
              ElementsAre(PhysRange{{0x48000000}, 0x800}, PhysRange{{0x48000000}, 0x100000}));
}

TEST(NextTree, RefusesWhatTheKernelWouldCutOff) {
  const Tree tree = Compile("/ { };");
  NextTreeOptions options;
  options.command_line.assign(kMaxCommandLine, 'x');
  EXPECT_TRUE(BuildNextTree(tree, options));
  options.command_line += 'x';
  const auto next = BuildNextTree(tree, options);
  ASSERT_FALSE(next);
  EXPECT_EQ(next.error().code, ExitCode::kCommandLineTooLong);
  EXPECT_EQ(next.error().message,
            "command line: it has 2048 bytes and arm64 kernels take 2047; shorten it");
  options.command_line = std::string("a\0b", 3);
  EXPECT_EQ(BuildNextTree(tree, options).error().code, ExitCode::kUsage);
}

TEST(NextTree, RefusesToGrowOverTheLimit) {
  const Tree tree = Compile("/ { };");
  NextTreeOptions options;
  options.rng_seed.resize(kMaxTreeSize);
  const auto next = BuildNextTree(tree, options);
  ASSERT_FALSE(next);
  EXPECT_EQ(next.error().code, ExitCode::kBadDeviceTree);
}

TEST(NextTree, WhatWasWrittenCanBeRead) {
  const auto next = BuildNextTree(Compile(kUsed), SomeOptions());
  ASSERT_TRUE(next);
  const Tree tree = Tree::Parse(next->bytes, "next").value();
  EXPECT_EQ(ReadTimeline(tree), std::vector<std::byte>(handoff::kTimelineSize));
  EXPECT_EQ(ReadChosenString(tree, "khop,from"), "6.1.0-56-arm64");
  EXPECT_EQ(ReadChosenString(tree, "khop,nothing"), "");
}

}  // namespace
}  // namespace khop::devicetree
