// SPDX-License-Identifier: MIT
// The instructions that khop runs in user space: the only inline assembly of tool/. Linux lets EL0
// use them (SCTLR_EL1.UCI and UCT, CNTKCTL_EL1.EL0VCTEN), or emulates them on cores with errata.
#pragma once

#include <cstddef>
#include <cstdint>

namespace khop::system::el0 {

#if defined(__aarch64__)

inline uint64_t Counter() {
  uint64_t value = 0;  // NOLINT(misc-const-correctness): written by the assembly
  // The isb keeps the read from being done early (Arm ARM, "CNTVCT_EL0").
  asm volatile("isb\n\tmrs %0, cntvct_el0" : "=r"(value)::"memory");
  return value;
}

inline uint64_t CounterFrequency() {
  uint64_t value = 0;  // NOLINT(misc-const-correctness): written by the assembly
  asm volatile("mrs %0, cntfrq_el0" : "=r"(value));
  return value;
}

// CTR_EL0.DminLine, bits 19:16, is log2 of the words in the smallest data cache line; the kernel
// presents the smallest of all CPUs.
inline uint32_t DataCacheLine() {
  uint64_t ctr = 0;  // NOLINT(misc-const-correctness): written by the assembly
  asm volatile("mrs %0, ctr_el0" : "=r"(ctr));
  return uint32_t{4} << ((ctr >> 16) & 0xf);
}

inline void CleanToPoc(const std::byte* address, uint64_t size) {
  const uint64_t line = DataCacheLine();
  const uint64_t start = reinterpret_cast<uint64_t>(address);
  for (uint64_t at = start & ~(line - 1); at < start + size; at += line) {
    asm volatile("dc civac, %0" ::"r"(at) : "memory");
  }
  asm volatile("dsb sy" ::: "memory");
}

#else

// Other machines can build khop and see it refuse; none of these results is ever used there.
inline uint64_t Counter() { return 0; }
inline uint64_t CounterFrequency() { return 0; }
inline uint32_t DataCacheLine() { return 64; }
inline void CleanToPoc(const std::byte* /*address*/, uint64_t /*size*/) {}

#endif

}  // namespace khop::system::el0
