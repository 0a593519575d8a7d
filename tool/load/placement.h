// SPDX-License-Identifier: MIT
// Where everything goes: first relative to runs of huge pages ("shape"), then onto runs that exist.
// Pure arithmetic: no memory is touched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "core/base/addr.h"

namespace khop::load {

struct PayloadSizes {
  uint64_t text_offset = 0;   // of the Image from a 2 MiB boundary, below 2 MiB
  uint64_t image_size = 0;    // bytes in memory, BSS included
  uint64_t initrd_size = 0;   // 0: no initrd
  uint64_t dtb_size = 0;      // at most 2 MiB
  uint64_t control_size = 0;  // at most 2 MiB
};

// A place in one of the shape's runs.
struct Spot {
  size_t run = 0;
  uint64_t offset = 0;  // bytes from the start of the run
};

// Runs of 2 MiB pages, each to be contiguous in physical memory, and what lies where in them.
struct Shape {
  std::vector<uint64_t> run_pages;  // [0] holds the kernel, the next the initrd, maybe one extra
  Spot image;
  Spot initrd;   // meaningless without an initrd
  Spot dtb;      // does not cross a 2 MiB boundary
  Spot stamp;    // a word in a cache line of its own, whatever the size of lines
  Spot control;  // aligned to `granule`
  uint64_t pages() const;
};

// The smallest shape: the small things go into the tails of the last pages where they fit, so that
// less than 6 MiB are held beyond the payload. `granule` is a power of two up to 64 KiB.
Shape MakeShape(const PayloadSizes& sizes, uint64_t granule);

// Physical start of every run of `shape` within `pages` (2 MiB-aligned addresses, ascending, none
// twice); nothing if they do not fit. All runs lie in one window of 32 GiB that starts at a
// multiple of 1 GiB, as booting.rst wants of Image and initrd. Small holes are used first.
std::optional<std::vector<PhysAddr>> FindRuns(std::span<const PhysAddr> pages,
                                              std::span<const uint64_t> run_pages);

}  // namespace khop::load
