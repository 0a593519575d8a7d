// SPDX-License-Identifier: MIT
// What `khop load` starts when it is given no file: an entry of the boot partition, or what the
// distribution's links point at.
#pragma once

#include <vector>

#include "tool/base/error.h"
#include "tool/entry/entry.h"
#include "tool/load/prepare.h"
#include "tool/system/system.h"

namespace khop::load {

// All entries of /boot, /efi and /boot/efi; what cannot be started is left out, and `skipped` has a
// line for each.
std::vector<entry::Entry> FindEntries(system::System& system, std::vector<std::string>& skipped);

// `options` with a kernel: as they are if they name one; from the entry that they name; else from
// the default entry, else Debian's links /vmlinuz and /initrd.img with the running kernel's command
// line. What the options say themselves comes first. `notes` tells what was taken.
// Errors: kNoEntry, kBadEntry, kOtherArchitecture.
Result<LoadOptions> ResolveKernel(system::System& system, LoadOptions options,
                                  std::vector<std::string>& notes);

}  // namespace khop::load
