// SPDX-License-Identifier: MIT
#include "core/plan/assignment.h"

#include <gtest/gtest.h>

#include <bit>
#include <ctime>

#include "core/plan/moves.h"
#include "core/plan/placement.h"
#include "core/plan/plan_model.h"

namespace khop::plan {
namespace {

constexpr uint64_t kMib = uint64_t{1} << 20;
constexpr uint64_t k64Kib = uint64_t{64} << 10;

std::expected<std::vector<Piece>, Error> Assign(const std::vector<PhysRange>& destinations,
                                                const std::vector<PhysRange>& owned,
                                                const std::vector<PhysRange>& spare) {
  const size_t ranges = destinations.size() + owned.size() + spare.size();
  std::vector<PhysRange> scratch(ranges * kScratchPerRange);
  uint64_t pages = 0;
  for (const PhysRange& range : destinations) pages += range.size / kPage;
  std::vector<Piece> pieces(pages);
  const auto count = AssignPages(destinations, owned, spare, kPage, scratch, pieces);
  if (!count) return std::unexpected(count.error());
  pieces.resize(*count);
  return pieces;
}

// What every assignment has to be, whatever the memory.
void ExpectGood(const std::vector<Piece>& pieces, const std::vector<PhysRange>& destinations,
                const std::vector<PhysRange>& owned, const std::vector<PhysRange>& spare) {
  uint64_t wanted = 0;
  uint64_t covered = 0;
  uint64_t in_place = 0;
  uint64_t could_be = 0;
  for (const PhysRange& d : destinations) {
    wanted += d.size;
    for (const PhysRange& o : owned) {
      if (o.Overlaps(d)) could_be += std::min(o.end(), d.end()) - std::max(o.start, d.start);
    }
  }
  const auto within = [](const std::vector<PhysRange>& ranges, PhysRange r) {
    return std::ranges::any_of(ranges, [&](PhysRange all) { return all.Contains(r); });
  };
  for (size_t i = 0; i < pieces.size(); ++i) {
    const Piece& piece = pieces[i];
    covered += piece.size;
    if (piece.in_place()) in_place += piece.size;
    ASSERT_TRUE(within(destinations, {piece.destination, piece.size}));
    ASSERT_TRUE(within(piece.in_place() ? owned : spare, {piece.source, piece.size}));
    if (i > 0) {
      ASSERT_LE((pieces[i - 1].destination + pieces[i - 1].size), piece.destination);
    }
  }
  ASSERT_EQ(covered, wanted);
  ASSERT_EQ(in_place, could_be);
  // The replay proves the rest: no page holds two things, all arrive.
  const auto replayed = Replay(pieces, pieces, destinations);
  ASSERT_TRUE(replayed) << static_cast<int>(replayed.error().code) << " " << replayed.error().value;
}

TEST(AssignPages, OwnedPagesHoldTheirOwnBytes) {
  //                          0123456789
  const auto destinations = Pages("..####....");
  const auto owned = Pages("###.##.##.");
  const auto spare = Without(owned, destinations);
  const auto pieces = Assign(destinations, owned, spare);
  ASSERT_TRUE(pieces);
  const std::vector<Piece> expected = {{PageAt(2), PageAt(2), kPage},
                                       {PageAt(0), PageAt(3), kPage},
                                       {PageAt(4), PageAt(4), 2 * kPage}};
  EXPECT_EQ(*pieces, expected);
}

TEST(AssignPages, ThreePagesThatAreNotOwnedAreThreePagesMoved) {
  const std::vector<PhysRange> destinations = {{{64 * kMib}, 40 * kMib}};
  const std::vector<PhysRange> holes = {{{70 * kMib}, kPage}, {{70 * kMib + 2 * kPage}, 2 * kPage}};
  auto owned = Without(destinations, holes);
  owned.push_back({{512 * kMib}, kMib});
  const auto pieces = Assign(destinations, owned, Without(owned, destinations));
  ASSERT_TRUE(pieces);
  uint64_t moved = 0;
  for (const Piece& piece : *pieces) moved += piece.in_place() ? 0 : piece.size;
  EXPECT_EQ(moved, 3 * kPage);
}

TEST(AssignPages, LikeBlocksGoToLikeBlocks) {
  const std::vector<PhysRange> destinations = {{{64 * kMib}, 4 * kMib}, {{80 * kMib}, k64Kib}};
  // One whole 2 MiB block, one of 64 KiB, the rest at odd addresses.
  const std::vector<PhysRange> spare = {
      {{kPage}, 2 * kMib}, {{10 * kMib}, 2 * kMib}, {{20 * kMib + k64Kib}, k64Kib}};
  const auto pieces = Assign(destinations, {}, spare);
  ASSERT_TRUE(pieces);
  ExpectGood(*pieces, destinations, {}, spare);
  EXPECT_EQ((*pieces)[0], (Piece{{10 * kMib}, {64 * kMib}, 2 * kMib}));
  uint64_t alike = 0;  // 64 KiB blocks that page tables can map with the Contiguous bit
  for (const Piece& piece : *pieces) {
    if (IsAligned(piece.source.value ^ piece.destination.value, k64Kib)) {
      alike +=
          AlignDown(piece.source.value + piece.size, k64Kib) - AlignUp(piece.source.value, k64Kib);
    }
  }
  // The 2 MiB block, the 64 KiB one, and the 31 whole ones in what starts at an odd page.
  EXPECT_EQ(alike, 2 * kMib + 32 * k64Kib);
}

TEST(AssignPages, SaysWhatIsMissing) {
  const auto destinations = Pages("####");
  const auto spare = Pages("##", 100);
  EXPECT_EQ(Assign(destinations, {}, spare).error(), (Error{ErrorCode::kOutOfRange, 2 * kPage}));
  std::vector<Piece> few(1);
  std::vector<PhysRange> scratch(100);
  EXPECT_EQ(AssignPages(destinations, Pages("#.#."), Pages("##", 100), kPage, scratch, few).error(),
            (Error{ErrorCode::kOutOfMemory, 1}));
  std::vector<Piece> pieces(4);
  EXPECT_EQ(AssignPages(destinations, {}, spare, kPage, {}, pieces).error(),
            (Error{ErrorCode::kOutOfMemory, 0}));
}

// A little memory is enough for what is in single pages; too little is noticed, however little.
TEST(AssignPages, ScratchMemory) {
  const auto destinations = Pages("################");
  const auto owned = Pages("#.#.#.#.#.#.#.#.");
  const auto spare = Pages("#.#.#.#.#.#.#.#.", 100);
  const size_t ranges = destinations.size() + owned.size() + spare.size();
  const auto whole = Assign(destinations, owned, spare);
  ASSERT_TRUE(whole);
  size_t enough = 0;
  for (size_t size = 0; size <= ranges * kScratchPerRange; ++size) {
    std::vector<PhysRange> scratch(size);
    std::vector<Piece> pieces(16);
    const auto used = AssignPages(destinations, owned, spare, kPage, scratch, pieces);
    if (!used) {
      EXPECT_EQ(used.error(), (Error{ErrorCode::kOutOfMemory, size}));
      EXPECT_EQ(enough, 0U) << "more is never too little: " << size;
      continue;
    }
    if (enough == 0) enough = size;
    pieces.resize(*used);
    EXPECT_EQ(pieces, *whole) << size;
  }
  EXPECT_GT(enough, 0U);
  EXPECT_LE(enough, ranges * kScratchPerRange / 4);
}

// Every way to choose destinations among seven pages, and owned pages among them and four more.
TEST(AssignPages, GoodInEverySmallMemory) {
  for (uint64_t wanted = 1; wanted < 1 << 7; ++wanted) {
    const auto destinations = PagesOf(wanted);
    for (uint64_t mask = 0; mask < 1 << 11; ++mask) {
      const auto owned = PagesOf(mask);
      const auto spare = Without(owned, destinations);
      const auto pieces = Assign(destinations, owned, spare);
      const auto pages = static_cast<uint64_t>(std::popcount(wanted));
      const auto have = static_cast<uint64_t>(std::popcount(mask));
      ASSERT_EQ(pieces.has_value(), have >= pages) << wanted << " " << mask;
      if (!pieces) {
        ASSERT_EQ(pieces.error(), (Error{ErrorCode::kOutOfRange, (pages - have) * kPage}));
      } else if (mask % 5 == 0) {
        ASSERT_NO_FATAL_FAILURE(ExpectGood(*pieces, destinations, owned, spare));
      }
    }
  }
}

TEST(AssignPages, GoodInRandomMemories) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 100; ++round) {
    std::string map(4096, '.');
    std::string wanted(4096, '.');
    size_t owned_pages = 0;
    size_t wanted_pages = 0;
    for (size_t page = 0; page < map.size();) {
      const size_t run = 1 + random() % (round % 2 == 0 ? 4 : 700);
      const uint64_t kind = random() % 4;
      for (size_t i = 0; i < run && page < map.size(); ++i, ++page) {
        if (kind != 0) ++owned_pages, map[page] = '#';
        if (kind == 1 && wanted_pages < owned_pages) ++wanted_pages, wanted[page] = '#';
        if (kind == 0 && wanted_pages < owned_pages) ++wanted_pages, wanted[page] = '#';
      }
    }
    const auto destinations = Pages(wanted);
    const auto owned = Pages(map);
    const auto spare = Without(owned, destinations);
    const auto pieces = Assign(destinations, owned, spare);
    ASSERT_TRUE(pieces);
    ASSERT_NO_FATAL_FAILURE(ExpectGood(*pieces, destinations, owned, spare));
  }
}

