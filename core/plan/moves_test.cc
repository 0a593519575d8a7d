// SPDX-License-Identifier: MIT
#include "core/plan/moves.h"

#include <gtest/gtest.h>

#include "core/plan/plan_model.h"

namespace khop::plan {
namespace {

constexpr uint64_t kMib = uint64_t{1} << 20;
constexpr uint64_t kGib = uint64_t{1} << 30;
constexpr auto k4K48 = arm64::PageGeometry::Static(12, 48);

Piece PagePiece(uint64_t source, uint64_t destination, uint64_t count = 1) {
  return {PageAt(source), PageAt(destination), count * kPage};
}

std::expected<std::vector<Piece>, Error> Order(const std::vector<Piece>& pieces, PhysRange spare) {
  uint64_t pages = 0;
  for (const Piece& piece : pieces) pages += piece.size / kPage;
  std::vector<Piece> scratch(2 * pages);
  std::vector<Piece> ordered(pages + pages / 2);
  const auto count = OrderMoves(pieces, kPage, spare, scratch, ordered);
  if (!count) return std::unexpected(count.error());
  ordered.resize(*count);
  return ordered;
}

std::vector<PhysRange> WritableFor(const std::vector<Piece>& pieces, PhysRange spare) {
  std::vector<PhysAddr> pages;
  for (const Piece& piece : pieces) {
    if (piece.in_place()) continue;  // must not be touched
    for (uint64_t offset = 0; offset < piece.size; offset += kPage) {
      pages.push_back(piece.destination + offset);
    }
  }
  if (!spare.empty()) pages.push_back(spare.start);
  return Sorted(pages);
}

TEST(OrderMoves, AMoveDownByOnePageStaysOneMove) {
  const auto ordered = Order({PagePiece(11, 10, 100)}, {});
  ASSERT_TRUE(ordered);
  EXPECT_EQ(*ordered, std::vector{PagePiece(11, 10, 100)});
}

TEST(OrderMoves, AMoveUpByOnePageGoesFromItsEnd) {
  const auto ordered = Order({PagePiece(10, 11, 3)}, {});
  ASSERT_TRUE(ordered);
  EXPECT_EQ(*ordered, (std::vector{PagePiece(12, 13), PagePiece(11, 12), PagePiece(10, 11)}));
}

TEST(OrderMoves, ACycleGoesThroughTheSparePage) {
  const std::vector<Piece> swap = {PagePiece(1, 2), PagePiece(2, 1)};
  const auto ordered = Order(swap, {PageAt(9), kPage});
  ASSERT_TRUE(ordered);
  EXPECT_EQ(*ordered, (std::vector{PagePiece(2, 9), PagePiece(1, 2), PagePiece(9, 1)}));
  EXPECT_EQ(Order(swap, {}).error(), (Error{ErrorCode::kOutOfMemory, 0}));
}

TEST(OrderMoves, RefusesWhatCannotBe) {
  EXPECT_EQ(Order({PagePiece(1, 5), PagePiece(2, 5)}, {}).error(),
            (Error{ErrorCode::kOverlap, 5 * kPage}));
  EXPECT_EQ(Order({PagePiece(1, 5), PagePiece(1, 6)}, {}).error(),
            (Error{ErrorCode::kOverlap, 1 * kPage}));
  EXPECT_EQ(Order({PagePiece(5, 5), PagePiece(1, 5)}, {}).error(),
            (Error{ErrorCode::kOverlap, 5 * kPage}));
  EXPECT_EQ(Order({{{100}, {kPage}, kPage}}, {}).error().code, ErrorCode::kNotAligned);
  std::vector<Piece> little(1);
  const Piece piece = PagePiece(1, 2, 2);
  EXPECT_EQ(OrderMoves({&piece, 1}, kPage, {}, little, little).error(),
            (Error{ErrorCode::kOutOfMemory, 1}));
}

// Every partial one-to-one map of five pages to five pages: all chains, cycles and mixtures.
void ForEveryMap(std::vector<Piece>& pieces, uint64_t source, uint32_t taken, int* count) {
  constexpr uint64_t kPages = 5;
  if (source == kPages) {
    const PhysRange spare{PageAt(20), kPage};
    const auto ordered = Order(pieces, spare);
    ASSERT_TRUE(ordered);
    const auto replayed = Replay(pieces, *ordered, WritableFor(pieces, spare));
    ASSERT_TRUE(replayed) << static_cast<int>(replayed.error().code);
    ++*count;
    return;
  }
  ASSERT_NO_FATAL_FAILURE(ForEveryMap(pieces, source + 1, taken, count));
  for (uint64_t destination = 0; destination < kPages; ++destination) {
    if ((taken >> destination & 1) != 0) continue;
    pieces.push_back(PagePiece(source, destination));
    ASSERT_NO_FATAL_FAILURE(ForEveryMap(pieces, source + 1, taken | 1U << destination, count));
    pieces.pop_back();
  }
}

TEST(OrderMoves, EveryMapOfFewPages) {
  std::vector<Piece> pieces;
  int count = 0;
  ForEveryMap(pieces, 0, 0, &count);
  EXPECT_EQ(count, 1546);  // partial permutations of five
}

TEST(OrderMoves, RandomPermutationsOfManyPages) {
  std::mt19937_64 random(3);
  for (const size_t pages : {size_t{2}, size_t{31}, size_t{1000}, size_t{20000}}) {
    std::vector<uint64_t> to(pages);
    std::iota(to.begin(), to.end(), uint64_t{0});
    std::ranges::shuffle(to, random);
    std::vector<Piece> pieces(pages);
    for (size_t i = 0; i < pages; ++i) pieces[i] = PagePiece(i, to[i] + random() % 2 * pages);
    const PhysRange spare{PageAt(5 * pages), kPage};
    const auto ordered = Order(pieces, spare);
    ASSERT_TRUE(ordered);
    EXPECT_LE(ordered->size(), pages + pages / 2);
    ASSERT_TRUE(Replay(pieces, *ordered, WritableFor(pieces, spare)));
  }
}

struct Laid {
  std::vector<handoff::Move> moves;
  std::vector<WindowPiece> window;
  uint64_t bytes = 0;
};

std::expected<Laid, Error> LayOut(const std::vector<Piece>& pieces,
                                  const arm64::PageGeometry* geometry, uint64_t above) {
  Laid laid;
  laid.moves.resize(pieces.size());
  laid.window.resize(pieces.size());
  const auto list = LayOutMoves(pieces, geometry, above, laid.moves, laid.window);
  if (!list) return std::unexpected(list.error());
  laid.moves.resize(list->moves);
  laid.window.resize(list->windows);
  laid.bytes = list->bytes;
  return laid;
}

// The physical page behind a window address.
PhysAddr Translate(const std::vector<WindowPiece>& window, uint64_t virt) {
  for (const WindowPiece& piece : window) {
    if (virt >= piece.virt.value && virt - piece.virt.value < piece.size) {
      return piece.phys + (virt - piece.virt.value);
    }
  }
  return {UINT64_MAX};
}

TEST(LayOutMoves, ScatteredSourcesAreOneVirtualRangeAndOneMove) {
  std::mt19937_64 random(1);
  const auto sources = ScatteredPages(1000, 0x40000, random);
  std::vector<Piece> pieces(sources.size());
  for (uint64_t i = 0; i < sources.size(); ++i) {
    pieces[i] = {sources[i], PageAt(0x80000 + i), kPage};
  }
  const auto laid = LayOut(pieces, &k4K48, 5 * kGib - 1);
  ASSERT_TRUE(laid);
  ASSERT_EQ(laid->moves.size(), 1u);
  EXPECT_EQ(laid->moves[0].source, 5 * kGib);
  EXPECT_EQ(laid->moves[0].destination, 0x80000 * kPage);
  EXPECT_EQ(laid->moves[0].size, 1000 * kPage);
  EXPECT_EQ(laid->bytes, 1000 * kPage);
  for (uint64_t i = 0; i < sources.size(); ++i) {
    EXPECT_EQ(Translate(laid->window, 5 * kGib + i * kPage), sources[i]);
  }
}

TEST(LayOutMoves, BlocksStayBlocks) {
  const std::vector<Piece> pieces = {
      PagePiece(7, 100),                       // somewhere
      {{100 * kMib}, {900 * kMib}, 2 * kMib},  // a block, and what follows it
      {{50 * kMib + kPage}, {902 * kMib}, kPage},
      {{902 * kMib + kPage}, {902 * kMib + kPage}, 8 * kPage},  // in place
      {{3 * kGib}, {9 * kGib}, kGib}};
  const auto laid = LayOut(pieces, &k4K48, 16 * kGib);
  ASSERT_TRUE(laid);
  ASSERT_EQ(laid->moves.size(), 3u);
  EXPECT_EQ(laid->moves[0].source, 16 * kGib);
  EXPECT_EQ(laid->moves[1].source % (2 * kMib), 0u);
  EXPECT_EQ(laid->moves[1].size, 2 * kMib + kPage);
  EXPECT_EQ(laid->moves[2].source % kGib, 0u);
  EXPECT_EQ(laid->bytes, kPage + 2 * kMib + kPage + kGib);
}

TEST(LayOutMoves, WithTheMmuOffSourcesArePhysical) {
  const std::vector<Piece> pieces = {PagePiece(7, 100), PagePiece(8, 101), PagePiece(4, 102),
                                     PagePiece(103, 103), PagePiece(9, 104)};
  const auto laid = LayOut(pieces, nullptr, 0);
  ASSERT_TRUE(laid);
  EXPECT_TRUE(laid->window.empty());
  ASSERT_EQ(laid->moves.size(), 3u);
  EXPECT_EQ(laid->moves[0].source, 7 * kPage);
  EXPECT_EQ(laid->moves[0].size, 2 * kPage);
  EXPECT_EQ(laid->moves[1].source, 4 * kPage);
  EXPECT_EQ(laid->moves[2].destination, 104 * kPage);
}

TEST(LayOutMoves, RefusesWhatDoesNotFit) {
  const std::vector<Piece> pieces = {PagePiece(7, 100, 2)};
  constexpr auto kSmall = arm64::PageGeometry::Static(12, 39);
  EXPECT_TRUE(LayOut(pieces, &kSmall, 511 * kGib));
  EXPECT_EQ(LayOut(pieces, &kSmall, 511 * kGib + 1).error(),
            (Error{ErrorCode::kOutOfRange, 512 * kGib}));
  std::vector<handoff::Move> moves(1);
  std::vector<WindowPiece> window;
  EXPECT_EQ(LayOutMoves(pieces, &k4K48, 0, moves, window).error(),
            (Error{ErrorCode::kOutOfMemory, 0}));
  EXPECT_EQ(LayOutMoves(pieces, nullptr, 0, {}, {}).error(), (Error{ErrorCode::kOutOfMemory, 0}));
}

}  // namespace
}  // namespace khop::plan
