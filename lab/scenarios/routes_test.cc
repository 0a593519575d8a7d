// SPDX-License-Identifier: MIT
// The routes kernel and file on Debian's kernels.
#include "lab/scenarios/route_machine.h"

namespace khop::lab {
namespace {

class Routes : public RouteMachine {};

// Everything is moved by the running kernel, and verified by the relocator with the caches on.
TEST_F(Routes, KernelOnStock61) {
  START_FIRST_MACHINE({});
  const Result<std::string> plan = Load("--route kernel");
  MUST(plan);
  EXPECT_THAT(*plan, testing::HasSubstr("memory at the peak: "));
  // No shared memory: the header of the list is all of it.
  EXPECT_EQ(guest().Must("wc -l < /proc/sysvipc/shm").value_or(""), "1\n");
  uint64_t kernel_size = 0;
  EXPECT_NE(SegmentStart("kernel", &kernel_size), 0U);
  HopProof proof;
  ASSERT_NO_FATAL_FAILURE(HopBy("kernel", &proof));
  EXPECT_TRUE(proof.report.value("mmu", false));
  EXPECT_EQ(proof.report.value("bytes_moved", uint64_t{1}), 0U);
  // Kernel file, initrd and tree: no byte of these starts unverified.
  EXPECT_GT(proof.report.value("bytes_verified", uint64_t{0}), next_guest_.written.size);
}

// Debian's kernels have no kexec_file_load: said so, and what was loaded stays.
TEST_F(Routes, FileIsNotThere) {
  START_FIRST_MACHINE({});
  MUST(Load(""));
  const Result<CommandResult> refused =
      guest().Run("khop load /next/Image --initrd /next/initrd --route file");
  MUST(refused);
  EXPECT_EQ(refused->exit_code, 60) << refused->output;
  EXPECT_THAT(refused->output, testing::HasSubstr("CONFIG_KEXEC_FILE"));
  const Result<nlohmann::json> status = KhopJson(guest(), "status");
  MUST(status);
  EXPECT_TRUE(status->value("ready", false)) << status->dump();
  EXPECT_EQ(status->value("route", ""), "in-place");
}

}  // namespace
}  // namespace khop::lab
