// SPDX-License-Identifier: MIT
// Every way to start a kernel by `kexec`, with kexec-tools and with khop: what boots is the same.
#include <cstdio>

#include "lab/scenarios/kexec_machine.h"

namespace khop::lab {
namespace {

constexpr const char* kFiles = " /next/Image-6.12 --initrd=/next/initrd ";
constexpr const char* kCommandLine = "console=ttyAMA0 khop_lab.hop=form";

class KexecForms : public KexecMachine {
 protected:
  void StartForms() {
    // In the place of a service manager: at its end `shutdown -r now` starts what is loaded.
    StartWithBoth("", [](Initramfs& guest) -> Result<void> {
      guest.AddDirectory("sbin");
      guest.AddBytes("sbin/shutdown", "#!/bin/sh\n[ \"$*\" = '-r now' ] && exec kexec -e\n", 0755);
      return {};
    });
  }

  // Both programs, one after the other. `expected` is the command line that has to come up.
  void ExpectSame(const std::string& command, const std::string& expected) {
    for (const char* const program : {"kexec-tools", "khop"}) {
      SCOPED_TRACE(std::string(program) + ": " + command);
      printf("%s: %s\n", program, command.c_str());
      const auto after = HopBy("6.12", std::string("PATH=/") + program + ":$PATH; " + command);
      MUST(after);
      EXPECT_EQ(after->uname, kernel("6.12").release);
      EXPECT_EQ(after->command_line, expected);
      EXPECT_EQ(after->manifest_sha256, initrd().manifest_sha256);
    }
  }

  std::string AppendForm() const { return std::string(kFiles) + "--append='" + kCommandLine + "'"; }
};

TEST_F(KexecForms, WhatBootsIsTheSame) {
  StartForms();
  if (IsSkipped() || HasFatalFailure()) return;
  const std::string append = AppendForm();
  ASSERT_NO_FATAL_FAILURE(ExpectSame("kexec -f" + append, kCommandLine));
  ASSERT_NO_FATAL_FAILURE(ExpectSame("kexec" + append, kCommandLine));
  ASSERT_NO_FATAL_FAILURE(ExpectSame("kexec -l" + append + " && kexec -e -x -y", kCommandLine));
  ASSERT_NO_FATAL_FAILURE(
      ExpectSame("kexec -u -c -i -l" + append + " && kexec --exec", kCommandLine));
  // The tree's command line is kept.
  ASSERT_NO_FATAL_FAILURE(
      ExpectSame("kexec -c -i -l" + std::string(kFiles) + "&& kexec -e", kCommandLine));
  // With the trees of both: khop's own properties in the running tree do no harm to kexec-tools.
  ASSERT_NO_FATAL_FAILURE(ExpectSame(
      "cp /sys/firmware/fdt /k/tree; kexec -c -i -f --dtb=/k/tree" + append, kCommandLine));
  ASSERT_NO_FATAL_FAILURE(
      ExpectSame("kexec -f" + std::string(kFiles) + "--reuse-cmdline", kCommandLine));
}

// What one has loaded the other starts.
TEST_F(KexecForms, WhatAnotherToolLoadedIsStarted) {
  StartForms();
  if (IsSkipped() || HasFatalFailure()) return;
  for (const char* const order : {"kexec-tools khop", "khop kexec-tools"}) {
    SCOPED_TRACE(order);
    const std::string first = std::string(order).substr(0, std::string(order).find(' '));
    const std::string second = std::string(order).substr(first.size() + 1);
    const auto after =
        HopBy("6.12", "/" + first + "/kexec -l" + AppendForm() + " && /" + second + "/kexec -e");
    MUST(after);
    EXPECT_EQ(after->uname, kernel("6.12").release);
    EXPECT_EQ(after->command_line, kCommandLine);
  }
}

}  // namespace
}  // namespace khop::lab
