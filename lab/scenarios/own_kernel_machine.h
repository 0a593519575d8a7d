// SPDX-License-Identifier: MIT
// Kernels of the lab's own, which have kexec_file_load, signatures and IMA, and what each of them
// has to show.
#pragma once

#include "lab/scenarios/route_machine.h"

namespace khop::lab {

class OwnKernelMachine : public RouteMachine {
 protected:
  static constexpr const char* kWithIts = "virt,gic-version=3";
  static constexpr const char* kNoIts = "virt,gic-version=3,its=off";

  // Under lockdown kexec_load is closed, and kexec_file_load takes what is signed: auto says so.
  void HopSignedByFile(const std::string& kernel, const std::string& hardware = kWithIts) {
    START_FIRST_MACHINE({.kernel = kernel,
                         .next_kernel = kernel,
                         .next_file = "Image.signed",
                         .machine = hardware,
                         .append = "lockdown=integrity"});
    MUST(guest().Must(kMountSecurity));
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

  void RefuseUnsigned(const std::string& kernel, const std::string& hardware = kWithIts) {
    START_FIRST_MACHINE({.kernel = kernel,
                         .next_kernel = kernel,
                         .machine = hardware,
                         .append = "lockdown=integrity"});
    MUST(guest().Must(kMountSecurity));
    for (const char* const route : {"--route file", "--route auto"}) {
      ExpectRefused(std::string("khop load /next/Image --initrd /next/initrd ") + route, 61,
                    "no signature that the kernel accepts");
    }
    ExpectRefused("khop kexec -s -l /next/Image", 255, "");
  }

  // IMA's policy is asked about the very file; without lockdown nothing else stands in the way.
  void AskImasPolicy(const std::string& own, const std::string& hardware = kWithIts) {
    const Result<LabKernel> kernel = FindKernel(own);
    if (!kernel) GTEST_SKIP() << kernel.error().what;
    const Result<std::filesystem::path> signs = MakeRunDirectory("ima-" + own);
    MUST(signs);
    MUST(SignForIma(kernel->image.parent_path() / "Image.signed", *signs));
    START_FIRST_MACHINE({.kernel = own,
                         .next_kernel = own,
                         .next_file = "Image.signed",
                         .machine = hardware,
                         .files = {{"next/certificate", *signs / "certificate"},
                                   {"next/signature", *signs / "signature"}}});
    MUST(guest().Must("khop-guest-tool trust /next/certificate"));
    MUST(guest().Must(std::string(kMountSecurity) +
                      " && echo 'appraise func=KEXEC_KERNEL_CHECK appraise_type=imasig' > "
                      "/sys/kernel/security/ima/policy"));
    ExpectRefused("khop load /next/Image --initrd /next/initrd --route file", 62, "IMA");
    // The signature is of another file.
    const std::string sign = "khop-guest-tool attribute /next/";
    MUST(guest().Must("cp /next/Image /next/changed && echo >> /next/changed && " + sign +
                      "changed security.ima /next/signature"));
    ExpectRefused("khop load /next/changed --initrd /next/initrd --route file", 62, "IMA");
    MUST(guest().Must(sign + "Image security.ima /next/signature"));
    MUST(Load("--route file"));
    ASSERT_NO_FATAL_FAILURE(HopBy("file"));
  }

  static constexpr const char* kMountSecurity = "mount -t securityfs none /sys/kernel/security";

  void ExpectRefused(const std::string& command, int code, const std::string& says) {
    const Result<CommandResult> refused = guest().Run(command);
    MUST(refused);
    EXPECT_EQ(refused->exit_code, code) << refused->output;
    EXPECT_THAT(refused->output, testing::HasSubstr(says));
    EXPECT_EQ(guest().Must("cat /sys/kernel/kexec_loaded").value_or(""), "0\n");
  }
};

}  // namespace khop::lab
