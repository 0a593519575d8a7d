// SPDX-License-Identifier: MIT
// What a hop may leave behind, and what may not grow from one hop to the next.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "lab/vm/failure.h"
#include "lab/vm/guest.h"

namespace khop::lab {

struct Footprint {
  uint64_t memory_total_kib = 0;  // MemTotal
  size_t reserved_regions = 0;    // "reserved" in /proc/iomem
  uint64_t reserved_bytes = 0;    // of these
  // Of /sys/firmware/fdt, less what the names of route and kernel take in it.
  uint64_t tree_bytes = 0;
  std::vector<std::string> reservations;  // its /memreserve/ entries, "0xADDRESS 0xSIZE"
};

Result<Footprint> TakeFootprint(Guest& guest);
// For one line of a test's output.
std::string ToString(const Footprint& footprint);
// Fails the test if `now` is more than `first`, of the same kernel earlier on. Kernel and initrd
// lie elsewhere and memory is laid out at random, so the bytes may differ by `slack`.
void ExpectNoGrowth(const Footprint& first, const Footprint& now, uint64_t slack);

}  // namespace khop::lab
