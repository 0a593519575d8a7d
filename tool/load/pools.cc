// SPDX-License-Identifier: MIT
#include "tool/load/pools.h"

#include <algorithm>

#include "tool/system/numa.h"

namespace khop::load {

using system::System;

Result<uint64_t> GrowPool(System& system, uint64_t page_size, uint64_t pages, PoolRecords& records,
                          const Journal& journal) {
  const auto before = system::ReadHugePool(system, page_size);
  if (!before) return Forward(before);
  // Surplus pages (of an older arena, say) count towards the wanted number first: ask for them too.
  const uint64_t target = before->total + pages;
  auto record = std::ranges::find(records, page_size, &PoolRecord::page_size);
  if (record == records.end()) {
    records.push_back({page_size, before->persistent(), before->persistent()});
    record = records.end() - 1;
  }
  record->target = std::max(record->target, target);
  if (const auto journalled = journal(records); !journalled) return Forward(journalled);
  if (const auto node = system::BootNode(system)) {
    const auto grown = system::GrowHugePoolOnNode(system, page_size, *node, pages);
    if (!grown) return Forward(grown);
  }
  // What the boot node does not have, from any.
  if (const auto set = system::SetHugePool(system, page_size, target); !set) return Forward(set);
  const auto after = system::ReadHugePool(system, page_size);
  if (!after) return Forward(after);
  return after->total > before->total ? after->total - before->total : 0;
}

Result<PoolRecords> PoolsWithout(System& system, std::span<const LentPages> lent) {
  PoolRecords records;
  for (const LentPages& pages : lent) {
    const auto pool = system::ReadHugePool(system, pages.page_size);
    if (!pool) return Forward(pool);
    const uint64_t now = pool->persistent();
    records.push_back({pages.page_size, now > pages.count ? now - pages.count : 0, now});
  }
  return records;
}

Result<void> RestorePools(System& system, std::span<const PoolRecord> records) {
  Result<void> result = {};
  for (const PoolRecord& record : records) {
    const auto pool = system::ReadHugePool(system, record.page_size);
    Result<void> done = {};
    if (!pool) {
      done = Forward(pool);
    } else if (pool->persistent() > record.persistent && pool->persistent() <= record.target) {
      done = system::SetHugePool(system, record.page_size, record.persistent);
    }
    if (!done && result) result = done;
  }
  return result;
}

}  // namespace khop::load
