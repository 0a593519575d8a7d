// SPDX-License-Identifier: MIT
#include "tool/load/placement.h"

#include <algorithm>
#include <numeric>

#include "tool/system/huge_pages.h"

namespace khop::load {
namespace {

using system::kHugePageSize;

constexpr uint64_t kWindow = uint64_t{32} << 30;
constexpr uint64_t kWindowAlignment = uint64_t{1} << 30;
// The largest cache writeback granule that the architecture knows (CTR_EL0.CWG).
constexpr uint64_t kMaxLine = 2048;

uint64_t PagesFor(uint64_t bytes) { return (bytes + kHugePageSize - 1) / kHugePageSize; }

// The free end of a run's last page.
struct Tail {
  size_t run;
  uint64_t offset;
  uint64_t end;
};

class Tails {
 public:
  explicit Tails(Shape& shape) : shape_(shape) {}
  void AddRun(uint64_t used) {
    const uint64_t pages = PagesFor(used);
    shape_.run_pages.push_back(pages);
    tails_.push_back({shape_.run_pages.size() - 1, used, pages * kHugePageSize});
  }
  // Within one page, since a tail is less than one.
  Spot Take(uint64_t size, uint64_t alignment) {
    for (Tail& tail : tails_) {
      const uint64_t start = AlignUp(tail.offset, alignment);
      if (start + size <= tail.end) {
        tail.offset = start + size;
        return {tail.run, start};
      }
    }
    shape_.run_pages.push_back(1);
    tails_.push_back({shape_.run_pages.size() - 1, size, kHugePageSize});
    return {shape_.run_pages.size() - 1, 0};
  }

 private:
  Shape& shape_;
  std::vector<Tail> tails_;
};

struct Run {
  PhysAddr start;
  uint64_t pages;
};

std::vector<Run> Merge(std::span<const PhysAddr> pages) {
  std::vector<Run> runs;
  for (const PhysAddr page : pages) {
    if (!runs.empty() && runs.back().start + runs.back().pages * kHugePageSize == page) {
      ++runs.back().pages;
    } else {
      runs.push_back({page, 1});
    }
  }
  return runs;
}

// Depth-first: the longest run first, each into the smallest hole that has room.
class Search {
 public:
  Search(std::vector<Run> holes, std::span<const uint64_t> wanted)
      : holes_(std::move(holes)), wanted_(wanted), order_(wanted.size()), found_(wanted.size()) {
    std::iota(order_.begin(), order_.end(), size_t{0});
    // Ties by position, so that equal inputs give equal plans.
    std::ranges::sort(order_, [&](size_t a, size_t b) {
      return wanted_[a] != wanted_[b] ? wanted_[a] > wanted_[b] : a < b;
    });
    std::ranges::sort(holes_, [](const Run& a, const Run& b) {
      return a.pages != b.pages ? a.pages < b.pages : a.start < b.start;
    });
  }
  bool Place(size_t depth, uint64_t low, uint64_t high) {
    if (depth == order_.size()) return true;
    const uint64_t pages = wanted_[order_[depth]];
    const uint64_t size = pages * kHugePageSize;
    for (Run& hole : holes_) {
      if (hole.pages < pages) continue;
      const uint64_t start = hole.start.value;
      const uint64_t new_low = std::min(low, start);
      const uint64_t new_high = std::max(high, start + size);
      if (new_high - AlignDown(new_low, kWindowAlignment) > kWindow) continue;
      found_[order_[depth]] = hole.start;
      const Run before = hole;
      hole = {hole.start + size, hole.pages - pages};
      const bool placed = Place(depth + 1, new_low, new_high);
      hole = before;
      if (placed) return true;
    }
    return false;
  }
  std::vector<PhysAddr> found() const { return found_; }

 private:
  std::vector<Run> holes_;
  std::span<const uint64_t> wanted_;
  std::vector<size_t> order_;
  std::vector<PhysAddr> found_;
};

}  // namespace

uint64_t Shape::pages() const {
  return std::accumulate(run_pages.begin(), run_pages.end(), uint64_t{0});
}

Shape MakeShape(const PayloadSizes& sizes, uint64_t granule) {
  Shape shape;
  Tails tails(shape);
  shape.image = {0, sizes.text_offset};
  tails.AddRun(sizes.text_offset + sizes.image_size);
  if (sizes.initrd_size != 0) {
    shape.initrd = {1, 0};
    tails.AddRun(sizes.initrd_size);
  }
  // Whole granules around the control area, so that arena and control area never share one.
  shape.control = tails.Take(AlignUp(sizes.control_size, granule), granule);
  shape.dtb = tails.Take(AlignUp(sizes.dtb_size, granule), granule);
  shape.stamp = tails.Take(kMaxLine, kMaxLine);
  return shape;
}

std::optional<std::vector<PhysAddr>> FindRuns(std::span<const PhysAddr> pages,
                                              std::span<const uint64_t> run_pages) {
  Search search(Merge(pages), run_pages);
  if (!search.Place(0, UINT64_MAX, 0)) return std::nullopt;
  return search.found();
}

}  // namespace khop::load
