// SPDX-License-Identifier: MIT
#include "tool/acpi/tables.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "tool/acpi/test_tables.h"

namespace khop::acpi {
namespace {

using relocator::PsciConduit;
using relocator::UartKind;
using testing::HasSubstr;

std::span<const std::byte> Bytes(const std::string& text) { return std::as_bytes(std::span(text)); }
auto Psci(const std::string& table) { return FindPsciConduit(Bytes(table), "FACP"); }
auto Uart(const std::string& table) { return FindConsole(Bytes(table), "SPCR"); }

TEST(FadtTest, Conduit) {
  EXPECT_EQ(Psci(TestFadt(1)), PsciConduit::kSmc);
  EXPECT_EQ(Psci(TestFadt(3)), PsciConduit::kHvc);
  // The parking protocol: HVC without PSCI means nothing.
  EXPECT_EQ(Psci(TestFadt(0)), PsciConduit::kNone);
  EXPECT_EQ(Psci(TestFadt(2)), PsciConduit::kNone);
  EXPECT_EQ(Psci(TestFadt(0xfffd)), PsciConduit::kSmc);
}

TEST(FadtTest, BytesAfterTheTableDoNotCount) {
  EXPECT_EQ(Psci(TestFadt(3) + "more"), PsciConduit::kHvc);
}

TEST(SpcrTest, Kinds) {
  for (const int type : {0x03, 0x0d, 0x0e}) {
    // What the address says of its width is nothing that a PL011 could be driven with otherwise.
    const auto console =
        Uart(TestSpcr({.type = static_cast<uint8_t>(type), .bit_width = 8, .access_size = 0}));
    ASSERT_TRUE(console && *console) << type;
    EXPECT_EQ((*console)->kind, UartKind::kPl011);
    EXPECT_EQ((*console)->base, 0x9000000U);
    EXPECT_EQ((*console)->io_width, 4);
    EXPECT_EQ((*console)->reg_shift, 0);
    EXPECT_EQ((*console)->source, "SPCR");
  }
  for (const int type : {0x00, 0x01, 0x12}) {
    const auto console = Uart(TestSpcr({.type = static_cast<uint8_t>(type)}));
    ASSERT_TRUE(console && *console) << type;
    EXPECT_EQ((*console)->kind, UartKind::k8250);
  }
  for (const int type : {0x02, 0x04, 0x05, 0x0f, 0x10, 0x11, 0x13, 0xff}) {
    const auto console = Uart(TestSpcr({.type = static_cast<uint8_t>(type)}));
    ASSERT_TRUE(console) << console.error().message;
    EXPECT_FALSE(*console) << type;
  }
}

TEST(SpcrTest, AccessOfA16550) {
  struct Case {
    uint8_t bit_width;
    uint8_t access_size;
    int reg_shift;  // -1: refused
    int io_width;
  };
  for (const Case& c : {Case{8, 1, 0, 1}, Case{8, 0, 0, 1}, Case{32, 3, 2, 4}, Case{32, 1, 2, 1},
                        Case{32, 0, 2, 1}, Case{16, 2, 1, 2}, Case{8, 3, 2, 4}, Case{8, 4, -1, 0},
                        Case{64, 4, -1, 0}, Case{0, 1, -1, 0}, Case{8, 200, -1, 0}}) {
    const auto console =
        Uart(TestSpcr({.type = 0, .bit_width = c.bit_width, .access_size = c.access_size}));
    ASSERT_TRUE(console) << console.error().message;
    ASSERT_EQ(console->has_value(), c.reg_shift >= 0) << int{c.bit_width} << int{c.access_size};
    if (!*console) continue;
    EXPECT_EQ((*console)->reg_shift, c.reg_shift);
    EXPECT_EQ((*console)->io_width, c.io_width);
  }
}

TEST(SpcrTest, NoMemoryNoConsole) {
  for (const TestPort& port : {TestPort{.space = 1}, TestPort{.bit_offset = 1},
                               TestPort{.address = 0}, TestPort{.address = 0x9000002}}) {
    const auto console = Uart(TestSpcr(port));
    ASSERT_TRUE(console) << console.error().message;
    EXPECT_FALSE(*console);
  }
}

TEST(TableTest, WhatIsWrongIsSaid) {
  const auto message = [](const std::string& table) {
    const auto conduit = Psci(table);
    EXPECT_FALSE(conduit);
    if (conduit) return std::string();
    EXPECT_EQ(conduit.error().code, ExitCode::kUnsupportedMachine);
    EXPECT_EQ(conduit.error().message.find('\n'), std::string::npos);
    return conduit.error().message;
  };
  EXPECT_THAT(message(""), HasSubstr("FACP: it does not begin with \"FACP\""));
  EXPECT_THAT(message(TestSpcr({})), HasSubstr("does not begin"));
  std::string table = TestFadt(1);
  table[129] = 3;
  EXPECT_THAT(message(table), HasSubstr("checksum"));
  table = TestFadt(1).substr(0, 116);
  Seal(table);
  EXPECT_THAT(message(table), HasSubstr("too old"));
  table = TestFadt(1).substr(0, 20);
  Seal(table);
  EXPECT_THAT(message(table), HasSubstr("shorter than its head"));
}

TEST(TableTest, NoPrefixIsATable) {
  for (const std::string& table : {TestFadt(1), TestSpcr({})}) {
    for (size_t size = 0; size < table.size(); ++size) {
      EXPECT_FALSE(Psci(table.substr(0, size))) << size;
      EXPECT_FALSE(Uart(table.substr(0, size))) << size;
    }
  }
}

TEST(TableTest, EveryFlippedBitIsNoticed) {
  const std::string fadt = TestFadt(1);
  const std::string spcr = TestSpcr({});
  for (size_t bit = 0; bit < 8 * spcr.size(); ++bit) {
    for (std::string table : {fadt, spcr}) {
      table[bit / 8] = static_cast<char>(static_cast<uint8_t>(table[bit / 8]) ^ 1U << bit % 8);
      EXPECT_FALSE(Psci(table)) << bit;
      EXPECT_FALSE(Uart(table)) << bit;
    }
  }
}

// Any bytes behind a right checksum give an answer that the relocator can work with, or none.
TEST(TableTest, RandomTables) {
  std::mt19937 random(20261123);
  for (int round = 0; round < 20'000; ++round) {
    std::string table(8 + random() % 300, '\0');
    for (char& c : table) c = static_cast<char>(random());
    memcpy(table.data(), round % 2 == 0 ? "FACP" : "SPCR", 4);
    if (table.size() > 9 && round % 4 < 3) Seal(table);
    (void)Psci(table);
    const auto console = Uart(table);
    if (!console || !*console) continue;
    EXPECT_NE((*console)->base, 0U);
    EXPECT_EQ((*console)->base % (*console)->io_width, 0U);
    EXPECT_LE((*console)->io_width, 4);
    EXPECT_LE(((*console)->io_width - 1) >> (*console)->reg_shift,
              (*console)->kind == UartKind::k8250 ? 0 : 3);
  }
}

}  // namespace
}  // namespace khop::acpi
