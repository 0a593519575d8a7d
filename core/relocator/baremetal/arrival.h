// SPDX-License-Identifier: MIT
// The machine where the next kernel would start.
#pragma once

#include "core/relocator/baremetal/case.h"

namespace khop::baremetal {

// Looks at the registers, the payload, the timeline and the live page tables; ends the program with
// what is wrong. After ProbeEntry (start.S).
void CheckArrival(const Built& built);

}  // namespace khop::baremetal
