// SPDX-License-Identifier: MIT
#include "tool/load/prepare.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace khop::load
