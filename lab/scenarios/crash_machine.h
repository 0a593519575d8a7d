// SPDX-License-Identifier: MIT
// A machine with a crash reservation: what a hop out of it, a panic and a capture kernel have to
// show.
#pragma once

#include <string>

#include "lab/scenarios/first_machine.h"

namespace khop::lab {

class CrashMachine : public FirstMachine {
 protected:
  static constexpr const char* kCaptureLine =
      "console=ttyAMA0 khop_lab.nodigest khop_lab.capture=1";

  // The next kernel is of the same version, as a capture kernel usually is.
  static FirstMachineConfig WithReservation(const std::string& kernel = "6.1",
                                            const std::string& next = "6.12") {
    return {
        .kernel = kernel, .next_kernel = next, .memory_mib = 1536, .append = "crashkernel=320M"};
  }
  static FirstMachineConfig WithCapture(const std::string& kernel = "6.1") {
    FirstMachineConfig config = WithReservation(kernel, kernel);
    config.next_with_makedumpfile = true;
    return config;
  }

  bool CrashLoaded() {
    const Result<std::string> text = guest().Must("cat /sys/kernel/kexec_crash_loaded");
    if (!text) {
      ADD_FAILURE() << text.error().what;
      return false;
    }
    return text->starts_with("1");
  }

  void ExpectExit(const std::string& command, int code, const std::string& says) {
    const Result<CommandResult> result = guest().Run(command);
    MUST(result);
    EXPECT_EQ(result->exit_code, code) << command << ": " << result->output;
    EXPECT_THAT(result->output, testing::HasSubstr(says));
  }

  void HopOutOfTheReservation() {
    HopExpectation expected = Expected();
    expected.route = "reserved";
    const Result<HopProof> proof =
        ProveHop(machine(), guest(), expected, [](Guest& g) { return g.Start("khop exec --now"); });
    MUST(proof);
    EXPECT_EQ(proof->report.value("bytes_moved", uint64_t{1}), 0u);
    EXPECT_GT(proof->report.value("bytes_verified", uint64_t{0}), next_guest_.written.size);
    EXPECT_TRUE(proof->report.value("mmu", false));
    EXPECT_TRUE(proof->report.value("data_cache", false));
  }

  // Lets the kernel panic; the capture kernel has to come up and to find out why.
  void PanicAndCapture() {
    MUST(guest().Start("echo c > /proc/sysrq-trigger"));
    const Result<Facts> facts = guest().WaitUntilUp(Seconds(180));
    MUST(facts);
    EXPECT_EQ(facts->command_line, kCaptureLine);
    EXPECT_EQ(facts->uname, kernel_.release);
    EXPECT_LT(facts->memory_total_kib, 400u << 10);
    const Result<nlohmann::json> report = KhopJson(guest(), "report");
    MUST(report);
    EXPECT_EQ(report->value("route", ""), "crash");
    EXPECT_TRUE(report->value("mmu", false));
    EXPECT_TRUE(report->value("data_cache", false));
    EXPECT_GT(report->value("bytes_verified", uint64_t{0}), next_guest_.written.size);
    MUST(guest().Must("makedumpfile --dump-dmesg /proc/vmcore /tmp/dmesg 2>&1"));
    const Result<std::string> why = guest().Must("grep -a 'sysrq triggered crash' /tmp/dmesg");
    MUST(why);
    EXPECT_THAT(*why, testing::HasSubstr("Kernel panic - not syncing"));
  }
};

}  // namespace khop::lab
