// SPDX-License-Identifier: MIT
// Where the next kernel's device tree comes from, before what stands in it is made its own.
#pragma once

#include <string>
#include <vector>

#include "tool/base/error.h"
#include "tool/load/prepare.h"
#include "tool/system/system.h"

namespace khop::load {

// The compatible strings of the running machine's tree; none with ACPI.
std::vector<std::string> RunningCompatible(system::System& system);

// Fills in `tree` and `dtb_source`: that of --dtb, of the image (UKI, FIT), or the running one,
// with the overlays of the image and of --dtbo. Another tree than the running one that has no
// memory gets the running machine's.
// Errors: kFileMissing, kFileUnreadable, kFileEmpty, kBadDeviceTree, kUnsupportedMachine.
Result<void> ReadTree(system::System& system, const LoadOptions& options, Prepared& prepared);

}  // namespace khop::load
