// SPDX-License-Identifier: MIT
// The kernel's pools of hugetlb pages, one for each size. The size is always named: the default one
// is 32 MiB on kernels with 16 KiB pages. 2 MiB pages exist on every granule (as contiguous PTEs on
// 16K and 64K).
#pragma once

#include <cstdint>
#include <vector>

#include "tool/base/error.h"
#include "tool/system/system.h"

namespace khop::system {

inline constexpr uint64_t kHugePageSize = uint64_t{2} << 20;

// The sizes that this kernel has a pool for, bytes, the largest first; none without hugetlb.
std::vector<uint64_t> HugePageSizes(System& system);

struct HugePool {
  uint64_t total = 0;  // all pages, surplus ones included
  uint64_t surplus = 0;
  uint64_t free = 0;
  // What an administrator has set, and what khop puts back: pages that are in use when the pool is
  // made smaller become surplus, and go back to the system when they are freed.
  uint64_t persistent() const { return total - surplus; }
};

Result<HugePool> ReadHugePool(System& system, uint64_t page_size);
// Makes the pool larger by up to `pages` that lie on one NUMA node. The kernel may give fewer, and
// none where the node has no memory.
Result<void> GrowHugePoolOnNode(System& system, uint64_t page_size, int node, uint64_t pages);
// Sets the number of persistent pages. The kernel may give fewer; read the pool to see.
// To have n more pages while some are surplus, ask for total + n: surplus pages count first.
Result<void> SetHugePool(System& system, uint64_t page_size, uint64_t persistent);

}  // namespace khop::system
