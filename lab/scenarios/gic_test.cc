// SPDX-License-Identifier: MIT
// A GICv3 keeps writing to the LPI tables of the first kernel: every later one has to know of them.
#include <algorithm>
#include <cinttypes>
#include <cstdio>

#include "lab/scenarios/chain_machine.h"
#include "lab/scenarios/footprint.h"

namespace khop::lab {
namespace {

// Of QEMU's virt machine (hw/arm/virt.c) and of the architecture (Arm IHI 0069, 12.11).
constexpr uint64_t kRedistributors = 0x80a0000;
constexpr uint64_t kRedistributorStride = 0x20000;
constexpr uint64_t kPropBaser = 0x70;                // GICR_PROPBASER, and GICR_PENDBASER after it
constexpr uint64_t kEnableLpis = 1;                  // of GICR_CTLR
constexpr uint64_t kPropAddress = 0xffffffffff000;   // bits 51:12
constexpr uint64_t kPendAddress = 0xffffffffff0000;  // bits 51:16
constexpr uint64_t kTableSize = 0x10000;
constexpr int kCpus = 2;

class Gic : public ChainMachine {
 protected:
  // The tables that the GIC uses, by its own word: the property table, then the pending tables.
  void ReadTables(std::vector<uint64_t>* tables) {
    tables->clear();
    for (uint64_t cpu = 0; cpu < kCpus; ++cpu) {
      char command[64];
      const uint64_t frame = kRedistributors + cpu * kRedistributorStride;
      snprintf(command, sizeof command, "xp /1wx 0x%" PRIx64, frame);
      const Result<std::string> control = machine().Monitor(command);
      MUST(control);
      snprintf(command, sizeof command, "xp /2gx 0x%" PRIx64, frame + kPropBaser);
      const Result<std::string> bases = machine().Monitor(command);
      MUST(bases);
      uint64_t word = 0;
      uint64_t properties = 0;
      uint64_t pending = 0;
      ASSERT_EQ(sscanf(control->c_str(), "%*x: %" SCNx64, &word), 1) << *control;
      ASSERT_EQ(sscanf(bases->c_str(), "%*x: %" SCNx64 " %" SCNx64, &properties, &pending), 2)
          << *bases;
      EXPECT_NE(word & kEnableLpis, 0u) << "LPIs are off: this test tests nothing";
      if (cpu == 0) tables->push_back(properties & kPropAddress);
      EXPECT_EQ(tables->front(), properties & kPropAddress);
      tables->push_back(pending & kPendAddress);
    }
  }

  // Whether the running kernel keeps its hands off [start, start + kTableSize).
  static bool IsReserved(const Facts& facts, uint64_t start) {
    for (const std::string& line : facts.iomem) {
      uint64_t first = 0;
      uint64_t last = 0;
      if (line.ends_with(" : reserved") &&
          sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64, &first, &last) == 2 && first <= start &&
          start + kTableSize - 1 <= last) {
        return true;
      }
    }
    return false;
  }
};

TEST_F(Gic, EveryNextKernelLeavesTheTablesAlone) {
  START_CHAIN_MACHINE({.kernels = {"6.1", "6.12"}, .cpus = kCpus});
  std::vector<uint64_t> first;
  ASSERT_NO_FATAL_FAILURE(ReadTables(&first));
  for (const char* kernel : {"6.12", "6.1", "6.12"}) {
    ASSERT_NO_FATAL_FAILURE(HopTo(kernel, hops_ == 1 ? "gather" : "in-place"));
    const Result<std::string> log = guest().Must("dmesg");
    MUST(log);
    EXPECT_THAT(*log, testing::HasSubstr("GICv3: Using preallocated redistributor tables"));
    EXPECT_THAT(*log, testing::HasSubstr("CPU1: using reserved LPI pending table"));
    EXPECT_THAT(*log, testing::Not(testing::HasSubstr("probably corrupted")));
    EXPECT_THAT(*log, testing::Not(testing::ContainsRegex("BUG:|Oops|Call trace|WARNING:")));
    std::vector<uint64_t> now;
    ASSERT_NO_FATAL_FAILURE(ReadTables(&now));
    EXPECT_EQ(now, first);
    for (const uint64_t table : now) {
      EXPECT_TRUE(IsReserved(proof_.after, table)) << std::hex << "0x" << table;
    }
    const Result<Footprint> footprint = TakeFootprint(guest());
    MUST(footprint);
    EXPECT_EQ(footprint->reservations.size(), first.size())
        << testing::PrintToString(footprint->reservations);
    printf("hop %d to %s: property table 0x%" PRIx64 ", pending tables 0x%" PRIx64 " 0x%" PRIx64
           ", all reserved; %zu entries in /memreserve/\n",
           hops_, kernel, now[0], now[1], now[2], footprint->reservations.size());
  }
}

// The log is the only place where a first kernel tells where the tables are. A later one need not.
TEST_F(Gic, ALogThatHasWrapped) {
  START_CHAIN_MACHINE({.kernels = {"6.12"}, .cpus = kCpus});
  ASSERT_NO_FATAL_FAILURE(HopTo("6.12", "in-place"));
  MUST(
      guest().Must("echo on > /proc/sys/kernel/printk_devkmsg; l=$(printf %0900d 0); i=0; "
                   "while [ $i -lt 250 ]; do echo \"<7>$l\" > /dev/kmsg; i=$((i+1)); done; "
                   "! dmesg | grep -q 'LPI property'"));
  const std::string plan = "plan /next/Image-6.12 --initrd /next/initrd";
  Result<nlohmann::json> planned = KhopJson(guest(), plan);
  MUST(planned);
  EXPECT_THAT(planned->at("notes").dump(), testing::Not(testing::HasSubstr("LPIs")));
  // A tree of the user's, as firmware made it: the tables are reserved in it all the same.
  MUST(guest().Must("khop-guest-tool firsthand /tmp/tree"));
  planned = KhopJson(guest(), plan + " --dtb /tmp/tree");
  MUST(planned);
  EXPECT_THAT(planned->at("notes").dump(), testing::Not(testing::HasSubstr("LPIs")));
  ASSERT_NO_FATAL_FAILURE(HopTo("6.12", "in-place", "--dtb /tmp/tree"));
  const Result<std::string> log = guest().Must("dmesg");
  MUST(log);
  EXPECT_THAT(*log, testing::HasSubstr("GICv3: Using preallocated redistributor tables"));
  EXPECT_THAT(*log, testing::Not(testing::HasSubstr("probably corrupted")));
}

}  // namespace
}  // namespace khop::lab
