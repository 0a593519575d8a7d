// SPDX-License-Identifier: MIT
// FakeSystem's SysV shared memory.
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "tool/system/fake_system.h"
#include "tool/system/huge_pages.h"

namespace khop::system {
namespace {

std::unexpected<Errno> Err(int value) { return std::unexpected(Errno{value}); }

}  // namespace

SysResult<int> FakeSystem::ShmCreate(int key, uint64_t size) {
  if (const int error = Trouble()) return Err(error);
  if (ShmFind(key)) return Err(EEXIST);
  const uint64_t pages = size / kHugePageSize;
  if (pages > pool_pages_.size()) return Err(ENOMEM);
  Segment segment;
  segment.key = key;
  segment.size = size;
  segment.pages.assign(pages, 0);
  segment.memory = static_cast<std::byte*>(std::aligned_alloc(kHugePageSize, size));
  segments_[next_id_] = std::move(segment);
  return next_id_++;
}

SysResult<ShmInfo> FakeSystem::ShmFind(int key) {
  if (const int error = Trouble()) return Err(error);
  for (const auto& [id, segment] : segments_) {
    if (segment.key == key) {
      return ShmInfo{.id = id, .size = segment.size, .creator_uid = segment.uid, .doomed = false};
    }
  }
  return Err(ENOENT);
}

SysResult<std::byte*> FakeSystem::ShmAttach(int id) {
  if (const int error = Trouble()) return Err(error);
  const auto found = segments_.find(id);
  if (found == segments_.end()) return Err(EINVAL);
  found->second.mapped = true;
  return found->second.memory;
}

SysResult<void> FakeSystem::ShmDetach(std::byte* address) {
  if (const int error = Trouble()) return Err(error);
  if (Segment* const segment = SegmentAt(address)) segment->mapped = false;
  return {};
}

SysResult<void> FakeSystem::ShmRemove(int id) {
  if (const int error = Trouble()) return Err(error);
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

SysResult<void> FakeSystem::Populate(std::byte* address, uint64_t size) {
  if (const int error = Trouble()) return Err(error);
  Segment* const segment = SegmentAt(address);
  if (segment == nullptr) return Err(ENOMEM);
  const auto first = static_cast<uint64_t>(address - segment->memory) / kHugePageSize;
  for (uint64_t i = first; i < first + size / kHugePageSize; ++i) {
    if (segment->pages[i] != 0) continue;
    if (pool_pages_.empty()) return Err(ENOMEM);
    segment->pages[i] = pool_pages_.front();
    pool_pages_.erase(pool_pages_.begin());
    memset(segment->memory + i * kHugePageSize, 0, kHugePageSize);
  }
  return {};
}

SysResult<void> FakeSystem::Punch(std::byte* address, uint64_t size) {
  if (const int error = Trouble()) return Err(error);
  Segment* const segment = SegmentAt(address);
  if (segment == nullptr) return Err(EINVAL);
  const auto first = static_cast<uint64_t>(address - segment->memory) / kHugePageSize;
  for (uint64_t i = first; i < first + size / kHugePageSize; ++i) {
    FreePage(segment->pages[i]);
  }
  return {};
}

}  // namespace khop::system