// The whole plan for scattered single pages, as the worst machine has them.
double SecondsToPlan(size_t pages) {
  std::mt19937_64 random(pages);
  const auto owned = Sorted(ScatteredPages(pages + 64, 0x40000, random));
  const std::vector<PhysRange> allowed = {{PageAt(0x40000), (pages + 64) * 4 * kPage}};
  const std::vector<Item> items = {
      {.size = (pages - 16) * kPage, .alignment = 2 * kMib, .windowed = true},
      {.size = 16 * kPage, .alignment = kPage, .boundary = 2 * kMib},
      {.size = kPage, .alignment = kPage, .owned_only = true}};
  std::vector<uint64_t> before(owned.size() + 1);
  std::vector<PhysAddr> at(items.size());
  std::vector<PhysRange> scratch((owned.size() * 2 + 2) * kScratchPerRange);
  std::vector<Piece> pieces(pages);
  std::vector<handoff::Move> moves(pages);
  std::vector<WindowPiece> window(pages);
  std::vector<PhysRange> destinations(2);
  const auto geometry = arm64::PageGeometry::Static(12, 48);

  const std::clock_t start = std::clock();
  const auto placed = PlaceItems(items, {owned, allowed}, {}, before, at);
  EXPECT_TRUE(placed);
  destinations[0] = {at[0], items[0].size};
  destinations[1] = {at[1], items[1].size};
  std::ranges::sort(destinations, {}, &PhysRange::start);
  std::vector<PhysRange> taken = destinations;
  taken.push_back({at[2], items[2].size});
  std::ranges::sort(taken, {}, &PhysRange::start);
  const auto spare = Without(owned, taken);
  const auto count = AssignPages(destinations, owned, spare, kPage, scratch, pieces);
  EXPECT_TRUE(count);
  if (!placed || !count) return 0;
  const auto used = std::span(pieces).first(*count);
  const auto list = LayOutMoves(used, &geometry, allowed[0].end().value, moves, window);
  EXPECT_TRUE(list);
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;

  EXPECT_EQ(list->bytes, pages * kPage - (*placed - kPage));
  EXPECT_TRUE(Replay(used, used, destinations));
  return seconds;
}

TEST(Plan, AGibibyteOfScatteredPagesInUnderASecond) {
  const double quarter = SecondsToPlan(size_t{1} << 16);
  const double whole = SecondsToPlan(size_t{1} << 18);
  RecordProperty("seconds", std::to_string(whole));
  printf("256 MiB: %.3f s, 1 GiB: %.3f s\n", quarter, whole);
#ifdef __SANITIZE_ADDRESS__
  constexpr double kLimit = 4.0;  // sanitizers make it three times as slow, and more
#else
  constexpr double kLimit = 1.0;
#endif
  EXPECT_LT(whole, kLimit);
  EXPECT_LT(whole, 8 * quarter + 0.05) << "more than n log n";
}

}  // namespace
}  // namespace khop::plan
