// SPDX-License-Identifier: MIT
// Parts that several reports share.
#pragma once

#include <cstdint>
#include <string>

namespace khop::report {

// A stretch of physical memory with a role in the hop.
struct Segment {
  std::string name;         // "kernel", "initrd", "dtb", "control"
  uint64_t start = 0;       // physical address
  uint64_t size = 0;        // bytes in memory, BSS included
  uint64_t file_bytes = 0;  // of these, bytes that came from a file; 0 if made by khop
};

// Where the relocator, its stack, the hand-off and the page tables lie: bytes of each.
struct ControlArea {
  uint64_t start = 0;  // physical address
  uint64_t size = 0;   // of all, rounded up to pages
  uint64_t blob_bytes = 0;
  uint64_t stack_bytes = 0;
  uint64_t handoff_bytes = 0;
  uint64_t table_bytes = 0;
};

// Pages of one size that khop holds.
struct ArenaPages {
  uint64_t page_size = 0;  // bytes
  uint64_t count = 0;
};

// A route that was not taken.
struct Refusal {
  std::string route;
  std::string reason;
};

}  // namespace khop::report
