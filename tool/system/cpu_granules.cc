// SPDX-License-Identifier: MIT
#include "tool/system/cpu_granules.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <string>

namespace khop::system {
namespace {

constexpr int kMaxCpus = 4096;
constexpr uint64_t kImplementerArm = 0x41;

// MIDR_EL1.PartNum of Arm's cores that run kernels with 16 KiB pages. Not in it: Cortex-A53, A57
// and A72, which have 4 and 64 KiB only, and what is not known.
constexpr auto kPartsWith16k = std::to_array<uint64_t>({
    0xd05,  // Cortex-A55
    0xd0b,  // Cortex-A76
    0xd0c,  // Neoverse N1
    0xd0d,  // Cortex-A77
    0xd40,  // Neoverse V1
    0xd41,  // Cortex-A78
    0xd44,  // Cortex-X1
    0xd46,  // Cortex-A510
    0xd47,  // Cortex-A710
    0xd48,  // Cortex-X2
    0xd49,  // Neoverse N2
    0xd4d,  // Cortex-A715
    0xd4e,  // Cortex-X3
    0xd4f,  // Neoverse V2
});

std::optional<uint64_t> ReadMidr(System& system, const std::string& cpu) {
  const auto text = ReadFile(system, cpu + "/regs/identification/midr_el1", 64);
  if (!text || !text->starts_with("0x")) return std::nullopt;
  uint64_t midr = 0;
  const auto [rest, error] =
      std::from_chars(text->data() + 2, text->data() + text->size(), midr, 16);
  if (error != std::errc()) return std::nullopt;
  return midr;
}

}  // namespace

bool CoreHasGranule(uint64_t midr, uint64_t granule) {
  if ((midr >> 24 & 0xff) != kImplementerArm) return false;
  // Every AArch64 core of Arm's has these two.
  if (granule == 4096 || granule == 65536) return true;
  return granule == 16384 &&
         std::ranges::find(kPartsWith16k, midr >> 4 & 0xfff) != kPartsWith16k.end();
}

bool CpusHaveGranule(System& system, uint64_t granule) {
  bool known = false;
  for (int number = 0; number < kMaxCpus; ++number) {
    const std::string cpu = "/sys/devices/system/cpu/cpu" + std::to_string(number);
    const auto midr = ReadMidr(system, cpu);
    if (!midr && system.Lstat(cpu + "/regs")) return false;
    if (!midr && !system.Lstat(cpu)) break;
    if (!midr) continue;  // offline; it has no registers to show
    if (!CoreHasGranule(*midr, granule)) return false;
    known = true;
  }
  return known;
}

}  // namespace khop::system
