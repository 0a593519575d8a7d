// SPDX-License-Identifier: MIT
// /proc/kcore: the running kernel's memory as an ELF core file, where it shows it to root
// (CONFIG_PROC_KCORE, no lockdown).
#pragma once

#include <cstdint>
#include <vector>

#include "core/base/addr.h"
#include "tool/system/system.h"

namespace khop::load {

inline constexpr const char* kKcore = "/proc/kcore";

// A stretch of memory: where the kernel has it, and where it is in the file.
struct KcoreSegment {
  PhysRange range;
  uint64_t virt = 0;
  uint64_t offset = 0;
};

// Those whose physical address it tells, ascending by `virt`: the linear map's, which lies in the
// lower half of the kernel's addresses (since 5.4), and the kernel image's. Empty if it cannot be
// read.
std::vector<KcoreSegment> ReadKcoreSegments(system::System& system, int fd);

}  // namespace khop::load
