// SPDX-License-Identifier: MIT
#include "tool/devicetree/machine.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tool/devicetree/test_tree.h"

namespace khop::devicetree {
namespace {

using relocator::PsciConduit;
using relocator::UartKind;
using testing::ElementsAre;
using testing::IsEmpty;

TEST(Qemu, VirtMachine) {
  const auto tree = Tree::Parse(QemuBlob("gic-version=3"), "qemu");
  ASSERT_TRUE(tree) << tree.error().message;
  const auto console = FindConsole(*tree, "console=ttyAMA0");
  ASSERT_TRUE(console);
  EXPECT_EQ(console->kind, UartKind::kPl011);
  EXPECT_EQ(console->base, 0x9000000u);
  EXPECT_EQ(console->source, "/pl011@9000000");
  EXPECT_EQ(FindPsciConduit(*tree), PsciConduit::kHvc);
  EXPECT_FALSE(UsesSpinTable(*tree));
  EXPECT_THAT(MemoryRanges(*tree).value(), ElementsAre(PhysRange{{0x40000000}, 0x40000000}));
  EXPECT_THAT(ReservedRanges(*tree).value(), IsEmpty());
  EXPECT_EQ(ReadTimeline(*tree), std::nullopt);
}

TEST(Qemu, WithEl2TheConduitIsSmc) {
  const auto tree = Tree::Parse(QemuBlob("gic-version=2,virtualization=on"), "qemu");
  ASSERT_TRUE(tree);
  EXPECT_EQ(FindPsciConduit(*tree), PsciConduit::kSmc);
}

TEST(Qemu, Its) {
  EXPECT_TRUE(HasIts(*Tree::Parse(QemuBlob("gic-version=3"), "qemu")));
  EXPECT_FALSE(HasIts(*Tree::Parse(QemuBlob("gic-version=3,its=off"), "qemu")));
  EXPECT_FALSE(HasIts(*Tree::Parse(QemuBlob("gic-version=2"), "qemu")));
  EXPECT_FALSE(HasIts(
      Compile(R"(/ { gic { status = "disabled"; its { compatible = "arm,gic-v3-its"; }; }; };)")));
}

TEST(Uefi, TellsInChosen) {
  EXPECT_TRUE(BootedByUefi(Compile("/ { chosen { linux,uefi-system-table = <0 1>; }; };")));
  EXPECT_FALSE(BootedByUefi(Compile("/ { chosen { }; };")));
  EXPECT_FALSE(BootedByUefi(Compile("/ { };")));
}

struct EarlyconCase {
  const char* command_line;
  UartKind kind;
  uint64_t base;
  int shift;
  int width;
};

TEST(Earlycon, Forms) {
  const EarlyconCase cases[] = {
      {"earlycon=pl011,0x9000000", UartKind::kPl011, 0x9000000, 0, 4},
      {"quiet earlycon=pl011,mmio32,0x9000000,115200n8 x", UartKind::kPl011, 0x9000000, 0, 4},
      {"earlycon=uart8250,mmio32,0xfe215040", UartKind::k8250, 0xfe215040, 2, 4},
      {"earlycon=uart8250,mmio16,0x1000", UartKind::k8250, 0x1000, 1, 2},
      {"earlycon=uart8250,mmio,4096", UartKind::k8250, 4096, 0, 1},
      {"earlycon=uart,mmio,0x1001", UartKind::k8250, 0x1001, 0, 1},
      {"earlycon=uart8250,0x3f8,9600", UartKind::k8250, 0x3f8, 0, 1},
      {"console=uart8250,mmio32,0x9000", UartKind::k8250, 0x9000, 2, 4},
      {"earlycon=meson,0x1000 earlycon=pl011,0x2000 earlycon=pl011,0x3000", UartKind::kPl011,
       0x2000, 0, 4},
      {"a=\"b earlycon=pl011,0x1000\" earlycon=pl011,0x2000", UartKind::kPl011, 0x2000, 0, 4},
      {"earlycon=uart8250,mmio,010", UartKind::k8250, 8, 0, 1},
      {"earlycon=pl011,0xffffffffffff0000", UartKind::kPl011, 0xffffffffffff0000, 0, 4},
  };
  for (const EarlyconCase& c : cases) {
    const auto console = ConsoleFromCommandLine(c.command_line);
    ASSERT_TRUE(console) << c.command_line;
    EXPECT_EQ(console->kind, c.kind) << c.command_line;
    EXPECT_EQ(console->base, c.base) << c.command_line;
    EXPECT_EQ(console->reg_shift, c.shift) << c.command_line;
    EXPECT_EQ(console->io_width, c.width) << c.command_line;
  }
}

TEST(Earlycon, NotForUs) {
  for (const char* line : {"",
                           "earlycon",
                           "earlycon=",
                           "earlycon=pl011",
                           "earlycon=pl011,",
                           "earlycon=pl011,9000000",
                           "earlycon=uart8250,io,0x3f8",
                           "earlycon=uart8250,mmio32be,0x1000",
                           "earlycon=pl011,0x0",
                           "earlycon=pl011,0x9000001",
                           "earlycon=pl011,0x",
                           "earlycon=pl011,0x90z",
                           "earlycon=pl011,0x10000000000000000",
                           "earlycon=uart8250,mmio32,0x1001",
                           "earlycon=uart8250,mmio,08",
                           "console=ttyS0,115200",
                           "-- earlycon=pl011,0x9000000",
                           "xearlycon=pl011,0x9000000",
                           "earlycon=meson,0x1000",
                           "earlycon=pl011,-1"}) {
    EXPECT_FALSE(ConsoleFromCommandLine(line)) << line;
  }
}

// A tree with `uart` as the body of a UART below two buses, each of which moves addresses.
std::string BehindBuses(const std::string& uart, const std::string& more = "") {
  return R"(/ { #address-cells = <2>; #size-cells = <2>;
    aliases { serial3 = "/soc/bus@1000/serial@200"; };
    chosen { stdout-path = "serial3:115200n8"; };
    soc { #address-cells = <1>; #size-cells = <1>;
      ranges = <0 0xf 0xf0000000 0x10000  0x80000000 0x1 0 0x1000000>;
      )" +
         more + R"(
      bus@1000 { #address-cells = <2>; #size-cells = <1>; ranges = <0x7 0 0x80001000 0x1000>;
        serial@200 { reg = <0x7 0x200 0x100>; )" +
         uart + " }; }; }; };";
}

TEST(StdoutPath, AddressGoesThroughAllBuses) {
  const Tree tree = Compile(BehindBuses("compatible = \"arm,pl011\", \"arm,primecell\";"));
  const auto console = FindConsole(tree, "earlycon");
  ASSERT_TRUE(console);
  EXPECT_EQ(console->kind, UartKind::kPl011);
  EXPECT_EQ(console->base, 0x1'0000'1200u);
  EXPECT_EQ(console->source, "/soc/bus@1000/serial@200");
  relocator::LastWords words = {};
  words.conduit = PsciConduit::kHvc;
  console->CopyTo(words);
  EXPECT_EQ(words.uart_base, 0x1'0000'1200u);
  EXPECT_EQ(words.uart_kind, UartKind::kPl011);
  EXPECT_EQ(words.conduit, PsciConduit::kHvc);
}

TEST(StdoutPath, EarlyconComesFirst) {
  const Tree tree = Compile(BehindBuses("compatible = \"arm,pl011\";"));
  EXPECT_EQ(FindConsole(tree, "earlycon=pl011,0x4000")->base, 0x4000u);
}

TEST(StdoutPath, RegisterLayoutOf8250) {
  const Tree tree =
      Compile(BehindBuses("compatible = \"snps,dw-apb-uart\"; reg-shift = <2>; reg-io-width = <4>; "
                          "reg-offset = <64>;"));
  const auto console = FindConsole(tree, "");
  ASSERT_TRUE(console);
  EXPECT_EQ(console->kind, UartKind::k8250);
  EXPECT_EQ(console->base, 0x1'0000'1240u);
  EXPECT_EQ(console->reg_shift, 2);
  EXPECT_EQ(console->io_width, 4);
  const auto plain = FindConsole(Compile(BehindBuses("compatible = \"ns16550a\";")), "");
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->reg_shift, 0);
  EXPECT_EQ(plain->io_width, 1);
}

TEST(StdoutPath, NotForUs) {
  const std::string pl011 = "compatible = \"arm,pl011\"; ";
  const std::string ns = "compatible = \"ns16550a\"; ";
  const std::string sources[] = {
      BehindBuses("compatible = \"amlogic,meson-uart\";"),
      BehindBuses(pl011 + "status = \"disabled\";"),
      BehindBuses(pl011, "status = \"disabled\";"),
      BehindBuses(ns + "big-endian;"),
      BehindBuses(ns + "reg-io-width = <3>;"),
      BehindBuses(ns + "reg-shift = <200>;"),
      BehindBuses(ns + "reg-shift = <4>; reg-offset = <0xf0>;"),
      BehindBuses(ns + "reg-io-width = <4>; reg-offset = <2>;"),
      "/ { chosen { stdout-path = \"/nowhere\"; }; };",
      "/ { chosen { stdout-path = \"serial0\"; }; };",
      "/ { chosen { }; };",
      "/ { };",
      // A bus without ranges is not memory-mapped; an address outside of them neither.
      "/ { #address-cells = <1>; #size-cells = <1>; chosen { stdout-path = \"/i2c/u@1\"; };"
      " i2c { #address-cells = <1>; #size-cells = <1>; u@1 { reg = <1 1>; compatible = "
      "\"arm,pl011\"; }; }; };",
      "/ { #address-cells = <1>; #size-cells = <1>; chosen { stdout-path = \"/b/u@1\"; };"
      " b { #address-cells = <1>; #size-cells = <1>; ranges = <0x1000 0x1000 0x1000>; u@1 { reg = "
      "<0x1f00 0x200>; compatible = \"arm,pl011\"; }; }; };",
      "/ { #address-cells = <3>; #size-cells = <2>; chosen { stdout-path = \"/u@1\"; };"
      " u@1 { reg = <0 0 0x1000 0 0x1000>; compatible = \"arm,pl011\"; }; };",
  };
  for (const std::string& source : sources) {
    EXPECT_FALSE(FindConsole(Compile(source), "")) << source;
  }
}

TEST(TranslateReg, EmptyRangesChangeNothingAndDefaultsAreTwoAndOne) {
  const Tree tree =
      Compile("/ { soc { ranges; dev@1 { reg = <0x1 0x2000 0x300  0 0x5000 0>; }; }; };");
  EXPECT_EQ(TranslateReg(tree, *tree.FindNode("/soc/dev@1")),
            (std::vector<PhysRange>{{{0x1'0000'2000}, 0x300}}));
}

TEST(Psci, Versions) {
  const auto conduit = [](const std::string& body) {
    return FindPsciConduit(Compile("/ { psci { " + body + " }; };"));
  };
  EXPECT_EQ(conduit("compatible = \"arm,psci-1.0\", \"arm,psci-0.2\"; method = \"smc\";"),
            PsciConduit::kSmc);
  EXPECT_EQ(conduit("compatible = \"arm,psci-0.2\"; method = \"hvc\";"), PsciConduit::kHvc);
  EXPECT_EQ(conduit("compatible = \"arm,psci\"; method = \"smc\";"), PsciConduit::kNone);
  EXPECT_EQ(conduit("compatible = \"arm,psci-1.0\"; method = \"fax\";"), PsciConduit::kNone);
  EXPECT_EQ(conduit("compatible = \"arm,psci-1.0\";"), PsciConduit::kNone);
  EXPECT_EQ(conduit("compatible = \"arm,psci-1.0\"; method = \"smc\"; status = \"disabled\";"),
            PsciConduit::kNone);
}

TEST(SpinTable, AnyCpuCounts) {
  EXPECT_TRUE(
      UsesSpinTable(Compile("/ { cpus { cpu@0 { enable-method = \"psci\"; }; cpu@1 { "
                            "enable-method = \"spin-table\"; }; }; };")));
  EXPECT_FALSE(UsesSpinTable(Compile("/ { cpus { cpu@0 { enable-method = \"psci\"; }; }; };")));
  EXPECT_FALSE(UsesSpinTable(Compile("/ { };")));
}

TEST(Ranges, MemoryAndReservations) {
  const Tree tree = Compile(R"(
/memreserve/ 0x48000000 0x1000;
/ { #address-cells = <2>; #size-cells = <2>;
    memory@40000000 { device_type = "memory"; reg = <0 0x40000000 0 0x40000000  1 0 1 0>; };
    memory@900000000 { device_type = "memory"; reg = <9 0 0 0x1000>; status = "disabled"; };
    reserved-memory { #address-cells = <2>; #size-cells = <2>; ranges;
      fw@50000000 { reg = <0 0x50000000 0 0x200000>; no-map; };
      cma { size = <0 0x1000000>; reusable; };
      ramoops@51000000 { reg = <0 0x51000000 0 0x10000>; };
      off@52000000 { reg = <0 0x52000000 0 0x10000>; status = "disabled"; }; }; };
)");
  EXPECT_THAT(MemoryRanges(tree).value(), ElementsAre(PhysRange{{0x40000000}, 0x40000000},
                                                      PhysRange{{0x1'0000'0000}, 0x1'0000'0000}));
  const auto reserved = ReservedRanges(tree).value();
  ASSERT_EQ(reserved.size(), 3u);
  EXPECT_EQ(reserved[0].range, (PhysRange{{0x48000000}, 0x1000}));
  EXPECT_EQ(reserved[0].name, "/memreserve/");
  EXPECT_EQ(reserved[1].name, "fw@50000000");
  EXPECT_TRUE(reserved[1].no_map);
  EXPECT_EQ(reserved[2].range, (PhysRange{{0x51000000}, 0x10000}));
  EXPECT_FALSE(reserved[2].no_map);
}

TEST(Ranges, WhatCannotBeUnderstoodIsAnError) {
  const Tree odd = Compile(
      "/ { #address-cells = <2>; #size-cells = <2>; reserved-memory { #address-cells = <2>; "
      "#size-cells = <2>; ranges; fw@1 { reg = <0 1 0>; }; }; memory@1 { device_type = "
      "\"memory\"; reg = <0xffffffff 0xffffffff 0 2>; }; };");
  const auto reserved = ReservedRanges(odd);
  ASSERT_FALSE(reserved);
  EXPECT_EQ(reserved.error().code, ExitCode::kBadDeviceTree);
  EXPECT_EQ(reserved.error().message,
            "test: /reserved-memory/fw@1 has an address that cannot be understood; "
            "please report this tree");
  EXPECT_FALSE(MemoryRanges(odd)) << "wraps around";
}

}  // namespace
}  // namespace khop::devicetree
