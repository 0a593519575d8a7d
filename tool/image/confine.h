// SPDX-License-Identifier: MIT
// How a process gives up everything that it does not need to compute.
#pragma once

#include <sys/types.h>

#include "tool/base/error.h"

namespace khop::image {

// Has this process killed when its parent ends.
void DieWith(pid_t parent);

// Closes all descriptors but `socket`, becomes nobody (if it is root), sets limits, and allows
// itself the system calls for memory, and read(2) and write(2) on that descriptor. Any other ends
// it. Errors: kNoSandbox.
Result<void> Confine(int socket);

}  // namespace khop::image
