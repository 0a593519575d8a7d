// SPDX-License-Identifier: MIT
// A machine with Debian 5.10, khop_relocate.ko and Debian's kexec-tools.
#pragma once

#include <string>
#include <utility>

#include "lab/scenarios/gather_machine.h"

namespace khop::lab {

class ModuleMachine : public GatherMachine {
 protected:
  // What the module says when it has a plan, and when it has none.
  static constexpr const char* kPlanned = "khop_relocate: MMU on: moves";
  static constexpr const char* kLeftAlone = "khop_relocate: stock relocation: ";

  static FirstMachineConfig WithModule(FirstMachineConfig config = {}) {
    config.kernel = "5.10";
    // kexec-tools leaves the LPI tables of a GICv3 to the next kernel as free memory, and the GIC
    // goes on writing there: with the module or without, such a kernel does not come up whole.
    if (config.machine == FirstMachineConfig().machine) config.machine = "virt,gic-version=2";
    config.files = {{"khop_relocate.ko", "module/khop_relocate.ko"},
                    {"bin/kexec", "kexec-tools-5.10/kexec"},
                    {"lib/ld-linux-aarch64.so.1", "kexec-tools-5.10/ld-linux-aarch64.so.1"},
                    {"lib/libc.so.6", "kexec-tools-5.10/libc.so.6"},
                    {"lib/liblzma.so.5", "kexec-tools-5.10/liblzma.so.5"},
                    {"lib/libz.so.1", "kexec-tools-5.10/libz.so.1"}};
    return config;
  }

  // Starts it; skips the test where the lab has no module or no kexec-tools.
  void StartWithModule(const FirstMachineConfig& config) {
    for (const char* name : {"module/khop_relocate.ko", "kexec-tools-5.10/kexec"}) {
      if (!FindGuestFile(name)) {
        GTEST_SKIP() << "the lab has no " << name << " (cmake -P lab/fetch.cmake says why)";
      }
    }
    StartFirst(WithModule(config));
  }

  Result<std::string> Insert(const std::string& parameters = "") {
    return guest().Must("insmod /khop_relocate.ko " + parameters);
  }
  Result<std::string> LoadByKexec(const std::string& more = "") {
    return guest().Must("kexec -l /next/Image --initrd=/next/initrd --command-line='" +
                        std::string(kNextCommandLine) + "' " + more);
  }

  // `command` hops, the right kernel comes up with what it was given, and the kernel before said a
  // line with `line` (none with `line` empty: the module was not there).
  void HopAndFind(const std::string& line, const std::string& command = "kexec -e") {
    HopExpectation expected = Expected();
    expected.route = "";
    const size_t before = machine().console().size();
    const Result<HopProof> hop =
        ProveHop(machine(), guest(), expected, [&](Guest& g) { return g.Start(command); });
    MUST(hop);
    const std::string said = machine().console().substr(before);
    const size_t end = said.find("Booting Linux");
    if (line.empty()) {
      EXPECT_THAT(said.substr(0, end), testing::Not(testing::HasSubstr("khop_relocate: ")));
    } else {
      EXPECT_THAT(said.substr(0, end), testing::HasSubstr(line));
    }
  }

  // The SCTLR_ELx that the relocator read during the moves, from the timeline in the next kernel's
  // tree; 0 where nobody filled one in.
  uint64_t SctlrOfMoves() {
    const Result<std::string> words = guest().Must(
        "test ! -f /proc/device-tree/chosen/khop,timeline || "
        "hexdump -v -e '1/1 \"%02x\"' /proc/device-tree/chosen/khop,timeline");
    if (!words) {
      ADD_FAILURE() << words.error().what;
      return 0;
    }
    constexpr size_t kSlot = 8;  // docs/handoff.md
    return words->size() < (kSlot + 1) * 16
               ? 0
               : std::stoull(words->substr(kSlot * 16, 16), nullptr, 16);
  }
  void ExpectMmuWasOn() {
    const Result<nlohmann::json> report = KhopJson(guest(), "report");
    MUST(report);
    EXPECT_TRUE(report->value("filled_in", false)) << report->dump();
    EXPECT_TRUE(report->value("mmu", false)) << report->dump();         // SCTLR_ELx.M
    EXPECT_TRUE(report->value("data_cache", false)) << report->dump();  // SCTLR_ELx.C
  }
};

#define START_WITH_MODULE(...)              \
  do {                                      \
    StartWithModule(__VA_ARGS__);           \
    if (IsSkipped() || HasFatalFailure()) { \
      return;                               \
    }                                       \
  } while (false)

}  // namespace khop::lab
