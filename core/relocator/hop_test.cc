// SPDX-License-Identifier: MIT
#include "core/relocator/hop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/relocator/copy.h"
#include "core/relocator/fake_hop.h"

namespace khop::relocator {
namespace {

using arm64::Regime;
using arm64::fake::Operation;
using handoff::DigestKind;
using handoff::TimelineSlot;
using testing::IsEmpty;

constexpr uint64_t kNoAdvSimd = 0xff'0000;  // ID_AA64PFR0_EL1

size_t CountOf(const FakeHop& hop, Operation operation) {
  size_t count = 0;
  for (size_t i = 0; i < hop.machine().operation_count(); ++i) {
    if (hop.machine().operation(i) == operation) ++count;
  }
  return count;
}

class EveryHop
    : public testing::TestWithParam<
          std::tuple<Regime, bool, DigestKind, uint64_t /*line size*/, uint64_t /*PFR0*/>> {
 protected:
  FakeHopOptions Options() const {
    FakeHopOptions options;
    std::tie(options.machine.regime, options.mmu, options.digest_kind, options.machine.line_size,
             options.machine.id_aa64pfr0) = GetParam();
    options.machine.id_aa64mmfr3 = 1;  // TCR2 exists, and Linux left PIE set
    options.machine.tcr2 = 2;
    return options;
  }
};

TEST_P(EveryHop, LeavesThePayloadAtThePointOfCoherency) {
  FakeHop hop(Options());
  const HopFailure failure = hop.Run();
  EXPECT_EQ(failure.code, FailureCode::kNone) << FailureText(failure.code) << failure.value;
  EXPECT_THAT(hop.Problems(), IsEmpty());
  EXPECT_EQ(hop.jump().entry, hop.Address(FakeHop::kArena));
  EXPECT_EQ(hop.jump().dtb, hop.Address(FakeHop::kDtb));
  EXPECT_EQ(hop.jump().sctlr & 0x1005, 0U);
}

TEST_P(EveryHop, FillsInTheTimeline) {
  FakeHop hop(Options());
  ASSERT_TRUE(hop.Run().ok());
  const auto [regime, mmu, kind, line, pfr0] = GetParam();
  EXPECT_EQ(hop.Slot(TimelineSlot::kVersion), handoff::kTimelineVersion);
  EXPECT_EQ(hop.Slot(TimelineSlot::kFrequency), 62'500'000U);
  EXPECT_EQ(hop.Slot(TimelineSlot::kReboot), 321U);
  EXPECT_EQ(hop.Slot(TimelineSlot::kEntry), 500U);
  EXPECT_LT(hop.Slot(TimelineSlot::kMmuOn), hop.Slot(TimelineSlot::kMoved));
  EXPECT_LT(hop.Slot(TimelineSlot::kMoved), hop.Slot(TimelineSlot::kVerified));
  EXPECT_LT(hop.Slot(TimelineSlot::kVerified), hop.Slot(TimelineSlot::kJump));
  EXPECT_EQ(hop.Slot(TimelineSlot::kSctlr) & 0x1005, mmu ? 0x1005U : 0U);
  EXPECT_EQ(hop.Slot(TimelineSlot::kExceptionLevel), regime == Regime::kEl1   ? 1U
                                                     : regime == Regime::kEl2 ? 2U
                                                                              : 0x102U);
  EXPECT_EQ(hop.Slot(TimelineSlot::kBytesMoved), 2 * FakeHop::kPage);
  EXPECT_EQ(
      hop.Slot(TimelineSlot::kBytesVerified),
      kind == DigestKind::kNone ? 0U : FakeHop::kKernelPages * FakeHop::kPage + FakeHop::kDtbSize);
  EXPECT_EQ(hop.Slot(TimelineSlot::kDigest), static_cast<uint64_t>(kind));
}

INSTANTIATE_TEST_SUITE_P(
    All, EveryHop,
    testing::Combine(testing::Values(Regime::kEl1, Regime::kEl2, Regime::kEl2Host), testing::Bool(),
                     testing::Values(DigestKind::kNone, DigestKind::kSha256, DigestKind::kCrc32c),
                     testing::Values(16, 64, 128), testing::Values(0, kNoAdvSimd)));

TEST(Hop, InPlaceMovesNothing) {
  FakeHop hop({.moved_pages = {}});
  ASSERT_TRUE(hop.Run().ok());
  EXPECT_THAT(hop.Problems(), IsEmpty());
  EXPECT_EQ(hop.Slot(TimelineSlot::kBytesMoved), 0U);
}

TEST(Hop, WithoutTimelineWritesNothingInPlace) {
  FakeHop hop({.timeline = false, .moved_pages = {}});
  ASSERT_TRUE(hop.Run().ok());
  EXPECT_THAT(hop.Problems(), IsEmpty());
  EXPECT_EQ(hop.Slot(TimelineSlot::kVersion), 0U);
}

// A purgatory gets x0 = 0; the tree, if it is named, has the timeline all the same.
TEST(Hop, PlainEntryGetsNoDeviceTree) {
  for (const bool tree : {true, false}) {
    FakeHopOptions options;
    options.flags = handoff::kPlainEntry;
    options.timeline = tree;
    FakeHop hop(options);
    if (!tree) {
      hop.header().dtb = 0;
      hop.header().dtb_size = 0;
      hop.Reseal();
    }
    ASSERT_TRUE(hop.Run().ok());
    EXPECT_THAT(hop.Problems(), IsEmpty());
    EXPECT_EQ(hop.jump().dtb, 0u);
    EXPECT_EQ(hop.jump().entry, hop.Address(FakeHop::kArena));
  }
  FakeHopOptions options;
  options.timeline = false;
  FakeHop hop(options);
  hop.header().dtb = 0;
  hop.header().dtb_size = 0;
  hop.Reseal();
  EXPECT_EQ(hop.Run().code, FailureCode::kDeviceTree);  // a kernel needs one
}

TEST(Hop, TakesTheSmallerOfTheTwoCacheLines) {
  for (const bool mmu : {false, true}) {
    FakeHopOptions options;
    options.mmu = mmu;
    options.told_line_size = 2048;
    FakeHop hop(options);
    ASSERT_TRUE(hop.Run().ok());
    EXPECT_THAT(hop.Problems(), IsEmpty());
  }
}

// Every size of DC ZVA's block that there may be, and none; what the loop cannot use is not used.
class Zeroing : public testing::TestWithParam<std::tuple<uint64_t /*PFR0*/, uint64_t /*line*/>> {};

TEST_P(Zeroing, WithEverySizeOfBlock) {
  const auto [pfr0, line] = GetParam();
  const unsigned lines = pfr0 == 0 ? VectorRegisters::kLines : GeneralRegisters::kLines;
  for (const uint64_t dczid : {20U, 0U, 2U, 3U, 4U, 5U, 6U, 7U, 9U}) {
    const uint64_t block = arm64::DczidEl0::FromRaw(dczid).zero_block_size();
    for (const bool mmu : {false, true}) {
      FakeHopOptions options;
      options.mmu = mmu;
      options.machine.line_size = line;
      options.machine.dczid = dczid;
      options.machine.id_aa64pfr0 = pfr0;
      FakeHop hop(options);
      ASSERT_TRUE(hop.Run().ok());
      EXPECT_THAT(hop.Problems(), IsEmpty()) << "DC ZVA " << block;
      const bool used = mmu && block != 0 && block <= lines * kCopyLine;
      EXPECT_EQ(CountOf(hop, Operation::kDcZva), used ? 2 * FakeHop::kPage / block : 0);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, Zeroing,
                         testing::Combine(testing::Values(0, kNoAdvSimd),
                                          testing::Values(16, 64, 128)));

TEST(Hop, CleansEachLineOfTheMovesOnce) {
  for (const uint64_t line : {16U, 64U, 128U, 2048U}) {
    FakeHopOptions options;
    options.timeline = false;
    options.machine.line_size = line;
    FakeHop hop(options);
    ASSERT_TRUE(hop.Run().ok());
    EXPECT_THAT(hop.Problems(), IsEmpty());
    EXPECT_EQ(CountOf(hop, Operation::kDcCivac), 2 * FakeHop::kPage / line);
  }
}

TEST(Hop, NoBarrierOfItsOwnForAnyMove) {
  size_t barriers[3] = {};
  for (const uint64_t moves : {0U, 1U, 2U}) {
    FakeHopOptions options;
    options.moved_pages.resize(moves);
    FakeHop hop(options);
    ASSERT_TRUE(hop.Run().ok());
    barriers[moves] = CountOf(hop, Operation::kDsbSy);
  }
  EXPECT_EQ(barriers[1], barriers[0]);
  EXPECT_EQ(barriers[2], barriers[0]);
}

TEST(Hop, MovesOntoTheirOwnSource) {
  for (const uint64_t pfr0 : {uint64_t{0}, kNoAdvSimd}) {
    for (const bool mmu : {false, true}) {
      for (const uint64_t dczid : {16U, 2U, 4U, 5U, 6U, 9U}) {
        FakeHopOptions options;
        options.mmu = mmu;
        options.moved_pages = {};
        options.shifted = true;
        options.machine.dczid = dczid;
        options.machine.id_aa64pfr0 = pfr0;
        FakeHop hop(options);
        ASSERT_TRUE(hop.Run().ok());
        EXPECT_THAT(hop.Problems(), IsEmpty()) << mmu << dczid;
        EXPECT_EQ(hop.Slot(TimelineSlot::kBytesMoved), FakeHop::kKernelPages * FakeHop::kPage);
      }
    }
  }
}

TEST(Hop, UsesVectorRegistersOnlyWhereTheyAreAndOnlyForMoves) {
  for (const bool mmu : {false, true}) {
    for (const bool moves : {false, true}) {
      for (const uint64_t pfr0 : {uint64_t{0}, kNoAdvSimd}) {
        FakeHopOptions options;
        options.mmu = mmu;
        options.machine.id_aa64pfr0 = pfr0;
        if (!moves) options.moved_pages = {};
        options.digest_kind = DigestKind::kCrc32c;
        FakeHop hop(options);
        ASSERT_TRUE(hop.Run().ok());
        EXPECT_THAT(hop.Problems(), IsEmpty());
        EXPECT_EQ(hop.machine().fp_trapped(), !moves || pfr0 == kNoAdvSimd);
      }
    }
  }
}

// Without the SHA2 instructions digests go through the vector registers, where there are any.
TEST(Hop, VectorsDigestWithoutInstructions) {
  for (const uint64_t pfr0 : {uint64_t{0}, kNoAdvSimd}) {
    for (const uint64_t isar0 : {0U, 0x11000U}) {
      FakeHopOptions options;
      options.moved_pages = {};
      options.machine.id_aa64pfr0 = pfr0;
      options.machine.id_aa64isar0 = isar0;
      options.flags |= handoff::kNoDigestInstructions;
      FakeHop hop(options);
      ASSERT_TRUE(hop.Run().ok());
      EXPECT_EQ(hop.machine().fp_trapped(), pfr0 == kNoAdvSimd);
      EXPECT_EQ(hop.Slot(TimelineSlot::kDigest), 1U);
    }
  }
}

// Verified before reboot(2), just now: not again. Anything else than the right word, and a right
// one that is too old, and the payload is verified as ever.
TEST(Hop, EarlyVerificationCountsOnlyIfFresh) {
  constexpr uint64_t kRight = handoff::EarlyWord(FakeHop::kStampValue);
  constexpr uint64_t kTooLate = FakeHop::kStampValue + handoff::kEarlySeconds * 62'500'000;
  constexpr struct {
    uint64_t word, entry_ticks;
    bool early;
  } kCases[] = {{kRight, 500, true},
                {kRight, kTooLate - 1, true},
                {kRight, kTooLate, false},
                {kRight, FakeHop::kStampValue - 1, false},
                {kRight ^ 1, 500, false},
                {0, 500, false},
                {FakeHop::kStampValue, 500, false}};
  for (const bool mmu : {false, true}) {
    for (const auto& c : kCases) {
      for (const bool damaged : {false, true}) {
        FakeHopOptions options;
        options.mmu = mmu;
        options.moved_pages = {};
        options.flags |= handoff::kVerifyEarly;
        options.early_word = c.word;
        options.entry_ticks = c.entry_ticks;
        FakeHop hop(options);
        if (damaged) hop.machine().memory()[FakeHop::kArena + 5000] ^= std::byte{1};
        hop.machine().Settle();
        const HopFailure failure = hop.Run();
        EXPECT_EQ(failure.ok(), c.early || !damaged);
        if (!failure.ok() || damaged) continue;
        EXPECT_THAT(hop.Problems(), IsEmpty());
        EXPECT_EQ(hop.Slot(TimelineSlot::kDigest), c.early ? 0x201U : 1U);
        EXPECT_EQ(hop.Slot(TimelineSlot::kBytesVerified) == 0, c.early);
      }
    }
  }
}

TEST(Hop, EarlyVerificationNeedsAStampAndSha256) {
  for (const auto kind : {DigestKind::kCrc32c, DigestKind::kSha256}) {
    FakeHopOptions options;
    options.digest_kind = kind;
    FakeHop hop(options);
    hop.header().flags |= handoff::kVerifyEarly;
    if (kind == DigestKind::kSha256) hop.header().stamp = 0;
    hop.Reseal();
    EXPECT_EQ(hop.Run().code, FailureCode::kFlags);
  }
}

TEST(Hop, ForcedScalarDigestLeavesFpTrapped) {
  FakeHopOptions options;
  options.moved_pages = {};
  options.machine.id_aa64isar0 = 0x11000;
  options.flags |= handoff::kForceScalarDigest;
  FakeHop hop(options);
  ASSERT_TRUE(hop.Run().ok());
  EXPECT_TRUE(hop.machine().fp_trapped());
}

TEST(Hop, CpuDigestIsNotedAndFpIsAllowed) {
  FakeHopOptions options;
  options.machine.id_aa64isar0 = 0x11000;
  FakeHop hop(options);
  ASSERT_TRUE(hop.Run().ok());
  EXPECT_THAT(hop.Problems(), IsEmpty());
  EXPECT_EQ(hop.Slot(TimelineSlot::kDigest), 0x101U);
}

TEST(Hop, EveryFlippedPayloadByteIsFound) {
  for (uint64_t offset = 0; offset < FakeHop::kKernelPages * FakeHop::kPage; offset += 997) {
    FakeHop hop({.moved_pages = {}});
    hop.machine().memory()[FakeHop::kArena + offset] ^= std::byte{0x10};
    hop.machine().Settle();
    const HopFailure failure = hop.Run();
    EXPECT_EQ(failure.code, FailureCode::kDigest) << offset;
    EXPECT_EQ(failure.value, hop.Address(FakeHop::kArena));
  }
}

TEST(Hop, EveryFlippedHandoffBitIsFound) {
  uint64_t first = 0;
  uint64_t size = 0;
  {
    FakeHop probe({});
    first = probe.layout().handoff;
    size = probe.header().total_size;
  }
  for (uint64_t bit = 0; bit < size * 8; bit += 3) {
    FakeHop hop({});
    hop.control()[first + bit / 8] ^= static_cast<std::byte>(1U << (bit % 8));
    hop.machine().Settle();
    ASSERT_FALSE(hop.Run().ok()) << "bit " << bit;
  }
}

TEST(Hop, EveryFlippedTableWordIsFound) {
  // The number of tables depends on where the host puts the memory.
  for (uint64_t byte = 0;; byte += 61) {
    FakeHop hop({});
    if (byte >= hop.layout().table_bytes) {
      EXPECT_GT(byte, 2 * FakeHop::kPage);
      break;
    }
    hop.control()[hop.layout().tables + byte] ^= std::byte{1};
    hop.machine().Settle();
    ASSERT_EQ(hop.Run().code, FailureCode::kTablesChecksum) << byte;
  }
}

}  // namespace
}  // namespace khop::relocator
