// SPDX-License-Identifier: MIT
// How a failed hop can speak and reset the machine: from the device tree or, where that has no more
// than /chosen, from ACPI.
#pragma once

#include "tool/base/error.h"
#include "tool/load/prepare.h"
#include "tool/system/system.h"

namespace khop::load {

// Fills in `last_words` and `console`, from `tree` and from the running kernel.
// Errors: kUnsupportedMachine (no PSCI, a damaged FADT), kCpusStuck (spin tables), kUsage (the
// terminal of the options is not there, or no UART that the relocator can drive).
Result<void> PrepareFirmware(system::System& system, const LoadOptions& options,
                             Prepared& prepared);

// Gives an empty initrd to a next kernel that boots by UEFI and would get none. Without one in its
// tree a kernel from 6.1 on looks into a table that the first boot's EFI stub left, and unpacks
// whatever lies now where that boot's initrd was.
void SupplyInitrd(Prepared& prepared);

}  // namespace khop::load
