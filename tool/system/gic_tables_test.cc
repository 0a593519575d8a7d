// SPDX-License-Identifier: MIT
#include "tool/system/gic_tables.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tool/system/fake_system.h"

namespace khop::system {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

constexpr const char* kOnline = "/sys/devices/system/cpu/online";

PhysRange Table(uint64_t address) { return {{address}, kLpiTableSize}; }

// What a kernel's log has of the GIC on QEMU's virt machine with two CPUs.
std::string Log(const std::string& lines, uint64_t first = 0) {
  std::string log;
  for (size_t at = 0; at < lines.size();) {
    const size_t end = lines.find('\n', at);
    log += "6," + std::to_string(first++) + ",0,-;" + lines.substr(at, end - at) + "\n";
    at = end + 1;
  }
  return log;
}

constexpr const char* kLinux510 = R"(GICv3: 224 SPIs implemented
GICv3: Distributor has no Range Selector support
GICv3: 16 PPIs implemented
GICv3: CPU0: found redistributor 0 region 0:0x00000000080a0000
ITS [mem 0x08080000-0x0809ffff]
ITS@0x0000000008080000: allocated 8192 Devices @42180000 (indirect, esz 8, psz 64K, shr 1)
ITS@0x0000000008080000: allocated 8192 Interrupt Collections @42190000 (flat, esz 8, psz 64K, shr 1)
GICv3: using LPI property table @0x00000000421a0000
GICv3: CPU0: using allocated LPI pending table @0x00000000421b0000
GICv3: CPU1: found redistributor 1 region 0:0x00000000080c0000
GICv3: CPU1: using allocated LPI pending table @0x00000000421c0000
)";

TEST(LpiLog, OfEachKernel) {
  struct Case {
    std::string log;
    uint64_t property;
  };
  // 6.1, 6.12 and 7.2 differ from 5.10, and from each other, in lines that do not matter here.
  const Case cases[] = {
      {kLinux510, 0x421a0000},
      {R"(GICv3: GICv3 features: 16 PPIs
GICv3: CPU0: found redistributor 0 region 0:0x00000000080a0000
GICv3: using LPI property table @0x00000000425b0000
GICv3: CPU0: using allocated LPI pending table @0x00000000425c0000
GICv3: CPU1: found redistributor 1 region 0:0x00000000080c0000
GICv3: CPU1: using allocated LPI pending table @0x00000000425d0000
)",
       0x425b0000},
      {R"(GICv3: GICD_CTRL.DS=1, SCR_EL3.FIQ=0
GICv3: CPU0: found redistributor 0 region 0:0x00000000080a0000
GICv3: using LPI property table @0x00000000429f0000
GICv3: CPU0: using allocated LPI pending table @0x0000000042a00000
GICv3: CPU1: found redistributor 1 region 0:0x00000000080c0000
GICv3: CPU1: using allocated LPI pending table @0x0000000042a10000
)",
       0x429f0000},
      {R"(CPU features: detected: GICv3 CPU interface
GICv3: GICD_CTLR.DS=1, SCR_EL3.FIQ=0
GICv3: using LPI property table @0x0000000043630000
GICv3: CPU0: using allocated LPI pending table @0x0000000043640000
GICv3: CPU1: using allocated LPI pending table @0x0000000043650000
)",
       0x43630000},
      // After a hop.
      {R"(GICv3: Using preallocated redistributor tables
GICv3: using LPI property table @0x00000000425b0000
GICv3: CPU0: using reserved LPI pending table @0x00000000425c0000
GICv3: CPU1: found redistributor 1 region 0:0x00000000080c0000
GICv3: CPU1: using reserved LPI pending table @0x00000000425d0000
)",
       0x425b0000},
  };
  for (const Case& c : cases) {
    const LoggedLpiTables tables = ParseLpiTables(Log(c.log));
    EXPECT_TRUE(tables.whole);
    EXPECT_EQ(tables.property, Table(c.property));
    EXPECT_THAT(tables.pending, ElementsAre(Pair(0, Table(c.property + 0x10000)),
                                            Pair(1, Table(c.property + 0x20000))))
        << c.log;
  }
}

