// SPDX-License-Identifier: MIT
#include "tool/load/ranges.h"

#include <algorithm>

namespace khop::load {

Ranges Without(std::span<const PhysRange> ranges, std::span<const PhysRange> holes) {
  Ranges out;
  size_t hole = 0;
  for (const PhysRange& range : ranges) {
    PhysAddr at = range.start;
    while (hole < holes.size() && holes[hole].end() <= at) ++hole;
    // A hole may reach into the next range too.
    for (size_t i = hole; i < holes.size() && holes[i].start < range.end(); ++i) {
      if (holes[i].start > at) out.push_back({at, holes[i].start - at});
      at = std::max(at, holes[i].end());
    }
    if (at < range.end()) out.push_back({at, range.end() - at});
  }
  return out;
}

Ranges InBoth(std::span<const PhysRange> a, std::span<const PhysRange> b) {
  Ranges out;
  for (size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    const PhysAddr start = std::max(a[i].start, b[j].start);
    const PhysAddr end = std::min(a[i].end(), b[j].end());
    if (start < end) out.push_back({start, end - start});
    (a[i].end() < b[j].end() ? i : j) += 1;
  }
  return out;
}

Ranges Joined(Ranges ranges) {
  std::ranges::sort(ranges, {}, &PhysRange::start);
  Ranges out;
  for (const PhysRange& range : ranges) {
    if (range.empty()) continue;
    if (!out.empty() && out.back().end() == range.start) {
      out.back().size += range.size;
    } else {
      out.push_back(range);
    }
  }
  return out;
}

bool Touches(std::span<const PhysRange> ranges, PhysRange range) {
  const auto after = std::ranges::partition_point(
      ranges, [&](const PhysRange& r) { return r.end() <= range.start; });
  return after != ranges.end() && after->start < range.end();
}

uint64_t TotalSize(std::span<const PhysRange> ranges) {
  uint64_t size = 0;
  for (const PhysRange& range : ranges) size += range.size;
  return size;
}

}  // namespace khop::load
