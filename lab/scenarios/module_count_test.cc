// SPDX-License-Identifier: MIT
// Instructions from reboot(2) to the next kernel's time zero with khop_relocate.ko and without it:
// the same image, loaded by Debian's kexec-tools on stock 5.10 (docs/performance.md).
#include <cinttypes>
#include <cstdio>

#include "lab/scenarios/module_machine.h"

namespace khop::lab {
namespace {

constexpr uint64_t kInstructionsOfATick = 16;  // -icount shift=0, 62.5 MHz

class ModuleCount : public ModuleMachine {
 protected:
  // `parameters` of the module; nullptr: it is not there. Returns instructions, and in `*moved`
  // those of the relocator's moves.
  uint64_t Blackout(const char* parameters, uint64_t* moved = nullptr) {
    Count(parameters, moved);
    return instructions_;
  }

 private:
  void Count(const char* parameters, uint64_t* moved) {
    instructions_ = 0;
    START_WITH_MODULE({.next_kernel = "5.10",
                       .memory_mib = 2048,
                       .instruction_count = true,
                       .next_padding = uint64_t{100} << 20});
    MUST(LoadByKexec("--no-checks"));
    if (parameters != nullptr) {
      MUST(Insert(parameters));
    }
    const size_t before = machine().console().size();
    ASSERT_NO_FATAL_FAILURE(
        HopAndFind(parameters == nullptr ? "" : kPlanned, "khop-guest-tool reboot > /dev/console"));
    uint64_t reboot = 0;
    const size_t at = machine().console().find("rebooting at ", before);
    ASSERT_NE(at, std::string::npos);
    ASSERT_EQ(sscanf(machine().console().c_str() + at, "rebooting at %" SCNu64, &reboot), 1);
    const Result<std::string> zero = guest().Must("khop-guest-tool zero");
    MUST(zero);
    uint64_t clock = 0;
    ASSERT_EQ(sscanf(zero->c_str(), "zero %" SCNu64, &clock), 1) << *zero;
    instructions_ = (clock - reboot) * kInstructionsOfATick;
    if (moved == nullptr) return;
    const Result<nlohmann::json> report = KhopJson(guest(), "report");
    MUST(report);
    EXPECT_TRUE(report->value("mmu", false)) << report->dump();
    for (const nlohmann::json& step : (*report)["steps"]) {
      if (step.value("name", "") == "move") {
        *moved = step.value("ticks", uint64_t{0}) * kInstructionsOfATick;
      }
    }
  }

  uint64_t instructions_ = 0;
};

TEST_F(ModuleCount, OneHundredMebibytes) {
  uint64_t moved = 0;
  const uint64_t without = Blackout(nullptr);
  if (IsSkipped() || HasFailure()) return;
  const uint64_t with = Blackout("timeline=2", &moved);
  if (HasFailure()) return;
  const uint64_t with_digest = Blackout("timeline=2 verify=crc32c");
  if (HasFailure()) return;
  const auto millions = [](uint64_t count) { return static_cast<double>(count) / 1e6; };
  printf(
      "without the module %.3f M, with it %.3f M (its moves %.3f M), with verify=crc32c %.3f M; "
      "with to without %.4f\n",
      millions(without), millions(with), millions(moved), millions(with_digest),
      static_cast<double>(with) / static_cast<double>(without));
  EXPECT_LT(with, without);
  // 0.1025 instructions a byte, and the table of the pages' places.
  EXPECT_LT(static_cast<double>(moved), 0.11 * static_cast<double>(uint64_t{140} << 20));
}

// What a load of one page takes: from 5.16 on a copy of the tables of all memory.
class LoadCount : public FirstMachine {
 protected:
  void Measure(const std::string& kernel, int memory_mib, uint64_t* instructions, uint64_t* peak) {
    START_FIRST_MACHINE({.kernel = kernel, .memory_mib = memory_mib, .instruction_count = true});
    // Once before, for what only the first load has to do.
    for (const char* verb : {"peak", "count"}) {
      const Result<std::string> said = guest().Must(
          std::string("khop-guest-tool kexec load && khop-guest-tool kexec unload && ") +
              "khop-guest-tool " + verb +
              " khop-guest-tool kexec load && khop-guest-tool kexec unload",
          Seconds(600));
      MUST(said);
      uint64_t& number = verb == std::string("peak") ? *peak : *instructions;
      ASSERT_EQ(sscanf(said->c_str(), "%*s %" SCNu64, &number), 1) << *said;
    }
    *instructions *= kInstructionsOfATick;
  }
};

TEST_F(LoadCount, GrowsWithMemoryFrom516) {
  uint64_t peaks[2][2] = {};
  const char* const kernels[] = {"5.10", "6.1"};
  const int sizes[] = {1024, 4096};
  for (int k = 0; k < 2; ++k) {
    for (int s = 0; s < 2; ++s) {
      uint64_t instructions = 0;
      Measure(kernels[k], sizes[s], &instructions, &peaks[k][s]);
      if (IsSkipped() || HasFailure()) return;
      printf("%s, %d MiB: %" PRIu64 " instructions, %" PRIu64 " KiB at the peak\n", kernels[k],
             sizes[s], instructions, peaks[k][s] >> 10);
    }
  }
  // A table of 4 KiB for each 2 MiB.
  constexpr uint64_t kTables = (uint64_t{4096 - 1024} << 20) / 512;
  EXPECT_LT(peaks[0][1], uint64_t{1} << 20);
  EXPECT_GT(peaks[1][1] - peaks[1][0], kTables * 9 / 10);
}

}  // namespace
}  // namespace khop::lab
