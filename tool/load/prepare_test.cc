// SPDX-License-Identifier: MIT
#include "tool/load/prepare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <libfdt.h>

#include "tool/devicetree/edit.h"
#include "tool/load/test_machine.h"

namespace khop::load {
namespace {

TEST(CommandLineTest, WithoutBootImage) {
  EXPECT_EQ(WithoutBootImage("BOOT_IMAGE=/vmlinuz root=/dev/vda1 ro initrd=/x quiet\n"),
            "root=/dev/vda1 ro quiet");
  EXPECT_EQ(WithoutBootImage(""), "");
  EXPECT_EQ(WithoutBootImage("BOOT_IMAGE=x"), "");
  EXPECT_EQ(WithoutBootImage("a=\"b  c\"  d"), "a=\"b  c\" d");
  EXPECT_EQ(WithoutBootImage("NOT_BOOT_IMAGE=1"), "NOT_BOOT_IMAGE=1");
}

TEST(CommandLineTest, Options) {
  TestMachine machine;
  LoadOptions options = machine.Options();
  EXPECT_EQ(CommandLine(machine.system, options).value(), "console=ttyAMA0");
  options.append = "more";
  EXPECT_EQ(CommandLine(machine.system, options).value(), "console=ttyAMA0 more");
  options.command_line.reset();
  EXPECT_EQ(CommandLine(machine.system, options).value(), "more");
  machine.system.SetFile("/proc/cmdline", "BOOT_IMAGE=/v a b\n");
  options.reuse_command_line = true;
  EXPECT_EQ(CommandLine(machine.system, options).value(), "a b more");
}

TEST(PrepareTest, AddressSizesAndConsole) {
  TestMachine machine;
  auto prepared = Prepare(machine.system, machine.Options());
  ASSERT_TRUE(prepared) << prepared.error().message;
  EXPECT_EQ(prepared->pa_bits, 32U);
  EXPECT_EQ(prepared->granule_shift, 12U);
  EXPECT_EQ(prepared->last_words.uart_base, 0x9000000U);
  EXPECT_EQ(prepared->last_words.conduit, relocator::PsciConduit::kHvc);
  EXPECT_EQ(prepared->console, "pl011 at 0x9000000");

  machine.system.SetFile("/proc/iomem", "40000000-17fffffff : System RAM\n");
  EXPECT_EQ(Prepare(machine.system, machine.Options())->pa_bits, 36U);
  machine.system.SetFile("/proc/iomem", "40000000-1000000001fff : System RAM\n");
  EXPECT_EQ(Prepare(machine.system, machine.Options()).error().code, ExitCode::kUnsupportedMachine);
}

// Memory that was added after boot is System RAM too, but the next kernel will not know of it.
TEST(PrepareTest, OnlyMemoryOfTheNextTree) {
  TestMachine machine;
  machine.system.SetFile("/sys/firmware/fdt", TestTree(0x10000000));
  const auto prepared = Prepare(machine.system, machine.Options());
  ASSERT_TRUE(prepared) << prepared.error().message;
  EXPECT_TRUE(prepared->map.IsPlain({PhysAddr{0x4fe00000}, 0x200000}));
  EXPECT_FALSE(prepared->map.IsPlain({PhysAddr{0x50000000}, 0x200000}));
}

TEST(PrepareTest, AUartThatIsNoConsoleStaysSilent) {
  TestMachine machine;
  machine.system.SetFile("/proc/consoles", "tty0 -WU (EC p ) 4:1\n");
  const auto prepared = Prepare(machine.system, machine.Options());
  ASSERT_TRUE(prepared);
  EXPECT_EQ(prepared->last_words.uart_kind, relocator::UartKind::kNone);
  EXPECT_EQ(prepared->notes.size(), 1U);
}

// The first initrd's place is memory like any other, but for the pages that it shares.
TEST(PrepareTest, TheFirstInitrdsPlaceIsUsable) {
  TestMachine machine;
  machine.system.SetFile("/proc/iomem",
                         "40000000-7fffffff : System RAM\n"
                         "  40200000-4082ffff : Kernel code\n"
                         "  48000000-48ffffff : reserved\n"
                         "  4a000000-4a00ffff : reserved\n");
  const auto tree = [](uint64_t start, uint64_t end) {
    std::string blob = TestTreeWithIts("bootargs");
    const int chosen = fdt_path_offset(blob.data(), "/chosen");
    fdt_setprop_u64(blob.data(), chosen, "linux,initrd-start", start);
    fdt_setprop_u64(blob.data(), chosen, "linux,initrd-end", end);
    return blob;
  };
  const auto plain = [&](const std::string& blob) {
    machine.system.SetFile("/sys/firmware/fdt", blob);
    const auto parsed = devicetree::Tree::Parse(std::as_bytes(std::span(blob)), "tree");
    return ReadUsableMemory(machine.system, *parsed)->plain;
  };
  const PhysRange below{{0x40000000}, 0x200000};
  const PhysRange above{{0x4a010000}, 0x35ff0000};
  EXPECT_THAT(plain(tree(0x48000000, 0x49000000)),
              testing::ElementsAre(below, PhysRange{{0x40830000}, 0x97d0000}, above));
  EXPECT_THAT(plain(tree(0x48000800, 0x48fff800)),
              testing::ElementsAre(below, PhysRange{{0x40830000}, 0x77d0000},
                                   PhysRange{{0x48001000}, 0xffe000},
                                   PhysRange{{0x49000000}, 0x1000000}, above));
  // Nothing of it is RAM, or it is nonsense.
  const std::vector<PhysRange> without = plain(TestTreeWithIts("bootargs"));
  EXPECT_EQ(plain(tree(0x90000000, 0x91000000)), without);
  EXPECT_EQ(plain(tree(0x48000000, 0x48000000)), without);
  EXPECT_EQ(plain(tree(UINT64_MAX - 10, UINT64_MAX)), without);
  EXPECT_EQ(plain(tree(0x47fff800, 0x48000800)), without);
}

constexpr const char* kLpiLog =
    "6,0,0,-;GICv3: using LPI property table @0x000000007a000000\n"
    "6,1,0,-;GICv3: CPU0: using allocated LPI pending table @0x000000007a010000\n";

TEST(PrepareTest, TheGicKeepsItsTables) {
  const std::vector<PhysRange> tables = {{{0x7a000000}, 0x10000}, {{0x7a010000}, 0x10000}};
  TestMachine machine;
  machine.system.kernel_log = kLpiLog;
  machine.system.SetFile("/sys/firmware/fdt", TestTreeWithIts("bootargs"));
  const auto prepared = Prepare(machine.system, machine.Options());
  ASSERT_TRUE(prepared) << prepared.error().message;
  EXPECT_EQ(prepared->tree_options.extra_reservations, tables);
  EXPECT_THAT(prepared->forbidden, testing::IsSupersetOf(tables));
  EXPECT_THAT(prepared->notes, testing::IsEmpty());
  const auto plan = Load(machine.system, machine.Options(), NoProgress);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_THAT(plan->dtb_changes,
              testing::IsSupersetOf(std::vector<devicetree::Change>{
                  {devicetree::ChangeKind::kAdded, "/memreserve/ 0x7a000000 0x10000", ""},
                  {devicetree::ChangeKind::kAdded, "/memreserve/ 0x7a010000 0x10000", ""}}));
}

TEST(PrepareTest, SaysWhereTheGicsTablesAreUnknown) {
  TestMachine machine;
  machine.system.kernel_log = "6,900,0,-;late\n";
  machine.system.SetFile("/sys/firmware/fdt", TestTreeWithIts("bootargs"));
  auto prepared = Prepare(machine.system, machine.Options());
  ASSERT_TRUE(prepared);
  ASSERT_EQ(prepared->notes.size(), 1U);
  EXPECT_THAT(prepared->notes[0],
              testing::HasSubstr("the property table and the pending table of"));
  // An earlier hop has reserved them; UEFI does.
  for (const char* property : {"khop,from", "linux,uefi-system-table"}) {
    machine.system.SetFile("/sys/firmware/fdt", TestTreeWithIts(property));
    prepared = Prepare(machine.system, machine.Options());
    ASSERT_TRUE(prepared);
    EXPECT_THAT(prepared->notes, testing::IsEmpty()) << property;
  }
  EXPECT_THAT(prepared->tree_options.extra_reservations, testing::IsEmpty()) << "by UEFI";
  EXPECT_EQ(prepared->forbidden.size(), 2U) << "what the tree has";
}

// A tree of the user's has none of the entries that the hops before have made.
TEST(PrepareTest, TheGicsTablesAreKeptInAnotherTreeToo) {
  TestMachine machine;
  machine.system.kernel_log = "6,900,0,-;late\n";
  machine.system.SetFile("/sys/firmware/fdt", TestTreeWithIts("khop,from"));
  std::string other = TestTreeWithIts("bootargs");
  while (fdt_num_mem_rsv(other.data()) != 0) fdt_del_mem_rsv(other.data(), 0);
  const PhysRange memory[] = {{{0x40000000}, 0x40000000}};
  const auto with_memory = devicetree::WithMemory(std::as_bytes(std::span(other)), memory, "other");
  ASSERT_TRUE(with_memory);
  other.assign(reinterpret_cast<const char*>(with_memory->data()), with_memory->size());
  machine.system.SetFile("/boot/dtb", other);
  LoadOptions options = machine.Options();
  options.dtb = "/boot/dtb";
  const auto prepared = Prepare(machine.system, options);
  ASSERT_TRUE(prepared) << prepared.error().message;
  const std::vector<PhysRange> tables = {{{0x7b010000}, 0x10000}, {{0x7b000000}, 0x10000}};
  EXPECT_THAT(prepared->tree_options.extra_reservations,
              testing::UnorderedElementsAreArray(tables));
  EXPECT_THAT(prepared->notes, testing::IsEmpty());
}

TEST(PrepareTest, NoItsNoTables) {
  TestMachine machine;
  machine.system.kernel_log = kLpiLog;
  const auto prepared = Prepare(machine.system, machine.Options());
  ASSERT_TRUE(prepared);
  EXPECT_THAT(prepared->tree_options.extra_reservations, testing::IsEmpty());
  EXPECT_THAT(prepared->notes, testing::IsEmpty());
}

}  // namespace
}  // namespace khop::load
