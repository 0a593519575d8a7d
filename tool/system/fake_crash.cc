// SPDX-License-Identifier: MIT
// FakeSystem's crash reservation and what is loaded into it.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "tool/system/fake_system.h"
#include "tool/system/memory_map.h"

namespace khop::system {
namespace {

constexpr size_t kMaxSegments = 16;
// That the kernel takes for itself: the control page, and the copy of vmcoreinfo.
constexpr int kOwnPages = 2;

}  // namespace

void FakeSystem::Reserve(PhysRange range) {
  std::string& iomem = files_["/proc/iomem"].text;
  const std::string line = "  " + Hex(range.start.value).substr(2) + "-" +
                           Hex(range.end().value - 1).substr(2) + " : Crash kernel\n";
  iomem.insert(iomem.find('\n', iomem.find(" : System RAM")) + 1, line);
}

// As the kernel: it does not map the reservation while a crash image is in it.
size_t FakeSystem::ReadReserved(std::span<std::byte> buffer, uint64_t address) const {
  for (std::byte& byte : buffer) {
    const auto page = reserved_memory.find(AlignDown(address, page_size));
    byte =
        crash || page == reserved_memory.end() ? std::byte{0} : page->second[address % page_size];
    ++address;
  }
  return buffer.size();
}

SysResult<void> FakeSystem::KexecLoadCrash(PhysAddr entry, std::span<const KexecSegment> segments) {
  if (const int error = Trouble("KexecLoadCrash")) return Err(error);
  if (kexec_error != 0) return Err(kexec_error);
  if (segments.size() > kMaxSegments) return Err(EINVAL);
  crash.reset();
  if (segments.empty()) return {};
  if (crash_error != 0) return Err(crash_error);
  const auto map = ParseIomem(files_["/proc/iomem"].text);
  if (!map || map->crash.empty()) return Err(EADDRNOTAVAIL);
  const PhysRange reservation = map->crash.back();
  if (!reservation.Contains(entry)) return Err(EADDRNOTAVAIL);
  auto fresh = std::make_unique<CrashImage>();
  fresh->entry = entry.value;
  for (const KexecSegment& segment : segments) {
    const PhysRange range{segment.destination, segment.size};
    if (range.start.value % page_size != 0 || range.size % page_size != 0 ||
        !reservation.Contains(range)) {
      return Err(EADDRNOTAVAIL);
    }
    if (segment.buffer.size() > segment.size ||
        std::ranges::any_of(fresh->segments, [&](PhysRange r) { return r.Overlaps(range); })) {
      return Err(EINVAL);
    }
    fresh->segments.push_back(range);
  }
  // The lowest pages between the segments; they do not keep what was there.
  int own = 0;
  for (PhysAddr at = reservation.start; own < kOwnPages; at = at + page_size) {
    if (!reservation.Contains(at)) return Err(ENOMEM);
    if (std::ranges::any_of(fresh->segments, [&](PhysRange r) { return r.Contains(at); })) continue;
    reserved_memory[at.value].assign(page_size, std::byte{0xcc});
    ++own;
  }
  for (const KexecSegment& segment : segments) {
    for (uint64_t at = 0; at < segment.size; at += page_size) {
      auto& page = reserved_memory[segment.destination.value + at];
      page.assign(page_size, std::byte{0});
      if (at >= segment.buffer.size()) continue;
      memcpy(page.data(), &segment.buffer[at],
             std::min<size_t>(page_size, segment.buffer.size() - at));
    }
  }
  crash = std::move(fresh);
  return {};
}

}  // namespace khop::system
