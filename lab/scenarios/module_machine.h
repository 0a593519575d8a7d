// SPDX-License-Identifier: MIT
// A machine with a 5.10, Debian's or the lab's, khop_relocate.ko and Debian's kexec-tools.
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

  // Where the module for a kernel of the lab is.
  static std::string ModuleOf(const std::string& kernel) {
    if (kernel == "5.10") return "module/khop_relocate.ko";
    return "module-" + kernel +
           (kernel == "5.10-signed" ? "/khop_relocate.signed.ko" : "/khop_relocate.ko");
  }
  static FirstMachineConfig WithModule(FirstMachineConfig config, const std::string& kernel) {
    config.kernel = kernel;
    // kexec-tools leaves the LPI tables of a GICv3 to the next kernel as free memory, and the GIC
    // goes on writing there: with the module or without, such a kernel does not come up whole.
    if (config.machine == FirstMachineConfig().machine) config.machine = "virt,gic-version=2";
    config.files.insert(config.files.end(),
                        {{"khop_relocate.ko", ModuleOf(kernel)},
                         {"bin/kexec", "kexec-tools-5.10/kexec"},
                         {"lib/ld-linux-aarch64.so.1", "kexec-tools-5.10/ld-linux-aarch64.so.1"},
                         {"lib/libc.so.6", "kexec-tools-5.10/libc.so.6"},
                         {"lib/liblzma.so.5", "kexec-tools-5.10/liblzma.so.5"},
                         {"lib/libz.so.1", "kexec-tools-5.10/libz.so.1"}});
    return config;
  }

  // Starts it; skips the test where the lab has no module or no kexec-tools.
  void StartWithModule(const FirstMachineConfig& config, const std::string& kernel = "5.10") {
    const FirstMachineConfig with_module = WithModule(config, kernel);
    for (const GuestFile& file : with_module.files) {
      if (!FindGuestFile(file.name)) {
        GTEST_SKIP() << "the lab has no " << file.name << " (cmake -P lab/fetch.cmake says why)";
      }
    }
    StartFirst(with_module);
  }

  Result<std::string> Insert(const std::string& parameters = "") {
    return guest().Must("insmod /khop_relocate.ko " + parameters);
  }
  Result<std::string> LoadByKexec(const std::string& more = "") {
    return guest().Must("kexec -l /next/Image --initrd=/next/initrd --command-line='" +
                        std::string(kNextCommandLine) + "' " + more);
  }

  // `command` fails, and the kernel's log says why.
  void ExpectRefused(const std::string& command, const std::string& in_the_log) {
    const size_t before = machine().console().size();
    const Result<CommandResult> refused = guest().Run(command);
    MUST(refused);
    EXPECT_NE(refused->exit_code, 0) << refused->output;
    EXPECT_THAT(machine().console().substr(before), testing::HasSubstr(in_the_log)) << command;
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

  // The module comes and goes while images do, and still does when the reboot comes, whether that
  // finds it there or not.
  void HopWhileItComesAndGoes() {
    MUST(
        guest().Must("(for i in 1 2 3 4 5 6 7 8; do kexec -l /next/Image --initrd=/next/initrd "
                     "--no-checks --command-line=x && kexec -u || echo failed; done) & "
                     "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do "
                     "insmod /khop_relocate.ko && rmmod khop_relocate || exit 1; done; wait",
                     Seconds(400)));
    MUST(LoadByKexec("--no-checks"));
    HopAndFind("khop_relocate: ",
               "(while :; do insmod /khop_relocate.ko; rmmod khop_relocate; done) & "
               "sleep 3; kexec -e");
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
