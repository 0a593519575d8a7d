// SPDX-License-Identifier: MIT
// The gather route: any pages, no contiguity. The machine is made as bad as memory gets, and hops
// all the same.
#include "lab/scenarios/gather_machine.h"

namespace khop::lab {
namespace {

class Gather : public GatherMachine {};

TEST_F(Gather, FragmentedMemory) {
  START_FIRST_MACHINE({});
  FragmentMemory(2048);
  // What is contiguous cannot be had; auto says so and gathers.
  const Result<CommandResult> strict =
      guest().Run("khop load /next/Image --initrd /next/initrd --route in-place");
  MUST(strict);
  EXPECT_EQ(strict->exit_code, 31) << strict->output;
  MUST(Load(""));
  HopProof proof;
  ASSERT_NO_FATAL_FAILURE(HopByGather(&proof));
  EXPECT_TRUE(proof.report.value("mmu", false));
  EXPECT_GT(proof.report.value("bytes_moved", uint64_t{0}), 0u);
  ExpectFewTables(proof);
}

// No block of 64 KiB either: base pages, one by one. An unload gives all of them back.
TEST_F(Gather, ScatteredBasePages) {
  START_FIRST_MACHINE({});
  const std::string look =
      "khop-guest-tool lsshm; cat /sys/kernel/kexec_loaded /sys/kernel/mm/hugepages/*/nr_hugepages "
      "/proc/sys/vm/compact_unevictable_allowed";
  FragmentMemory(64);
  const Result<std::string> before = guest().Must(look);
  MUST(before);
  const uint64_t free = AvailableKib();
  MUST(Load("--route gather"));
  MUST(guest().Must("khop unload"));
  const Result<std::string> after = guest().Must(look);
  MUST(after);
  EXPECT_EQ(*after, *before);
  // It may be more: the search took back what CPUs and caches had kept.
  EXPECT_GE(AvailableKib() + 4096, free);
  MUST(Load("--route gather"));
  HopProof proof;
  ASSERT_NO_FATAL_FAILURE(HopByGather(&proof));
  EXPECT_TRUE(proof.report.value("mmu", false));
  ExpectFewTables(proof);
}

TEST_F(Gather, MmuOff) {
  START_FIRST_MACHINE({});
  FragmentMemory(2048);
  MUST(Load("--route gather --mmu off"));
  HopProof proof;
  ASSERT_NO_FATAL_FAILURE(HopByGather(&proof));
  EXPECT_FALSE(proof.report.value("mmu", true));
  EXPECT_EQ(proof.status["control"].value("table_bytes", uint64_t{1}), 0u);
}

// Pages that have moved into destinations of others: khop exec orders the moves anew.
TEST_F(Gather, PagesThatHaveMovedAreFound) {
  START_FIRST_MACHINE({});
  FragmentMemory(64);
  MUST(Load("--route gather"));
  // Compaction moves pages when it sees something to gain: another mixture of free memory each
  // time.
  const Result<CommandResult> status = guest().Run(
      "echo 1 > /proc/sys/vm/compact_unevictable_allowed; "
      "for mib in 0 100 200 300 150 50; do dd if=/dev/zero of=/tmp/mix bs=1M count=$mib; "
      "echo 1 > /proc/sys/vm/compact_memory; "
      "echo 4 > /sys/kernel/mm/hugepages/hugepages-32768kB/nr_hugepages; "
      "echo 0 > /sys/kernel/mm/hugepages/hugepages-32768kB/nr_hugepages; rm /tmp/mix; "
      "khop status | grep -q 'have moved' && break; done 2>/dev/null; khop status");
  MUST(status);
  EXPECT_THAT(status->output, testing::ContainsRegex("[1-9][0-9]* of [0-9]+ have moved"));
  HopProof proof;
  ASSERT_NO_FATAL_FAILURE(HopByGather(&proof));
}

class GatherPeak : public GatherPeakMachine {};

TEST_F(GatherPeak, IsThePayload) {
  START_FIRST_MACHINE({.next_padding = uint64_t{96} << 20});
  ExpectThePayload("true");
}

// How many pages of 64 KiB there are is chance, and so is how many base pages were the running
// kernel's __init, which /proc/iomem calls reserved: khop refuses those, and holds them until it
// has others. None of the first, and where less memory is free some of the second.
TEST_F(GatherPeak, IsThePayloadInBasePages) {
  START_FIRST_MACHINE({.next_padding = uint64_t{96} << 20, .append = "cma=128M"});
  ExpectThePayload("for max in hugetlb.*.max; do echo 0 > $max; done");
  EXPECT_EQ(huge_, 0u);
}

// 80 MiB into 192 MiB of RAM: more than kexec_load's segments may have.
TEST_F(Gather, LittleMemory) {
  START_FIRST_MACHINE(
      {.memory_mib = 192, .next_padding = uint64_t{36} << 20, .on_disk = true, .append = "cma=0"});
  const uint64_t before = AvailableKib();
  const std::string load =
      "khop load /next/Image --initrd /next/initrd --route gather --cmdline '" +
      std::string(kNextCommandLine) + "'";
  MUST(guest().Must(load));
  const uint64_t after = AvailableKib();
  // Of so little memory the kernel may take a destination after the load. Exec refuses if there is
  // no other place for the old contents; a second load starts afresh, as its message says.
  HopProof proof;
  ASSERT_NO_FATAL_FAILURE(
      HopByGather(&proof, Seconds(240),
                  "khop exec -v --now || { khop unload && " + load + " && khop exec -v --now; }"));
  const uint64_t payload = proof.report.value("bytes_verified", uint64_t{0});
  EXPECT_GT(payload, uint64_t{78} << 20);
  const double held = static_cast<double>(before - after) * 1024;
  printf("payload %.1f MiB, held %.1f MiB\n", static_cast<double>(payload) / (1 << 20),
         held / (1 << 20));
  EXPECT_LE(held, static_cast<double>(payload) * 1.02 + (8 << 20));
}

}  // namespace
}  // namespace khop::lab
