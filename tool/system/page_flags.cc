// SPDX-License-Identifier: MIT
#include "tool/system/page_flags.h"

#include <algorithm>
#include <array>

namespace khop::system {
namespace {

constexpr const char* kPath = "/proc/kpageflags";

constexpr uint64_t Bit(int bit) { return uint64_t{1} << bit; }

// Bits of the file; from 32 on they are the kernel's own and may be missing.
constexpr uint64_t kLru = Bit(5);
constexpr uint64_t kBuddy = Bit(10);
// Page tables of processes: nothing but the MMU of the old kernel reads them.
constexpr uint64_t kPageTable = Bit(26);
// On its way to the LRU lists by a list of the CPU's own: a process's memory all the same.
constexpr uint64_t kAnon = Bit(12);
constexpr uint64_t kReserved = Bit(32);
constexpr uint64_t kNever = Bit(7) |   // SLAB
                            Bit(8) |   // WRITEBACK: a device reads it
                            Bit(17) |  // HUGE: somebody's hugetlb page
                            Bit(19) |  // HWPOISON
                            Bit(20) |  // NOPAGE
                            Bit(23) |  // OFFLINE
                            Bit(33) |  // MLOCKED: somebody may have given it to a device
                            kReserved;

// Calls `visit(page, flags)` for each page of `ranges`.
Result<void> ForEachPage(System& system, std::span<const PhysRange> ranges,
                         const std::function<void(PhysAddr, uint64_t)>& visit) {
  if (ranges.empty()) return {};
  const auto file = File::Open(system, kPath, OpenMode::kRead);
  if (!file) {
    return FailKernelFile(ExitCode::kNoRoute, kPath, file.error().value,
                          "khop needs it to see which memory is free (CONFIG_PROC_PAGE_MONITOR)");
  }
  const uint64_t page_size = system.PageSize();
  std::vector<uint64_t> flags(8192);
  for (const PhysRange& range : ranges) {
    uint64_t frame = AlignUp(range.start.value, page_size) / page_size;
    const uint64_t end = range.end().value / page_size;
    while (frame < end) {
      const size_t count = std::min<uint64_t>(flags.size(), end - frame);
      const auto bytes = std::as_writable_bytes(std::span(flags).first(count));
      const auto got = ReadFully(system, file->fd(), bytes, frame * sizeof(uint64_t));
      if (!got) return FailErrno(ExitCode::kSystemCall, kPath, got.error().value);
      const size_t read = *got / sizeof(uint64_t);
      for (size_t i = 0; i < read; ++i) visit(PhysAddr{(frame + i) * page_size}, flags[i]);
      // What lies beyond the end of the file is no memory of the kernel's.
      if (read < count) break;
      frame += count;
    }
  }
  return {};
}

void Append(std::vector<PhysRange>& ranges, PhysRange page, uint64_t smallest) {
  if (!ranges.empty() && ranges.back().end() == page.start) {
    ranges.back().size += page.size;
    return;
  }
  if (!ranges.empty() && ranges.back().size < smallest) ranges.pop_back();
  ranges.push_back(page);
}

}  // namespace

bool MayBeOverwritten(uint64_t flags) {
  return (flags & (kLru | kBuddy | kAnon | kPageTable)) != 0 && (flags & kNever) == 0;
}

Result<std::vector<PhysRange>> FindOverwritable(System& system, std::span<const PhysRange> ranges,
                                                std::span<const PhysRange> owned,
                                                uint64_t smallest) {
  std::vector<PhysRange> found;
  const uint64_t page_size = system.PageSize();
  auto next = owned.begin();
  const auto done = ForEachPage(system, ranges, [&](PhysAddr page, uint64_t flags) {
    while (next != owned.end() && next->end() <= page) ++next;
    const bool ours = next != owned.end() && next->Contains(page);
    if (ours || MayBeOverwritten(flags)) Append(found, {page, page_size}, smallest);
  });
  if (!done) return Forward(done);
  if (!found.empty() && found.back().size < smallest) found.pop_back();
  return found;
}

Result<std::vector<PageRun>> ReadPageUse(System& system, std::span<const PhysRange> ranges) {
  std::vector<PageRun> runs;
  const uint64_t page_size = system.PageSize();
  const auto done = ForEachPage(system, ranges, [&](PhysAddr page, uint64_t flags) {
    PageUse use = PageUse::kBusy;
    if (MayBeOverwritten(flags)) use = (flags & kBuddy) != 0 ? PageUse::kFree : PageUse::kMovable;
    if (!runs.empty() && runs.back().use == use && runs.back().range.end() == page) {
      runs.back().range.size += page_size;
    } else {
      runs.push_back({{page, page_size}, use});
    }
  });
  if (!done) return Forward(done);
  return runs;
}

uint64_t FlagsOf(PageUse use) {
  switch (use) {
    case PageUse::kFree:
      return kBuddy;
    case PageUse::kMovable:
      return kLru;
    case PageUse::kBusy:
      break;
  }
  return kReserved;
}

Result<std::vector<PhysRange>> FindBusy(System& system, std::span<const PhysRange> ranges,
                                        Unflagged unflagged) {
  std::vector<PhysRange> busy;
  const uint64_t page_size = system.PageSize();
  const auto done = ForEachPage(system, ranges, [&](PhysAddr page, uint64_t flags) {
    if (flags == 0 && unflagged != Unflagged::kBusy) return;
    if ((flags & kNever) == kReserved && unflagged == Unflagged::kFreeOrKexecs) return;
    if (!MayBeOverwritten(flags)) Append(busy, {page, page_size}, 0);
  });
  if (!done) return Forward(done);
  return busy;
}

}  // namespace khop::system
