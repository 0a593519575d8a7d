// SPDX-License-Identifier: MIT
#pragma once

#include <cstddef>

// Makes free memory fragmented: afterwards nearly every aligned block of `block` bytes of it has a
// page that cannot be moved. This process holds those pages; they come back when it ends. Returns
// 0, or prints what failed.
int Fragment(size_t block);
