// SPDX-License-Identifier: MIT
// What was measured, and the CSV file that keeps it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "bench/blackout/cases.h"
#include "lab/vm/failure.h"

namespace khop::bench {

// One hop. Under an instruction count a nanosecond of the guest is an instruction.
struct Sample {
  Case what;
  int repetition = 1;
  std::string setup;       // what ran: runs of another setup are not compared
  uint64_t blackout = 0;   // instructions from just before reboot(2) to the next kernel's time zero
  uint64_t shutdown = 0;   // of these, until khop's relocator runs; 0 for kexec-tools
  uint64_t relocator = 0;  // of these, of khop's relocator; 0 for kexec-tools
  uint64_t load = 0;       // instructions of the loading command
  uint64_t load_idle = 0;  // of these, when the CPU had nothing to do
  uint64_t peak = 0;       // bytes of memory, at the most, while it loaded; 0: not measured
  uint64_t any_image = 0;  // of these, what this kernel takes for an image of one page
  uint64_t payload = 0;    // bytes of kernel (with its BSS), initrd and device tree
  uint64_t by_kernel = 0;  // bytes that the running kernel copied in the blackout
  bool kernel_mmu = false;  // whether it did so with the MMU on
  uint64_t by_khop = 0;     // bytes that khop's relocator copied
  bool khop_mmu = false;    // whether it had the MMU on, for that and for its digests
  uint64_t verified = 0;    // bytes that were digested in the blackout

  bool operator==(const Sample&) const = default;
};

std::string ToCsv(const std::vector<Sample>& runs);
// Lines that are not of this form are an error.
lab::Result<std::vector<Sample>> FromCsv(const std::string& text);

// Those of a case, taken together.
struct Figures {
  int runs = 0;
  Sample middle;      // the one of the median blackout
  uint64_t peak = 0;  // the largest of them
  double spread = 0;  // (largest - smallest) / median, of the blackout
};

std::optional<Figures> FiguresOf(const std::vector<Sample>& runs, const Case& what);

}  // namespace khop::bench
