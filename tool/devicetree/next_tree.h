// SPDX-License-Identifier: MIT
// The device tree that the next kernel gets: the running one's, without what is stale.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/addr.h"
#include "tool/base/error.h"
#include "tool/devicetree/change.h"
#include "tool/devicetree/tree.h"

namespace khop::devicetree {

// COMMAND_LINE_SIZE of arm64 (5.10 to 7.2), without the NUL.
inline constexpr size_t kMaxCommandLine = 2047;

struct NextTreeOptions {
  std::string command_line;
  std::optional<PhysRange> initrd;            // exact bytes, not rounded to pages
  std::optional<uint64_t> kaslr_seed;         // from the running kernel's generator; never 0
  std::vector<std::byte> rng_seed;            // 64 bytes are usual; empty: no rng-seed
  bool timeline = true;                       // make room for /chosen/khop,timeline
  std::string route;                          // /chosen/khop,route; empty: none
  std::string from;                           // /chosen/khop,from: the running kernel's release
  std::vector<PhysRange> extra_reservations;  // added to /memreserve/ unless they are there already
  // Of a capture kernel: the dead kernel's ELF core header, and the memory that it may use.
  std::optional<PhysRange> elf_core_header;
  std::vector<PhysRange> usable_memory;
};

struct NextTree {
  std::vector<std::byte> bytes;  // packed; to be placed at a multiple of 8
  // Of the value of /chosen/khop,timeline from the start of the blob: a multiple of 8, so that the
  // relocator's 64-bit stores to it are aligned. 0: no timeline.
  uint32_t timeline_offset = 0;
  std::vector<Change> changes;
};

// Builds it anew from `running` without the NOPs that the running kernel left: the size depends on
// the contents only, so it does not grow from hop to hop. Initrd and timeline are always 64-bit, so
// a tree built with any addresses has the size of the final one: build once to learn the size, then
// again. Errors: kCommandLineTooLong; kUsage if the command line holds a NUL; kBadDeviceTree if the
// result were over kMaxTreeSize.
Result<NextTree> BuildNextTree(const Tree& running, const NextTreeOptions& options);

}  // namespace khop::devicetree
