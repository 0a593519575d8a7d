// SPDX-License-Identifier: MIT
#include "core/plan/placement.h"

#include <gtest/gtest.h>

#include <optional>

#include "core/plan/plan_model.h"

namespace khop::plan {
namespace {

constexpr PlacementWindow kBootWindow;
constexpr uint64_t kMib = uint64_t{1} << 20;
constexpr uint64_t kGib = uint64_t{1} << 30;

struct Placement {
  std::vector<PhysAddr> at;
  uint64_t owned = 0;
};

std::expected<Placement, Error> Place(std::vector<Item> items, const std::vector<PhysRange>& owned,
                                      const std::vector<PhysRange>& allowed) {
  Placement placement;
  placement.at.resize(items.size());
  std::vector<uint64_t> scratch(owned.size() + 1);
  const auto bytes = PlaceItems(items, {owned, allowed}, kBootWindow, scratch, placement.at);
  if (!bytes) return std::unexpected(bytes.error());
  placement.owned = *bytes;
  return placement;
}

uint64_t OwnedIn(const std::vector<PhysRange>& owned, PhysRange range) {
  uint64_t bytes = 0;
  for (const PhysRange& o : owned) {
    if (!o.Overlaps(range)) continue;
    bytes += std::min(o.end(), range.end()) - std::max(o.start, range.start);
  }
  return bytes;
}

bool Fits(const Item& item, PhysRange at, const std::vector<PhysRange>& within) {
  return at.start.value % item.alignment == item.offset &&
         (item.boundary == 0 ||
          at.start.value / item.boundary == (at.end().value - 1) / item.boundary) &&
         std::ranges::any_of(within, [&](PhysRange r) { return r.Contains(at); });
}

// By trying every page: the most owned bytes, of equals the lowest address.
std::optional<PhysAddr> BestByTrying(const Item& item, const std::vector<PhysRange>& owned,
                                     const std::vector<PhysRange>& allowed,
                                     const std::vector<PhysRange>& taken, uint64_t pages) {
  std::optional<PhysAddr> best;
  uint64_t best_owned = 0;
  for (uint64_t page = 0; page < pages; ++page) {
    const PhysRange at{PageAt(page), item.size};
    if (!Fits(item, at, item.owned_only ? owned : allowed)) continue;
    if (std::ranges::any_of(taken, [&](PhysRange t) { return t.Overlaps(at); })) continue;
    uint64_t bytes = OwnedIn(owned, at);
    if (bytes < item.negligible) bytes = 0;
    if (!best || bytes > best_owned) {
      best = at.start;
      best_owned = bytes;
    }
  }
  return best;
}

TEST(PlaceItems, PrefersOwnedMemoryThenLowAddresses) {
  //                     0         1
  //                     0123456789012345
  const auto owned = Pages("..##....####....");
  const auto allowed = Pages("################");
  const auto placed =
      Place({{4 * kPage, kPage}, {2 * kPage, kPage}, {3 * kPage, kPage}}, owned, allowed);
  ASSERT_TRUE(placed);
  EXPECT_EQ(placed->at[0], PageAt(8));
  EXPECT_EQ(placed->at[1], PageAt(2));
  EXPECT_EQ(placed->at[2], PageAt(4));  // nothing owned is left; 0 and 1 are not three pages
  EXPECT_EQ(placed->owned, 6 * kPage);
}

TEST(PlaceItems, LittleThatIsOwnedIsNotWorthAHigherPlace) {
  const std::vector<Item> items = {
      {.size = 16 * kPage, .alignment = kPage, .negligible = 4 * kPage}};
  //                           0         1         2         3
  //                           01234567890123456789012345678901234567
  const std::string allowed = "######################################";
  for (const auto& [owned, at] : {std::pair{"........................###...........", 0U},
                                  std::pair{"........................####..........", 12U}}) {
    const auto placed = Place(items, Pages(owned), Pages(allowed));
    ASSERT_TRUE(placed);
    EXPECT_EQ(placed->at[0], PageAt(at)) << owned;
  }
}

TEST(PlaceItems, HonoursTextOffsetAndBoundary) {
  const std::vector<PhysRange> owned = {{{0x40000000}, 64 * kMib}};
  const auto placed = Place({{.size = 10 * kMib, .alignment = 2 * kMib, .offset = 0x80000},
                             {.size = 0x9000, .alignment = kPage, .boundary = 2 * kMib}},
                            owned, owned);
  ASSERT_TRUE(placed);
  EXPECT_EQ(placed->at[0].value, 0x40080000u);
  EXPECT_EQ(placed->at[1].value, 0x40000000u);
}

TEST(PlaceItems, KernelAndInitrdShareAWindow) {
  const std::vector<PhysRange> owned = {
      {{1 * kGib}, 64 * kMib}, {{20 * kGib}, 4 * kMib}, {{200 * kGib}, 300 * kMib}};
  const Item kernel = {.size = 40 * kMib, .alignment = 2 * kMib, .windowed = true};
  const Item initrd = {.size = 100 * kMib, .alignment = 2 * kMib, .windowed = true};
  const std::vector<PhysRange> allowed = {{{1 * kGib}, 40 * kGib}, {{200 * kGib}, 1 * kGib}};
  auto placed = Place({kernel, initrd}, owned, allowed);
  ASSERT_TRUE(placed);
  EXPECT_EQ(placed->at[0].value, 1 * kGib);
  // Not at 200 GiB, where all of it would be owned.
  EXPECT_EQ(placed->at[1].value, 1 * kGib + 40 * kMib);
  placed = Place({initrd, kernel}, owned, allowed);
  ASSERT_TRUE(placed);
  EXPECT_EQ(placed->at[0].value, 200 * kGib);
  EXPECT_EQ(placed->at[1].value, 200 * kGib + 100 * kMib);
}

TEST(PlaceItems, SaysWhichItemHasNoPlaceOrIsWrong) {
  const auto pages = Pages("####");
  EXPECT_EQ(Place({{2 * kPage, kPage}, {3 * kPage, kPage}}, pages, pages).error(),
            (Error{ErrorCode::kOutOfRange, 1}));
  EXPECT_EQ(Place({{.size = kPage, .alignment = kPage, .owned_only = true}}, {}, pages).error(),
            (Error{ErrorCode::kOutOfRange, 0}));
  for (const Item& bad :
       {Item{0, kPage}, Item{kPage, 0}, Item{kPage, 3 * kPage}, Item{kPage, kPage, kPage},
        Item{2 * kPage, kPage, 0, kPage}, Item{2 * kPage, 4 * kPage, 3 * kPage, 4 * kPage}}) {
    EXPECT_EQ(Place({{kPage, kPage}, bad}, pages, pages).error(),
              (Error{ErrorCode::kInvalidArgument, 1}));
  }
  std::vector<uint64_t> little(1);
  std::vector<PhysAddr> at(1);
  const Item item{kPage, kPage};
  EXPECT_EQ(PlaceItems({&item, 1}, {pages, pages}, kBootWindow, little, at).error(),
            (Error{ErrorCode::kOutOfMemory, 1}));
}

// All ways to own and to allow pages of a memory of eight, for items of all sizes and alignments.
TEST(PlaceItems, BestOfAllPlacesInEverySmallMemory) {
  constexpr uint64_t kPages = 8;
  std::vector<Item> items;
  for (uint64_t size = 1; size <= 4; ++size) {
    items.push_back({size * kPage, kPage});
    items.push_back({size * kPage, 2 * kPage, kPage});
    items.push_back({size * kPage, kPage, 0, 4 * kPage});
    items.push_back({.size = size * kPage, .alignment = kPage, .owned_only = true});
  }
  for (uint64_t allowed_mask = 0; allowed_mask < 1 << kPages; allowed_mask += 3) {
    const auto allowed = PagesOf(allowed_mask);
    // Every subset of the allowed pages.
    for (uint64_t mask = allowed_mask;; mask = (mask - 1) & allowed_mask) {
      const auto owned = PagesOf(mask);
      for (const Item& item : items) {
        const auto best = BestByTrying(item, owned, allowed, {}, kPages);
        const auto placed = Place({item}, owned, allowed);
        ASSERT_EQ(placed.has_value(), best.has_value()) << allowed_mask << " " << mask;
        if (best) {
          ASSERT_EQ(placed->at[0], *best) << allowed_mask << " " << mask;
          ASSERT_EQ(placed->owned, OwnedIn(owned, {*best, item.size}));
        }
      }
      if (mask == 0) break;
    }
  }
}

// The first item would fit where most of it is owned, and leave the second one without a place.
TEST(PlaceItems, PacksWhereGreedWouldFail) {
  //                     0         1
  //                     0123456789012345
  const auto owned = Pages(".....####.......");
  const auto allowed = Pages("############.###");
  const auto placed = Place({{4 * kPage, kPage}, {8 * kPage, kPage}}, owned, allowed);
  ASSERT_TRUE(placed);
  EXPECT_EQ(placed->at[0], PageAt(0));
  EXPECT_EQ(placed->at[1], PageAt(4));
  EXPECT_EQ(placed->owned, 4 * kPage);
}

TEST(PlaceItems, EachOfManyIsTheBestThatIsLeftInRandomMemories) {
  std::mt19937_64 random(20261123);
  constexpr uint64_t kPages = 256;
  const auto up_to = [&](uint64_t n) { return random() % n; };
  int packed = 0;
  for (int round = 0; round < 300; ++round) {
    std::string owned_map(kPages, '.');
    std::string allowed_map(kPages, '.');
    for (uint64_t page = 0; page < kPages;) {
      const uint64_t run = 1 + up_to(24);
      const bool allow = up_to(4) != 0;
      const bool own = allow && up_to(2) != 0;
      for (uint64_t i = 0; i < run && page < kPages; ++i, ++page) {
        if (allow) allowed_map[page] = '#';
        if (own) owned_map[page] = '#';
      }
    }
    const auto owned = Pages(owned_map);
    const auto allowed = Pages(allowed_map);
    std::vector<Item> items;
    for (uint64_t i = 0; i < 5; ++i) {
      const uint64_t alignment = kPage << up_to(4);
      const uint64_t boundary = up_to(3) == 0 ? 32 * kPage : 0;
      items.push_back({.size = (1 + up_to(24)) * kPage,
                       .alignment = alignment,
                       .offset = boundary == 0 ? up_to(alignment / kPage) * kPage : 0,
                       .boundary = boundary,
                       .negligible = up_to(3) == 0 ? 4 * kPage : 0,
                       .owned_only = up_to(5) == 0});
    }
    const auto placed = Place(items, owned, allowed);
    std::vector<PhysRange> taken;
    uint64_t total = 0;
    bool greedy = true;
    for (size_t i = 0; i < items.size(); ++i) {
      const auto best = BestByTrying(items[i], owned, allowed, taken, kPages);
      if (!best) {
        greedy = false;
        break;
      }
      ASSERT_TRUE(placed.has_value() || i + 1 < items.size());
      taken.push_back({*best, items[i].size});
      total += OwnedIn(owned, taken.back());
    }
    if (greedy) {
      ASSERT_TRUE(placed);
      for (size_t i = 0; i < items.size(); ++i) {
        ASSERT_EQ(placed->at[i], taken[i].start) << "round " << round << " item " << i;
      }
      ASSERT_EQ(placed->owned, total);
    } else if (placed) {
      ++packed;
      for (size_t i = 0; i < items.size(); ++i) {
        const PhysRange at{placed->at[i], items[i].size};
        ASSERT_TRUE(Fits(items[i], at, items[i].owned_only ? owned : allowed));
        for (size_t j = 0; j < i; ++j) {
          ASSERT_FALSE(at.Overlaps({placed->at[j], items[j].size}));
        }
      }
    }
  }
  EXPECT_GT(packed, 0) << "no memory was too small for greed";
}

}  // namespace
}  // namespace khop::plan
