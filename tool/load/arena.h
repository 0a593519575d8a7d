// SPDX-License-Identifier: MIT
// The arena: pages in SysV shared memory, at physical addresses that khop knows: hugetlb pages of
// any size, and base pages that are locked. It outlives khop. There are two slots of well-known
// keys, so that a new arena can be built while the old one still counts, and so that arenas of a
// khop that died are found.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/base/addr.h"
#include "tool/base/error.h"
#include "tool/load/extents.h"
#include "tool/load/pools.h"
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
  uint64_t size = 0;       // bytes, punched-out pages included
  uint64_t page_size = 0;  // of its pages
  bool base = false;       // the kernel's own pages, which can be moved, and not hugetlb ones
};

// What is needed to find an arena again.
struct ArenaRecord {
  int slot = 0;
  std::vector<ArenaSegment> segments;
  Extents extents = std::make_shared<const std::vector<Extent>>();  // ascending by destination
  std::vector<LentPages> lent;

  // Whether it stays put only as long as vm.compact_unevictable_allowed is 0.
  bool has_base_pages() const;
  // Pages of each size that are held, the largest first.
  std::vector<LentPages> Pages() const;
};

// An arena mapped into this process.
class Arena {
 public:
  struct Request {
    int slot = 0;
    std::span<const uint64_t> run_pages;   // of 2 MiB, as FindRuns wants them
    std::span<const PhysRange> forbidden;  // never to be used, whatever /proc/iomem says
    uint64_t transient_limit = 0;          // bytes that the search may take beyond the need
  };

  // Allocates 2 MiB pages until the runs are there, keeps just their pages, and puts the pool's
  // size back (the pages become surplus) or leaves it larger by them, see LentPages.
  // On failure everything is as before.
  // Errors: kNoMemory, kNoContiguousMemory, kMemoryLimit, kBusy (keys in use), kSystemCall.
  static Result<Arena> Create(system::System& system, const system::MemoryMap& map,
                              const Request& request, const Journal& journal);

  // What a search for pages beyond the need leaves available, at least.
  static constexpr uint64_t kKeptAvailable = uint64_t{16} << 20;

  struct GatherRequest {
    int slot = 0;
    uint64_t bytes = 0;  // whole base pages, not 0
    // More to choose from, if they can be had: base pages; base pages to give up huge ones for, at
    // most as many as there are of those; and whole pages of 2 MiB.
    uint64_t extra = 0;
    uint64_t extra_for_huge = 0;
    uint64_t extra_huge = 0;
    // Pages that are refused do not count as base pages to choose from: so much more is held.
    bool insist = false;
    std::span<const PhysRange> forbidden;
    uint64_t transient_limit = 0;  // bytes of pages that may be taken and refused
    // Called once before the first base page is taken: makes compaction leave locked pages alone.
    std::function<Result<void>()> before_base_pages;
  };

  // Takes `bytes` in the largest pages that fit, hugetlb ones first, wherever they lie; the rest in
  // base pages. Pages that are not plain memory are refused. Trim() must follow.
  // Errors: as above.
  static Result<Arena> Gather(system::System& system, const system::MemoryMap& map,
                              const GatherRequest& request, const Journal& journal);

  // Gives back all but `wanted`, parts of the arena's extents with the destinations that they are
  // to have, and puts the pools back. Of a page that is wanted in part all is kept.
  Result<void> Trim(std::vector<Extent> wanted);

  // Maps an arena that is there, and proves that every page still is where it was.
  // Errors: kArenaGone, and says how.
  static Result<Arena> Open(system::System& system, const ArenaRecord& record);

  // The same, but pages may have moved: `moved` says how many. The new record has the addresses of
  // now and the destinations of before. Errors: kArenaGone.
  static Result<Arena> Adopt(system::System& system, const ArenaRecord& record, uint64_t* moved);

  // Memory of this process for bytes that the kernel will copy to `destinations`: an arena for as
  // long as it is filled, of no physical address that counts.
  static Arena Stage(system::System& system, const std::vector<PhysRange>& destinations);

  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&&) = delete;
  // Unmaps. An arena that was created and not kept is given back.
  ~Arena();

  // The arena now stays when this object goes.
  void Keep() { keep_ = true; }

  const ArenaRecord& record() const { return record_; }
  const std::vector<Extent>& extents() const { return *record_.extents; }
  const std::vector<PhysAddr>& runs() const { return runs_; }  // of Create: start of each run
  // With other destinations (or split), for the same memory.
  void SetExtents(std::vector<Extent> extents);

  // Calls `use` with the mapped bytes that belong at `range`, in order, piece by piece of at most
  // 2 MiB. All of the range is in the arena. Stops at the first failure.
  Result<void> ForEach(PhysRange range,
                       const std::function<Result<void>(std::span<std::byte>)>& use) const;
  // The mapped bytes that belong at a range that lies in one page.
  std::span<std::byte> At(PhysRange range) const;
  // Of Stage(): all that goes to the range that begins at `destination`.
  std::span<const std::byte> Staged(PhysAddr destination) const;
  // Cleans every held byte to the point of coherency, but for those that belong at `done`
  // (ascending).
  void CleanToPoc(std::span<const PhysRange> done = {}) const;
  // Overwrites every held byte: an initrd may have keys in it.
  void Wipe() const;

 private:
  explicit Arena(system::System& system) : system_(&system) {}
  Result<void> Search(const system::MemoryMap& map, const Request& request, const Journal& journal);
  Result<void> Take(const system::MemoryMap& map, const GatherRequest& request,
                    const Journal& journal, std::vector<Extent>& good);
  Result<uint64_t> Grow(uint64_t page_size, uint64_t pages, const Journal& journal);
  Result<void> AddSegment(int slot, uint64_t page_size, uint64_t pages);
  Result<void> RemoveLastSegment();
  // Calls `use` with each page of a segment, in order.
  Result<void> ForEachPage(size_t segment, const std::function<void(const Extent&)>& use) const;
  Result<void> DropExcept(std::vector<Extent> wanted);
  Result<void> SettlePools();
  void GiveBack();
  std::byte* Mapped(const Extent& extent) const {
    return mappings_[extent.segment] + extent.offset;
  }

  system::System* system_;
  ArenaRecord record_;
  std::vector<std::byte*> mappings_;            // one for each segment; null if not mapped
  std::vector<std::vector<std::byte>> staged_;  // of Stage(): what is mapped
  std::vector<PhysAddr> runs_;
  PoolRecords grown_;             // as the pools were
  std::vector<uint64_t> shared_;  // sizes whose pool had free pages of somebody else
  bool settled_ = false;          // the pools are what they are to be while the arena lives
  bool keep_ = false;
};

// Whether a page may be part of the payload.
bool UsablePage(const system::MemoryMap& map, std::span<const PhysRange> forbidden, PhysRange page);

// Overwrites an arena that is about to be removed, as far as its pages still are there.
void WipeArena(system::System& system, const ArenaRecord& record);
// Removes the segments with khop's keys in `slot`, made by root; how many there were.
Result<int> RemoveSlot(system::System& system, int slot);
// How many segments with khop's keys are in `slot`, made by root.
int CountSegments(system::System& system, int slot);

}  // namespace khop::load
