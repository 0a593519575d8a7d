// SPDX-License-Identifier: MIT
// Looks at a machine, and changes nothing: can it hop, by which routes, what stands in the way?
#pragma once

#include "tool/report/doctor.h"
#include "tool/system/system.h"

namespace khop::doctor {

report::Doctor Examine(system::System& system);

}  // namespace khop::doctor
