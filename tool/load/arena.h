// SPDX-License-Identifier: MIT
// The arena: 2 MiB hugetlb pages in SysV shared memory, at physical addresses that khop knows. It
// outlives khop. There are two slots of well-known keys, so that a new arena can be built while the
// old one still counts, and so that arenas of a khop that died are found.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/addr.h"
#include "tool/base/error.h"
#include "tool/system/huge_pages.h"
#include "tool/system/memory_map.h"
#include "tool/system/system.h"

namespace khop::load {

inline constexpr int kSlots = 2;
inline constexpr int kSegmentsPerSlot = 16;
// "kho" and two nibbles: slot, segment.
constexpr int SegmentKey(int slot, int segment) { return 0x6b686f00 | slot << 4 | segment; }

struct ArenaSegment {
  int key = 0;
  int id = -1;
  uint64_t size = 0;  // bytes, punched-out pages included
};

// A page that is held.
struct ArenaPage {
  uint32_t segment = 0;  // index into the segments
  uint32_t index = 0;    // 2 MiB pages from the start of the segment
  PhysAddr address;
};

// What is needed to find an arena again.
struct ArenaRecord {
  int slot = 0;
  std::vector<ArenaSegment> segments;
  std::vector<ArenaPage> pages;  // ascending by address
  // By how many pages the pool stays larger while the arena lives: none if nobody else has free
  // pages in it, else all, as a smaller pool would swallow those first.
  uint64_t pool_pages = 0;
};

// The pool as it was before khop grew it, and the largest size that khop may have set since.
struct PoolRecord {
  uint64_t persistent = 0;
  uint64_t target = 0;
};

// An arena mapped into this process.
class Arena {
 public:
  // Called before the pool is made larger or a segment made: what it writes lets the next khop
  // undo it all. Nothing is changed if it fails.
  using Journal = std::function<Result<void>(const PoolRecord&)>;

  struct Request {
    int slot = 0;
    std::span<const uint64_t> run_pages;   // as FindRuns wants them
    std::span<const PhysRange> forbidden;  // never to be used, whatever /proc/iomem says
    uint64_t transient_limit = 0;          // bytes that the search may take beyond the need
  };

  // Allocates until the runs are there, keeps just their pages, and puts the pool's size back (the
  // pages become surplus) or leaves it larger by them, see ArenaRecord::pool_pages.
  // On failure everything is as before.
  // Errors: kNoMemory, kNoContiguousMemory, kMemoryLimit, kBusy (keys in use), kSystemCall.
  static Result<Arena> Create(system::System& system, const system::MemoryMap& map,
                              const Request& request, const Journal& journal);

  // Maps an arena that is there, and proves that every page still is where it was.
  // Errors: kArenaGone, and says how.
  static Result<Arena> Open(system::System& system, const ArenaRecord& record);

  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&&) = delete;
  // Unmaps. An arena that was created and not kept is given back.
  ~Arena();

  // The arena now stays when this object goes.
  void Keep() { keep_ = true; }

  const ArenaRecord& record() const { return record_; }
  const std::vector<PhysAddr>& runs() const { return runs_; }  // of Create: start of each run

  // Calls `use` with the mapped bytes of `range`, in order, never across 2 MiB pages. All of the
  // range is in the arena. Stops at the first failure.
  Result<void> ForEach(PhysRange range,
                       const std::function<Result<void>(std::span<std::byte>)>& use) const;
  // The mapped bytes of a range that lies in one page.
  std::span<std::byte> At(PhysRange range) const;
  // Cleans every held byte to the point of coherency.
  void CleanToPoc() const;

 private:
  explicit Arena(system::System& system) : system_(&system) {}
  Result<void> Search(const system::MemoryMap& map, const Request& request, const Journal& journal);
  Result<void> GiveBack();
  Result<void> AddSegment(int slot, uint64_t pages);
  Result<void> ReadPages(size_t segment, std::vector<ArenaPage>& pages) const;
  Result<void> DropPages(const std::vector<ArenaPage>& wanted);
  std::byte* Address(const ArenaPage& page) const;

  system::System* system_;
  ArenaRecord record_;
  std::vector<std::byte*> mappings_;  // one for each segment; null if not mapped
  std::vector<PhysAddr> runs_;
  bool keep_ = false;
};

// Removes the segments with khop's keys in `slot`, made by root; how many there were.
Result<int> RemoveSlot(system::System& system, int slot);
// How many segments with khop's keys are in `slot`, made by root.
int CountSegments(system::System& system, int slot);

// What the pool has to become when an arena with `pool_pages` goes. Before its segments are
// removed.
Result<PoolRecord> PoolWithout(system::System& system, uint64_t pool_pages);

// Puts the pool back to record.persistent if it is as khop left it: not if it is already smaller,
// or if somebody has made it larger since.
Result<void> RestorePool(system::System& system, const PoolRecord& record);

}  // namespace khop::load
