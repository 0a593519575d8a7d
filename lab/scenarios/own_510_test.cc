// SPDX-License-Identifier: MIT
// The lab's own 5.10: kexec_file_load, signatures and IMA on a kernel that relocates with the MMU
// off.
#include "lab/scenarios/own_kernel_machine.h"

namespace khop::lab {
namespace {

constexpr const char* kOwn = "5.10-signed";

class Own510 : public OwnKernelMachine {};

TEST_F(Own510, SignedKernelByFile) { HopSignedByFile(kOwn, kNoIts); }
TEST_F(Own510, UnsignedKernelIsRefused) { RefuseUnsigned(kOwn, kNoIts); }
TEST_F(Own510, ImaPolicyIsAsked) { AskImasPolicy(kOwn, kNoIts); }

// This kernel would put the next one onto the tables of the GIC, which would then take the next
// kernel's code for its own table: nothing comes up. After a hop by another route the tables are
// reserved, and kexec_file_load leaves them alone.
TEST_F(Own510, NotOntoTheGicsTables) {
  START_FIRST_MACHINE(
      {.kernel = kOwn, .next_kernel = kOwn, .memory_mib = 1536, .next_carries_kernel = true});
  ExpectRefused("khop load /next/Image --initrd /next/initrd --route file", 17,
                "over the GIC's tables for LPIs");
  MUST(Load("--route in-place"));
  ASSERT_NO_FATAL_FAILURE(HopBy("in-place"));
  // 5.10 shows nobody its initrd.
  MUST(
      guest().Must("cd / && find . -xdev ! -path './tmp/*' | cpio -o -H newc > /tmp/initrd && "
                   "khop load /next/Image --initrd /tmp/initrd --route file --reuse-cmdline "
                   "--append khop_lab.hop=2"));
  MUST(guest().Start("khop exec --now"));
  const Result<Facts> after = guest().WaitUntilUp(Seconds(240));
  MUST(after);
  EXPECT_THAT(after->command_line, testing::HasSubstr("khop_lab.hop=2"));
  const Result<std::string> log = guest().Must("dmesg");
  MUST(log);
  EXPECT_THAT(*log, testing::HasSubstr("GICv3: Using preallocated redistributor tables"));
  EXPECT_THAT(*log, testing::Not(testing::HasSubstr("probably corrupted")));
}

}  // namespace
}  // namespace khop::lab
