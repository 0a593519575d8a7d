// SPDX-License-Identifier: MIT
// Where the running kernel's kexec_file_load puts what it loads, and whether a GIC writes there.
#pragma once

#include <string>

#include "tool/base/error.h"
#include "tool/load/prepare.h"
#include "tool/load/ranges.h"
#include "tool/system/memory_map.h"

namespace khop::load {

// The places of kernel, initrd and device tree, ascending, as arm64 kernels from 5.10 on choose
// them (arch/arm64/kernel/kexec_image.c and machine_kexec_file.c, kernel/kexec_file.c): in memory
// that memblock has not reserved, whoever uses it since; the kernel at the lowest 2 MiB boundary
// with room, the initrd above it, the tree at the top. Empty if there is no room. `free`: that
// memory, ascending.
Ranges KexecFilePlaces(const Ranges& free, const PayloadSizes& sizes, uint64_t page_size);

// Refuses where an image would come to lie on the tables that the GIC writes to (the next kernel
// would take its own code for them), or may: kUnsafeSystem. Else what the user should know of them;
// empty: nothing.
Result<std::string> CheckGicAgainstKexecFile(system::System& system, const Prepared& prepared);

}  // namespace khop::load
