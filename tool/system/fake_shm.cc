// SPDX-License-Identifier: MIT
// FakeSystem's SysV shared memory.
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "tool/system/fake_system.h"

namespace khop::system {

SysResult<int> FakeSystem::ShmCreate(int key, uint64_t size, uint64_t unit) {
  if (const int error = Trouble("ShmCreate")) return Err(error);
  if (ShmFind(key)) return Err(EEXIST);
  const uint64_t pages = size / unit;
  if (unit != page_size) {
    if (!pools.contains(unit)) return Err(EINVAL);
    if (pages > pool_free(unit)) return Err(ENOMEM);
  }
  Segment segment;
  segment.key = key;
  segment.size = size;
  segment.page_size = unit;
  segment.pages.assign(pages, 0);
  segment.memory = static_cast<std::byte*>(std::aligned_alloc(unit, size));
  segments_[next_id_] = std::move(segment);
  return next_id_++;
}

void FakeSystem::SetSegmentOwner(int key, uint32_t owner) {
  for (auto& [id, segment] : segments_) {
    if (segment.key == key) segment.uid = owner;
  }
}

SysResult<void> FakeSystem::ShmLock(int id) {
  if (const int error = Trouble("ShmLock")) return Err(error);
  const auto found = segments_.find(id);
  if (found == segments_.end()) return Err(EINVAL);
  found->second.locked = true;
  return {};
}

SysResult<ShmInfo> FakeSystem::ShmFind(int key) {
  if (const int error = Trouble("ShmFind")) return Err(error);
  for (const auto& [id, segment] : segments_) {
    if (segment.key == key) {
      return ShmInfo{.id = id, .size = segment.size, .creator_uid = segment.uid, .doomed = false};
    }
  }
  return Err(ENOENT);
}

SysResult<std::byte*> FakeSystem::ShmAttach(int id) {
  if (const int error = Trouble("ShmAttach")) return Err(error);
  const auto found = segments_.find(id);
  if (found == segments_.end()) return Err(EINVAL);
  found->second.mapped = true;
  return found->second.memory;
}

SysResult<void> FakeSystem::ShmDetach(std::byte* address) {
  if (const int error = Trouble("ShmDetach")) return Err(error);
  if (Segment* const segment = SegmentAt(address)) segment->mapped = false;
  return {};
}

SysResult<void> FakeSystem::ShmRemove(int id) {
  if (const int error = Trouble("ShmRemove")) return Err(error);
  const auto found = segments_.find(id);
  if (found == segments_.end()) return Err(EINVAL);
  Destroy(found);
  return {};
}

FakeSystem::Segment* FakeSystem::SegmentAt(const std::byte* address) {
  for (auto& [id, segment] : segments_) {
    if (address >= segment.memory && address < segment.memory + segment.size) return &segment;
  }
  return nullptr;
}

SysResult<void> FakeSystem::TakeMemory(uint64_t size) {
  if (const int error = Trouble("TakeMemory")) return Err(error);
  taken_memory += size;
  return {};
}

SysResult<void> FakeSystem::Populate(std::byte* address, uint64_t size) {
  if (const int error = Trouble("Populate")) return Err(error);
  Segment* const segment = SegmentAt(address);
  if (segment == nullptr) return Err(ENOMEM);
  const uint64_t unit = segment->page_size;
  const bool base = unit == page_size;
  const auto first = static_cast<uint64_t>(address - segment->memory) / unit;
  for (uint64_t i = first; i < first + size / unit; ++i) {
    if (segment->pages[i] != 0) continue;
    std::vector<uint64_t>& source = base ? base_pages : pools[unit].pooled;
    if (source.empty()) return Err(ENOMEM);
    segment->pages[i] = TakePage(source, preferred_node);
    memset(segment->memory + i * unit, 0, unit);
    const bool compacted = Find("/proc/sys/vm/compact_unevictable_allowed")->text != "0\n";
    if (base && (!segment->locked || compacted)) ++loose_pages;
  }
  return {};
}

SysResult<void> FakeSystem::Punch(std::byte* address, uint64_t size) {
  if (const int error = Trouble("Punch")) return Err(error);
  Segment* const segment = SegmentAt(address);
  if (segment == nullptr) return Err(EINVAL);
  const uint64_t unit = segment->page_size;
  const auto offset = static_cast<uint64_t>(address - segment->memory);
  if (offset % unit != 0 || size % unit != 0) return Err(EINVAL);
  for (uint64_t i = offset / unit; i < (offset + size) / unit; ++i) {
    FreePage(segment->pages[i], unit);
  }
  return {};
}

}  // namespace khop::system
