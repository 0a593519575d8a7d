// SPDX-License-Identifier: MIT
#include "tool/load/placement.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "tool/system/huge_pages.h"

namespace khop::load {
namespace {

constexpr uint64_t kPage = system::kHugePageSize;
constexpr uint64_t kKiB = 1024;
constexpr uint64_t kMiB = 1024 * kKiB;
constexpr uint64_t kGiB = 1024 * kMiB;

struct Item {
  uint64_t start;
  uint64_t size;
};

// Bytes from the first run's start, with the runs far apart.
std::vector<Item> Items(const Shape& shape, const PayloadSizes& sizes) {
  const auto at = [](const Spot& spot) { return spot.run * kGiB * 64 + spot.offset; };
  std::vector<Item> items = {{at(shape.image), sizes.image_size},
                             {at(shape.dtb), sizes.dtb_size},
                             {at(shape.stamp), 8},
                             {at(shape.control), sizes.control_size}};
  if (sizes.initrd_size != 0) items.push_back({at(shape.initrd), sizes.initrd_size});
  return items;
}

void CheckShape(const PayloadSizes& sizes, uint64_t granule) {
  const Shape shape = MakeShape(sizes, granule);
  std::vector<Item> items = Items(shape, sizes);
  for (const Item& item : items) {
    const uint64_t run = item.start / (kGiB * 64);
    ASSERT_LT(run, shape.run_pages.size());
    EXPECT_LE(item.start % (kGiB * 64) + item.size, shape.run_pages[run] * kPage);
  }
  std::ranges::sort(items, {}, &Item::start);
  for (size_t i = 1; i < items.size(); ++i) {
    EXPECT_LE(items[i - 1].start + items[i - 1].size, items[i].start);
  }
  EXPECT_EQ(shape.image.run, 0U);
  EXPECT_EQ(shape.image.offset, sizes.text_offset);
  EXPECT_EQ(shape.initrd.offset % 4096, 0U);
  EXPECT_EQ(shape.dtb.offset % 8, 0U);
  EXPECT_EQ(shape.dtb.offset / kPage, (shape.dtb.offset + sizes.dtb_size - 1) / kPage);
  EXPECT_EQ(shape.stamp.offset % 2048, 0U);
  EXPECT_EQ(shape.control.offset % granule, 0U);
  // No granule is shared between the control area and anything else.
  const uint64_t control_end = AlignUp(shape.control.offset + sizes.control_size, granule);
  for (const Spot& spot : {shape.dtb, shape.stamp, shape.image}) {
    if (spot.run != shape.control.run) continue;
    EXPECT_TRUE(spot.offset < shape.control.offset || spot.offset >= control_end);
  }
  const uint64_t payload =
      sizes.image_size + sizes.initrd_size + sizes.dtb_size + sizes.text_offset;
  if (sizes.dtb_size < 64 * kKiB && sizes.control_size < 256 * kKiB) {
    EXPECT_LE(shape.pages() * kPage, payload + 6 * kMiB);
  }
}

TEST(ShapeTest, HoldsEverythingApart) {
  std::mt19937_64 random(20260701);
  const auto pick = [&](uint64_t low, uint64_t high) {
    return std::uniform_int_distribution<uint64_t>(low, high)(random);
  };
  for (int i = 0; i < 20000; ++i) {
    const PayloadSizes sizes{.text_offset = pick(0, 3) == 0 ? 0x80000U : 0U,
                             .image_size = pick(64, 80 * kMiB),
                             .initrd_size = pick(0, 3) == 0 ? 0 : pick(1, 120 * kMiB),
                             .dtb_size = pick(0, 9) == 0 ? 2 * kMiB : pick(48, 64 * kKiB),
                             .control_size = pick(1, 200) * 4 * kKiB};
    CheckShape(sizes, uint64_t{4096} << 2 * pick(0, 2));
  }
}

TEST(ShapeTest, SmallThingsUseTails) {
  const Shape shape = MakeShape({.text_offset = 0,
                                 .image_size = 37 * kMiB,
                                 .initrd_size = 5 * kMiB,
                                 .dtb_size = 8000,
                                 .control_size = 120 * kKiB},
                                4096);
  EXPECT_EQ(shape.run_pages, (std::vector<uint64_t>{19, 3}));
}

TEST(ShapeTest, FullTailsGetAPageMore) {
  const Shape shape = MakeShape({.text_offset = 0,
                                 .image_size = 38 * kMiB,
                                 .initrd_size = 6 * kMiB,
                                 .dtb_size = 8000,
                                 .control_size = 120 * kKiB},
                                4096);
  EXPECT_EQ(shape.run_pages, (std::vector<uint64_t>{19, 3, 1}));
  EXPECT_EQ(shape.control.run, 2U);
  EXPECT_EQ(shape.dtb.run, 2U);
}

std::vector<PhysAddr> Pages(const std::vector<uint64_t>& numbers) {
  std::vector<PhysAddr> pages;
  for (const uint64_t n : numbers) pages.push_back({n * kPage});
  return pages;
}

void CheckRuns(const std::vector<PhysAddr>& pages, const std::vector<uint64_t>& wanted,
               const std::vector<PhysAddr>& found) {
  std::set<uint64_t> used;
  uint64_t low = UINT64_MAX;
  uint64_t high = 0;
  ASSERT_EQ(found.size(), wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i) {
    for (uint64_t p = 0; p < wanted[i]; ++p) {
      const PhysAddr page = found[i] + p * kPage;
      EXPECT_TRUE(std::ranges::binary_search(pages, page)) << page.value;
      EXPECT_TRUE(used.insert(page.value).second) << "used twice";
    }
    low = std::min(low, found[i].value);
    high = std::max(high, found[i].value + wanted[i] * kPage);
  }
  EXPECT_LE(high, low / kGiB * kGiB + 32 * kGiB);
}

TEST(FindRunsTest, TakesTheSmallestHole) {
  const auto pages = Pages({10, 11, 12, 13, 20, 21, 30});
  const auto found = FindRuns(pages, std::vector<uint64_t>{2, 1});
  ASSERT_TRUE(found);
  EXPECT_EQ((*found)[0].value, 20 * kPage);
  EXPECT_EQ((*found)[1].value, 30 * kPage);
}

TEST(FindRunsTest, NeedsContiguity) {
  EXPECT_FALSE(FindRuns(Pages({1, 3, 5, 7, 9}), std::vector<uint64_t>{2}));
  EXPECT_FALSE(FindRuns({}, std::vector<uint64_t>{1}));
  EXPECT_TRUE(FindRuns(Pages({1, 2}), std::vector<uint64_t>{1, 1}));
  EXPECT_FALSE(FindRuns(Pages({1, 2}), std::vector<uint64_t>{2, 1}));
}

TEST(FindRunsTest, KeepsWithinTheWindow) {
  const uint64_t far = 33 * kGiB / kPage;
  // A single page fits best at 0, but then there is no second one within 32 GiB.
  const auto pages = Pages({0, far, far + 1, far + 2, far + 5});
  const auto found = FindRuns(pages, std::vector<uint64_t>{3, 1});
  ASSERT_TRUE(found);
  CheckRuns(pages, {3, 1}, *found);
  EXPECT_FALSE(FindRuns(Pages({0, far, far + 1}), std::vector<uint64_t>{2, 1}));
}

// Whether `wanted` fits into holes of these lengths, tried in all ways.
bool Fits(std::vector<uint64_t> holes, const std::vector<uint64_t>& wanted, size_t i = 0) {
  if (i == wanted.size()) return true;
  for (uint64_t& hole : holes) {
    if (hole < wanted[i]) continue;
    hole -= wanted[i];
    if (Fits(holes, wanted, i + 1)) return true;
    hole += wanted[i];
  }
  return false;
}

TEST(FindRunsTest, FindsWhateverFits) {
  std::mt19937_64 random(42);
  int fitting = 0;
  for (int round = 0; round < 3000; ++round) {
    std::vector<uint64_t> numbers;
    for (uint64_t n = 0; n < 24; ++n) {
      if (random() % 3 != 0) numbers.push_back(n);
    }
    std::vector<uint64_t> holes;
    for (size_t i = 0; i < numbers.size(); ++i) {
      if (i > 0 && numbers[i] == numbers[i - 1] + 1) {
        ++holes.back();
      } else {
        holes.push_back(1);
      }
    }
    std::vector<uint64_t> wanted(1 + random() % 3);
    for (uint64_t& length : wanted) length = 1 + random() % 6;
    const auto pages = Pages(numbers);
    const auto found = FindRuns(pages, wanted);
    EXPECT_EQ(found.has_value(), Fits(holes, wanted)) << "round " << round;
    if (found) {
      CheckRuns(pages, wanted, *found);
      ++fitting;
    }
  }
  EXPECT_GT(fitting, 300);
  EXPECT_LT(fitting, 2700);
}

}  // namespace
}  // namespace khop::load
