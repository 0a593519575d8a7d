// SPDX-License-Identifier: MIT
// The kernel's pools of huge pages as khop changes them, and how they become what they were.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "tool/base/error.h"
#include "tool/system/huge_pages.h"
#include "tool/system/system.h"

namespace khop::load {

// A pool as it was before khop grew it, and the largest size that khop may have set since.
struct PoolRecord {
  uint64_t page_size = 0;
  uint64_t persistent = 0;
  uint64_t target = 0;
};
using PoolRecords = std::vector<PoolRecord>;

// By how many pages a pool stays larger while an arena lives: none if nobody else has free pages in
// it, else all that the arena holds, as a smaller pool would swallow those first.
struct LentPages {
  uint64_t page_size = 0;
  uint64_t count = 0;
};

// Called before a pool is made larger or a segment made: what it writes lets the next khop undo it
// all. Nothing is changed if it fails.
using Journal = std::function<Result<void>(const PoolRecords&)>;

// Makes the pool larger by up to `pages`, of the boot CPU's node first; returns by how many it
// became. `records` gets or keeps the pool's state before.
Result<uint64_t> GrowPool(system::System& system, uint64_t page_size, uint64_t pages,
                          PoolRecords& records, const Journal& journal);

// What the pools have to become when an arena that was lent `lent` goes. Before its segments are
// removed.
Result<PoolRecords> PoolsWithout(system::System& system, std::span<const LentPages> lent);

// Puts each pool back to record.persistent if it is as khop left it: not if it is already smaller,
// or if somebody has made it larger since. Tries all; returns the first failure.
Result<void> RestorePools(system::System& system, std::span<const PoolRecord> records);

}  // namespace khop::load