TEST(LpiLog, WhatIsNotTheKernelsWordDoesNotCount) {
  // By user space (facility 1); not at a record's start; cut off; with something behind it.
  const LoggedLpiTables tables = ParseLpiTables(
      "14,7,1,-;GICv3: using LPI property table @0x0000000042000000\n"
      "6,8,2,-;x GICv3: using LPI property table @0x0000000042000000\n"
      "6,9,3,-;GICv3: using LPI property table @0x\n"
      " GICv3: using LPI property table @0x0000000042000000\n"
      "6,10,4,-;GICv3: using LPI property table @0x42000000, they say\n"
      "6,11,5,-;GICv3: using LPI property table @0xffffffffffff8000\n"
      "6,12,6,-;GICv3: CPU0: using some LPI pending table @0x0000000042000000\n"
      "6,13,7,-;GICv3: CPUx: using allocated LPI pending table @0x0000000042000000\n"
      "6,14,8,-;GICv3: CPU0 using allocated LPI pending table @0x0000000042000000\n"
      "6,15");
  EXPECT_FALSE(tables.whole);
  EXPECT_FALSE(tables.property);
  EXPECT_THAT(tables.pending, IsEmpty());
  EXPECT_FALSE(ParseLpiTables("").whole);
}

TEST(LpiLog, RecordsWithACallerAndADictionary) {
  const LoggedLpiTables tables = ParseLpiTables(
      "6,0,0,-,caller=T0;Linux version\n SUBSYSTEM=cpu\n DEVICE=+cpu:cpu0\n"
      "6,1,0,-,caller=T0;GICv3: using LPI property table @0x00000000425b0000\n");
  EXPECT_TRUE(tables.whole);
  EXPECT_EQ(tables.property, Table(0x425b0000));
}

TEST(LpiTables, All) {
  FakeSystem system;
  system.SetFile(kOnline, "0-1\n");
  system.kernel_log = Log(kLinux510);
  const LpiTables tables = FindLpiTables(system, {});
  EXPECT_THAT(tables.ranges, ElementsAre(Table(0x421a0000), Table(0x421b0000), Table(0x421c0000)));
  EXPECT_EQ(tables.missing, "");
}

TEST(LpiTables, OfACpuThatIsOfflineTooForItsTableIsInUse) {
  FakeSystem system;
  system.SetFile(kOnline, "0\n");
  system.kernel_log = Log(kLinux510);
  const LpiTables tables = FindLpiTables(system, {});
  EXPECT_EQ(tables.ranges.size(), 3U);
  EXPECT_EQ(tables.missing, "");
}

TEST(LpiTables, LpisLeftOff) {
  FakeSystem system;  // irqchip.gicv3_nolpi=1: the log is whole and has no table
  const LpiTables tables = FindLpiTables(system, {});
  EXPECT_THAT(tables.ranges, IsEmpty());
  EXPECT_EQ(tables.missing, "");
}

TEST(LpiTables, SaysWhatTheLogHasLost) {
  FakeSystem system;
  system.SetFile(kOnline, "0-1,3\n");
  system.kernel_log = Log("GICv3: CPU1: using allocated LPI pending table @0x42a10000\n", 900);
  LpiTables tables = FindLpiTables(system, {});
  EXPECT_THAT(tables.ranges, ElementsAre(Table(0x42a10000)));
  EXPECT_EQ(tables.missing, "the property table and the pending tables of 2 CPUs");
  system.kernel_log = "";
  system.SetFile(kOnline, "nonsense\n");
  tables = FindLpiTables(system, {});
  EXPECT_THAT(tables.ranges, IsEmpty());
  EXPECT_EQ(tables.missing, "the property table and the pending table of CPU 0");
}

TEST(LpiTables, WhatAnEarlierHopReservedIsStillThere) {
  FakeSystem system;
  system.SetFile(kOnline, "0-1\n");
  system.kernel_log =
      Log("GICv3: CPU1: using reserved LPI pending table @0x0000000042a10000\n", 900);
  const std::vector<PhysRange> two = {Table(0x429f0000), Table(0x42a10000), {{0x4000}, 0x1000}};
  EXPECT_EQ(FindLpiTables(system, two).missing,
            "the property table and the pending table of CPU 0");
  std::vector<PhysRange> three = two;
  three.push_back(Table(0x42a00000));
  const LpiTables tables = FindLpiTables(system, three);
  EXPECT_THAT(tables.ranges, ElementsAre(Table(0x42a10000), Table(0x429f0000), Table(0x42a00000)));
  EXPECT_EQ(tables.missing, "");
}

TEST(LpiTables, OfACpuThatOnlyAnEarlierKernelHad) {
  FakeSystem system;
  system.SetFile(kOnline, "0-1\n");
  system.kernel_log = Log(kLinux510);
  const std::vector<PhysRange> reserved = {
      Table(0x421a0000), Table(0x421d0000), {{0x421e8000}, kLpiTableSize}};
  EXPECT_THAT(
      FindLpiTables(system, reserved).ranges,
      ElementsAre(Table(0x421a0000), Table(0x421b0000), Table(0x421c0000), Table(0x421d0000)));
}

}  // namespace
}  // namespace khop::system
