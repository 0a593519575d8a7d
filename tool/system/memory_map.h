// SPDX-License-Identifier: MIT
// The machine's memory as /proc/iomem tells it, and where a page of this process lies.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "core/base/addr.h"
#include "tool/base/error.h"
#include "tool/system/system.h"

namespace khop::system {

struct MemoryMap {
  // Top-level "System RAM", sorted. Not "System RAM (kmem)" or "System RAM (virtio_mem)": a driver
  // manages that memory, and the next kernel may not see it.
  std::vector<PhysRange> ram;
  // `ram` without every nested entry, sorted. On arm64 each memblock reservation that was made
  // during boot is such an entry ("reserved", arch/arm64/kernel/setup.c), the CMA areas and the
  // firmware's tables among them, and so are the crash kernel and the running kernel's image.
  std::vector<PhysRange> plain;
  // What crashkernel= reserved, sorted: one range, or a low one for DMA and the one above it that
  // takes images (crashk_res).
  std::vector<PhysRange> crash;

  // Whether all of `range` lies in one range of `plain`.
  bool IsPlain(PhysRange range) const;
  // Highest address of RAM plus one; 0 without RAM.
  uint64_t RamEnd() const;
};

// `text` has the form of /proc/iomem: two spaces of indent per level, inclusive hexadecimal bounds.
// Fails if a line has another form, or if every address is 0 (what the kernel shows to non-root).
Result<MemoryMap> ParseIomem(std::string_view text);
Result<MemoryMap> ReadMemoryMap(System& system);

// `ranges` (sorted, disjoint) without `holes` (any order).
std::vector<PhysRange> Subtract(const std::vector<PhysRange>& ranges, std::vector<PhysRange> holes);
// What of `ranges` (sorted, disjoint) lies in one of `others` (any order).
std::vector<PhysRange> Intersect(const std::vector<PhysRange>& ranges,
                                 std::vector<PhysRange> others);

// Of the pages of larger memories only those of the first so many bytes are looked at one by one.
inline constexpr uint64_t kMostPagesSeen = uint64_t{64} << 30;
// The first `bytes` of `ranges`.
std::vector<PhysRange> FirstOf(std::vector<PhysRange> ranges, uint64_t bytes);

// The blocks of memory that the kernel means to be able to remove (ZONE_MOVABLE): pages there are
// moved away when somebody takes the block offline. Nothing where memory cannot be removed.
Result<std::vector<PhysRange>> RemovableMemory(System& system);

// Bytes, from /proc/meminfo.
Result<uint64_t> MemAvailable(System& system);
Result<uint64_t> MemTotal(System& system);

// /proc/self/pagemap: where pages of this process lie.
class Pagemap {
 public:
  static Result<Pagemap> Open(System& system);
  // The physical address of the mapped byte at `address`. Fails if its page is not present, or if
  // the kernel hides frame numbers (no CAP_SYS_ADMIN: they read 0).
  Result<PhysAddr> Lookup(const std::byte* address);
  // The same for the page at `address` and each `stride` bytes (whole pages) after it.
  Result<void> Lookup(const std::byte* address, uint64_t stride, std::span<PhysAddr> out);

 private:
  Pagemap(System& system, File file) : system_(&system), file_(std::move(file)) {}
  System* system_;
  File file_;
};

// One pagemap entry (Documentation/admin-guide/mm/pagemap.rst): bits 54:0 are the frame number if
// bit 63 (present) is set and bit 62 (swapped) is not. Returns false for any other page.
bool DecodePagemap(uint64_t entry, uint64_t page_size, PhysAddr* address);

}  // namespace khop::system
