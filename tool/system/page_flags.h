// SPDX-License-Identifier: MIT
// What the kernel uses each page of memory for, from /proc/kpageflags: whether a page that khop
// does not own may be overwritten by a hop.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "core/base/addr.h"
#include "tool/base/error.h"
#include "tool/system/system.h"

namespace khop::system {

// Whether a page with these flags (Documentation/admin-guide/mm/pagemap.rst) may be a destination:
// free, page cache or anonymous memory of processes, which are gone by then, or a page table.
// Everything else may be under a device's hands until the end: a slab, a ring, pages that somebody
// locked, or poisoned memory.
bool MayBeOverwritten(uint64_t flags);

// The parts of `ranges` (ascending, disjoint) that may be overwritten or lie in `owned` (likewise),
// joined; only stretches of at least `smallest` bytes, so that the result stays small. Streams: 8
// bytes per page of memory are read.
// Errors: kNoRoute (no /proc/kpageflags: CONFIG_PROC_PAGE_MONITOR), kSystemCall.
Result<std::vector<PhysRange>> FindOverwritable(System& system, std::span<const PhysRange> ranges,
                                                std::span<const PhysRange> owned,
                                                uint64_t smallest);

// Who has a page, as a plan has to know it.
enum class PageUse : uint8_t {
  kFree,
  kMovable,  // a process's or cache: the kernel can move it away, and a hop may overwrite it
  kBusy,     // the kernel's, a device's, or not known
};
struct PageRun {
  PhysRange range;
  PageUse use = PageUse::kBusy;
  friend bool operator==(const PageRun&, const PageRun&) = default;
};
// All pages of `ranges` (ascending, disjoint), runs of one use joined. Errors: as above.
Result<std::vector<PageRun>> ReadPageUse(System& system, std::span<const PhysRange> ranges);
// Flags that stand for a use in a file that is made up of runs.
uint64_t FlagsOf(PageUse use);

// A page without any flag: the kernel has it for itself, or it waits, free, on a list of a CPU's
// own. The lists are refilled by dozens of pages at a time, whatever khop does; the file does not
// tell the two apart. kFreeOrKexecs: nor does a page count that is RESERVED and nothing else, as
// those are that kexec_load takes.
enum class Unflagged { kBusy, kFree, kFreeOrKexecs };

// The pages of `ranges` that may not be overwritten, joined. Errors: as above.
Result<std::vector<PhysRange>> FindBusy(System& system, std::span<const PhysRange> ranges,
                                        Unflagged unflagged = Unflagged::kBusy);

}  // namespace khop::system
