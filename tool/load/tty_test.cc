// SPDX-License-Identifier: MIT
#include "tool/load/tty.h"

#include <gtest/gtest.h>

#include "tool/load/test_machine.h"

namespace khop::load {
namespace {

using relocator::UartKind;

class TtyTest : public testing::Test {
 protected:
  void SetTty(const std::string& name, const std::string& type, const std::string& base,
              const std::string& io_type = "2", const std::string& shift = "0") {
    const std::string directory = "/sys/class/tty/" + name + "/";
    machine_.system.SetFile(directory + "type", type + "\n");
    machine_.system.SetFile(directory + "iomem_base", base + "\n");
    machine_.system.SetFile(directory + "io_type", io_type + "\n");
    machine_.system.SetFile(directory + "iomem_reg_shift", shift + "\n");
  }

  TestMachine machine_;
};

TEST_F(TtyTest, KindsOfUarts) {
  SetTty("ttyAMA1", "32", "0x9040000");
  const auto pl011 = UartOfTty(machine_.system, "ttyAMA1");
  ASSERT_TRUE(pl011) << pl011.error().message;
  EXPECT_EQ(pl011->kind, UartKind::kPl011);
  EXPECT_EQ(pl011->base, 0x9040000);
  EXPECT_EQ(pl011->io_width, 4);

  SetTty("ttyS0", "4", "0xFE215040", "3", "2");
  const auto ns16550 = UartOfTty(machine_.system, "ttyS0");
  ASSERT_TRUE(ns16550) << ns16550.error().message;
  EXPECT_EQ(ns16550->kind, UartKind::k8250);
  EXPECT_EQ(ns16550->base, 0xfe215040);
  EXPECT_EQ(ns16550->io_width, 4);
  EXPECT_EQ(ns16550->reg_shift, 2);
}

TEST_F(TtyTest, Refusals) {
  SetTty("ttyS1", "4", "0x0", "0");        // ports
  SetTty("ttyS2", "0", "0x9000000");       // nothing there
  SetTty("ttyS3", "4", "0x9000002", "3");  // not aligned
  SetTty("ttyS4", "4", "0x9000000", "6");  // big-endian
  SetTty("ttyS5", "4", "0x9000000", "2", "9");
  for (const char* const tty :
       {"", "ttyNONE", "../tty/ttyS0", "ttyS1", "ttyS2", "ttyS3", "ttyS4", "ttyS5"}) {
    const auto console = UartOfTty(machine_.system, tty);
    ASSERT_FALSE(console) << tty;
    EXPECT_EQ(console.error().code, ExitCode::kUsage) << tty;
  }
}

TEST_F(TtyTest, LastWordsGoThere) {
  SetTty("ttyAMA1", "32", "0x9040000");
  LoadOptions options = machine_.Options();
  options.console_tty = "ttyAMA1";
  const auto prepared = Prepare(machine_.system, options);
  ASSERT_TRUE(prepared) << prepared.error().message;
  EXPECT_EQ(prepared->last_words.uart_base, 0x9040000);
  EXPECT_EQ(prepared->console, "pl011 at 0x9040000");
  options.console_tty = "ttyNONE";
  EXPECT_EQ(Prepare(machine_.system, options).error().code, ExitCode::kUsage);
}

}  // namespace
}  // namespace khop::load
