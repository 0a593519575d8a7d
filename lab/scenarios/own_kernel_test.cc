// SPDX-License-Identifier: MIT
// The lab's own kernel (64 KiB pages, kexec_file_load, signatures) as the running one.
#include "lab/scenarios/route_machine.h"

namespace khop::lab {
namespace {

constexpr const char* kOwn = "6.12-64k";

class OwnKernel : public RouteMachine {};

TEST_F(OwnKernel, InPlaceOn64KPages) {
  START_FIRST_MACHINE({.kernel = kOwn});
  MUST(Load("--route in-place"));
  ASSERT_NO_FATAL_FAILURE(HopBy("in-place"));
}

TEST_F(OwnKernel, GatherOn64KPages) {
  START_FIRST_MACHINE({.kernel = kOwn});
  MUST(Load("--route gather"));
  ASSERT_NO_FATAL_FAILURE(HopBy("gather"));
}

TEST_F(OwnKernel, KernelOn64KPages) {
  START_FIRST_MACHINE({.kernel = kOwn});
  MUST(Load("--route kernel"));
  ASSERT_NO_FATAL_FAILURE(HopBy("kernel"));
}

// Under lockdown kexec_load is closed, and kexec_file_load takes what is signed: auto says so.
TEST_F(OwnKernel, SignedKernelByFile) {
  START_FIRST_MACHINE({.kernel = kOwn,
                       .next_kernel = kOwn,
                       .next_file = "Image.signed",
                       .append = "lockdown=integrity"});
  MUST(guest().Must("mount -t securityfs none /sys/kernel/security"));
  MUST(guest().Must("khop kexec -s -l /next/Image --initrd=/next/initrd && khop kexec -u"));
  const Result<std::string> loaded = Load("--json");
  MUST(loaded);
  const auto plan = nlohmann::json::parse(*loaded, nullptr, false);
  ASSERT_TRUE(plan.is_object()) << *loaded;
  EXPECT_EQ(plan.value("route", ""), "file");
  ASSERT_GE(plan["refused"].size(), 3U) << *loaded;
  for (const auto& refusal : plan["refused"]) {
    EXPECT_THAT(refusal.value("reason", ""), testing::HasSubstr("lockdown"));
  }
  ASSERT_NO_FATAL_FAILURE(HopBy("file"));
}

TEST_F(OwnKernel, UnsignedKernelIsRefused) {
  START_FIRST_MACHINE({.kernel = kOwn, .next_kernel = kOwn, .append = "lockdown=integrity"});
  MUST(guest().Must("mount -t securityfs none /sys/kernel/security"));
  for (const char* const route : {"--route file", "--route auto"}) {
    const Result<CommandResult> refused =
        guest().Run(std::string("khop load /next/Image --initrd /next/initrd ") + route);
    MUST(refused);
    EXPECT_EQ(refused->exit_code, 61) << refused->output;
    EXPECT_THAT(refused->output, testing::HasSubstr("no signature that the kernel accepts"));
  }
  const Result<CommandResult> as_kexec = guest().Run("khop kexec -s -l /next/Image");
  MUST(as_kexec);
  EXPECT_EQ(as_kexec->exit_code, 255) << as_kexec->output;
  EXPECT_EQ(guest().Must("cat /sys/kernel/kexec_loaded").value_or(""), "0\n");
}

// IMA's policy is asked about the very file; without lockdown nothing else stands in the way.
TEST_F(OwnKernel, ImaPolicyIsExplained) {
  START_FIRST_MACHINE({.kernel = kOwn, .next_kernel = kOwn, .next_file = "Image.signed"});
  MUST(
      guest().Must("mount -t securityfs none /sys/kernel/security && "
                   "echo 'appraise func=KEXEC_KERNEL_CHECK appraise_type=imasig' > "
                   "/sys/kernel/security/ima/policy"));
  const Result<CommandResult> refused =
      guest().Run("khop load /next/Image --initrd /next/initrd --route file");
  MUST(refused);
  EXPECT_EQ(refused->exit_code, 62) << refused->output;
  EXPECT_THAT(refused->output, testing::HasSubstr("IMA"));
  EXPECT_EQ(guest().Must("cat /sys/kernel/kexec_loaded").value_or(""), "0\n");
}

}  // namespace
}  // namespace khop::lab
