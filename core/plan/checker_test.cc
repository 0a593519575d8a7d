// SPDX-License-Identifier: MIT
// The checker has to see every way in which a plan can be broken.
#include "core/plan/checker.h"

#include <gtest/gtest.h>

#include "core/plan/plan_model.h"

namespace khop::plan {
namespace {

Piece PagePiece(uint64_t source, uint64_t destination, uint64_t count = 1) {
  return {PageAt(source), PageAt(destination), count * kPage};
}

// A plan with everything in it: in place, a chain, a cycle through page 30, a long move.
const std::vector<Piece> kBefore = {PagePiece(10, 10, 2), PagePiece(1, 12),  PagePiece(13, 14),
                                    PagePiece(12, 13),    PagePiece(15, 16), PagePiece(16, 15),
                                    PagePiece(21, 20, 5)};
const std::vector<Piece> kMoves = {PagePiece(13, 14),   PagePiece(12, 13), PagePiece(1, 12),
                                   PagePiece(16, 30),   PagePiece(15, 16), PagePiece(30, 15),
                                   PagePiece(21, 20, 5)};
const std::vector<PhysRange> kWritable = {
    {PageAt(12), 5 * kPage}, {PageAt(20), 5 * kPage}, {PageAt(30), kPage}};

TEST(ReplayMoves, AGoodPlanPasses) { EXPECT_TRUE(Replay(kBefore, kMoves, kWritable)); }

TEST(ReplayMoves, EveryMoveThatIsLeftOutIsMissed) {
  for (size_t i = 0; i < kMoves.size(); ++i) {
    auto moves = kMoves;
    moves.erase(moves.begin() + static_cast<ptrdiff_t>(i));
    const auto replayed = Replay(kBefore, moves, kWritable);
    ASSERT_FALSE(replayed) << i;
    EXPECT_EQ(replayed.error().code, ErrorCode::kWrongContent) << i;
  }
}

TEST(ReplayMoves, EveryWrongOrderIsSeen) {
  // What must come before what.
  for (const auto& [first, second] : {std::pair{0, 1}, {1, 2}, {3, 4}, {4, 5}}) {
    auto moves = kMoves;
    std::swap(moves[static_cast<size_t>(first)], moves[static_cast<size_t>(second)]);
    const auto replayed = Replay(kBefore, moves, kWritable);
    ASSERT_FALSE(replayed) << first;
    EXPECT_EQ(replayed.error().code, ErrorCode::kWrongContent) << first;
  }
}

TEST(ReplayMoves, EveryWrongAddressIsSeen) {
  for (size_t i = 0; i < kMoves.size(); ++i) {
    for (const uint64_t off : {kPage, 7 * kPage, uint64_t{0} - kPage}) {
      auto moves = kMoves;
      moves[i].source = moves[i].source + off;
      EXPECT_FALSE(Replay(kBefore, moves, kWritable)) << "source of " << i;
      moves = kMoves;
      moves[i].destination = moves[i].destination + off;
      EXPECT_FALSE(Replay(kBefore, moves, kWritable)) << "destination of " << i;
    }
    auto moves = kMoves;
    moves[i].size -= kPage;
    EXPECT_FALSE(Replay(kBefore, moves, kWritable)) << "size of " << i;
  }
}

TEST(ReplayMoves, AnOverlapThatEatsItsOwnSourceIsSeen) {
  // Up by one page, from the first page on: every page gets the bytes of the first.
  const std::vector<Piece> up = {PagePiece(1, 2, 3)};
  const std::vector<PhysRange> writable = {{PageAt(0), 10 * kPage}};
  EXPECT_EQ(Replay(up, up, writable).error(), (Error{ErrorCode::kWrongContent, 3 * kPage}));
  const std::vector<Piece> down = {PagePiece(2, 1, 3)};
  EXPECT_TRUE(Replay(down, down, writable));
}

TEST(ReplayMoves, WritesAreKeptWithinBounds) {
  for (const PhysRange& hole : kWritable) {
    const auto rest = Without(kWritable, {{hole.start, kPage}});
    EXPECT_EQ(Replay(kBefore, kMoves, rest).error(),
              (Error{ErrorCode::kOutOfRange, hole.start.value}));
  }
}

TEST(ReplayMoves, RefusesAStartThatIsNone) {
  EXPECT_EQ(Replay(std::vector{PagePiece(1, 5), PagePiece(2, 5)}, {}, {}).error(),
            (Error{ErrorCode::kInvalidArgument, 5 * kPage}));
  EXPECT_EQ(Replay(std::vector{PagePiece(1, 5), PagePiece(1, 6)}, {}, {}).error(),
            (Error{ErrorCode::kOverlap, 1 * kPage}));
  const PhysAddr high{uint64_t{0} - kPage};
  EXPECT_EQ(Replay(std::vector<Piece>{{PageAt(1), high, 2 * kPage}}, {}, {}).error(),
            (Error{ErrorCode::kOutOfRange, high.value}));
  EXPECT_EQ(Replay(std::vector<Piece>{{{1}, PageAt(5), kPage}}, {}, {}).error().code,
            ErrorCode::kNotAligned);
  std::vector<ModelRun> runs(2 * (kBefore.size() + kMoves.size()));
  std::vector<uint32_t> pages(15);
  EXPECT_TRUE(ReplayMoves(kBefore, kMoves, kWritable, kPage, runs, pages));
  EXPECT_EQ(
      ReplayMoves(kBefore, kMoves, kWritable, kPage, runs, std::span(pages).first(14)).error(),
      (Error{ErrorCode::kOutOfMemory, 14}));
  EXPECT_EQ(ReplayMoves(kBefore, kMoves, kWritable, kPage, std::span(runs).first(3), pages).error(),
            (Error{ErrorCode::kOutOfMemory, 3}));
}

}  // namespace
}  // namespace khop::plan
