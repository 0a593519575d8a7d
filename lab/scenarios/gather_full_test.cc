// SPDX-License-Identifier: MIT
// The gather route while the kernel moves pages, and from other running kernels than that of the
// other scenarios: 5.10 relocates with the MMU off itself, and with pages of 16 KiB everything has
// another size.
#include "lab/scenarios/gather_machine.h"

namespace khop::lab {
namespace {

class GatherFull : public GatherMachine {};

// Everything that makes a kernel move pages, between load and exec.
TEST_F(GatherFull, PagesStayOrAreFoundAgain) {
  START_FIRST_MACHINE({});
  FragmentMemory(64);
  MUST(Load("--route gather"));
  EXPECT_EQ(guest().Must("cat /proc/sys/vm/compact_unevictable_allowed").value_or(""), "0\n");
  MUST(guest().Must("echo 1 > /proc/sys/vm/compact_memory"));
  MUST(guest().Must("dd if=/dev/zero of=/tmp/pressure bs=1M count=300 2>&1; rm /tmp/pressure"));
  MUST(guest().Must(
      "p=/sys/kernel/mm/hugepages/hugepages-32768kB/nr_hugepages; echo 4 > $p; cat $p; "
      "echo 0 > $p; echo 1 > /proc/sys/vm/compact_memory"));
  const Result<CommandResult> status = guest().Run("khop status");
  MUST(status);
  printf("%s", status->output.c_str());
  HopProof proof;
  ASSERT_NO_FATAL_FAILURE(HopByGather(&proof));
}

class GatherPeakFull : public GatherPeakMachine {};

// So many pages that khop's lists of them are what counts.
TEST_F(GatherPeakFull, IsThePayloadWithOneGibInBasePages) {
  START_FIRST_MACHINE({.memory_mib = 5120, .next_padding = uint64_t{1000} << 20, .on_disk = true});
  // Somebody else's files, so that no page cache counts.
  MUST(guest().Must("mkdir /tmp/next && mount -t tmpfs none /tmp/next && cp /next/* /tmp/next/"));
  ExpectThePayload("for max in hugetlb.*.max; do echo 0 > $max; done", "/tmp/next");
  EXPECT_EQ(huge_, 0u);
}

class GatherFrom : public GatherMachine {
 protected:
  void HopFrom(const std::string& kernel, const std::string& next, const std::string& cpu) {
    START_FIRST_MACHINE({.kernel = kernel, .next_kernel = next, .cpu = cpu});
    MUST(guest().Must("khop-guest-tool fragment 2048"));
    MUST(Load("--route gather"));
    HopProof proof;
    ASSERT_NO_FATAL_FAILURE(HopByGather(&proof));
    EXPECT_TRUE(proof.report.value("mmu", false));
  }
};

TEST_F(GatherFrom, Linux5Dot10) { HopFrom("5.10", "6.12", "cortex-a57"); }
TEST_F(GatherFrom, Linux6Dot12) { HopFrom("6.12", "6.12", "cortex-a57"); }
TEST_F(GatherFrom, Linux6Dot12With16kPages) { HopFrom("6.12-16k", "6.12-16k", "neoverse-n1"); }

}  // namespace
}  // namespace khop::lab
