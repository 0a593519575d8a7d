// SPDX-License-Identifier: MIT
// The UART behind a terminal, such as ttyAMA0, as sysfs describes it.
#pragma once

#include <string>

#include "tool/base/error.h"
#include "tool/devicetree/machine.h"
#include "tool/system/system.h"

namespace khop::load {

// Errors: kUsage (there is no such terminal, or the relocator cannot drive its UART).
Result<devicetree::Console> UartOfTty(system::System& system, const std::string& tty);

}  // namespace khop::load
