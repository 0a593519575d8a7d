// SPDX-License-Identifier: MIT
// A machine with a crash reservation: what a hop out of it, a panic and a capture kernel have to
// show.
#pragma once

#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <sstream>
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

  static constexpr const char* kVmcoreInfo =
      "dd if=/proc/vmcore bs=4096 count=4 2>/dev/null | strings";
  // A number of VMCOREINFO's; 0 and a failure if there is none.
  uint64_t VmcoreInfo(const std::string& name) {
    const Result<std::string> line =
        guest().Must(std::string(kVmcoreInfo) + " | grep -F '" + name + "'");
    if (!line) {
      ADD_FAILURE() << line.error().what;
      return 0;
    }
    return std::stoull(line->substr(line->find('=') + 1), nullptr, 16);
  }

  // What readelf says of the beginning of /proc/vmcore: notes of a CPU and VMCOREINFO, the kernel's
  // image and its memory.
  void ExpectHeadersOfADump() {
    const Result<std::string> text =
        guest().Must("dd if=/proc/vmcore bs=4096 count=4 2>/dev/null | base64");
    MUST(text);
    const std::string file = (directory_ / "vmcore").string();
    std::ofstream(file + ".base64") << *text;
    const std::string command =
        "base64 -d " + file + ".base64 > " + file + " && readelf -hlnW " + file + " 2>&1";
    std::string said;
    FILE* const pipe = popen(command.c_str(), "r");
    ASSERT_NE(pipe, nullptr);
    for (char line[512]; fgets(line, sizeof line, pipe) != nullptr;) said += line;
    EXPECT_EQ(pclose(pipe), 0) << said;
    EXPECT_THAT(said, testing::ContainsRegex("Type: +CORE"));
    EXPECT_THAT(said, testing::HasSubstr("AArch64"));
    EXPECT_THAT(said, testing::ContainsRegex("  NOTE  "));
    EXPECT_THAT(said, testing::HasSubstr("NT_PRSTATUS"));
    EXPECT_THAT(said, testing::HasSubstr("VMCOREINFO"));
    // The memory below the reservation, and the image where VMCOREINFO says that it runs.
    EXPECT_THAT(said, testing::ContainsRegex("  LOAD  +0x[0-9a-f]+ 0x[0-9a-f]+ 0x0*40000000 "));
    const uint64_t in_image = VmcoreInfo("SYMBOL(_stext)=");
    const uint64_t offset = VmcoreInfo("NUMBER(kimage_voffset)=");
    bool holds_the_image = false;
    std::istringstream lines(said);
    for (std::string line; std::getline(lines, line);) {
      uint64_t start = 0;
      uint64_t physical = 0;
      uint64_t size = 0;
      if (sscanf(line.c_str(), " LOAD %*x %" SCNx64 " %" SCNx64 " %" SCNx64, &start, &physical,
                 &size) == 3 &&
          start <= in_image && in_image - start < size) {
        holds_the_image = start - physical == offset;
      }
    }
    EXPECT_TRUE(holds_the_image) << std::hex << in_image << " " << offset << "\n" << said;
    const Result<std::string> release =
        guest().Must(std::string(kVmcoreInfo) + " | grep -x OSRELEASE=" + kernel_.release);
    MUST(release);
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
    const Result<CommandResult> dump =
        guest().Run("makedumpfile --dump-dmesg /proc/vmcore /tmp/dmesg 2>&1");
    MUST(dump);
    if (dump->exit_code != 0 && dump->output.find("not supported") != std::string::npos) {
      // Debian's 4 KiB kernels from 6.12 on have 52-bit addresses, which makedumpfile 1.7.8 does
      // not know there.
      printf("makedumpfile does not know %s: %s", kernel_.release.c_str(), dump->output.c_str());
      ExpectHeadersOfADump();
      return;
    }
    ASSERT_EQ(dump->exit_code, 0) << dump->output;
    const Result<std::string> why = guest().Must("grep -a 'sysrq triggered crash' /tmp/dmesg");
    MUST(why);
    EXPECT_THAT(*why, testing::HasSubstr("Kernel panic - not syncing"));
  }
};

}  // namespace khop::lab
