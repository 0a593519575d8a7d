// SPDX-License-Identifier: MIT
#include "core/relocator/hop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

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
  size_t barriers[3];
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
  const struct {
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

// One field off, checksums right: the field's own check must find it.
struct BadField {
  const char* name;
  FailureCode expected;
  std::function<void(FakeHop&)> spoil;
};
void PrintTo(const BadField& field, std::ostream* out) { *out << field.name; }

class BadHandoff : public testing::TestWithParam<BadField> {};

TEST_P(BadHandoff, IsRefusedBeforeAnythingIsWritten) {
  FakeHop hop({});
  GetParam().spoil(hop);
  hop.Reseal();
  const std::vector<std::byte> before(hop.machine().memory().begin(), hop.machine().memory().end());
  const HopFailure failure = hop.Run();
  EXPECT_EQ(failure.code, GetParam().expected) << FailureText(failure.code);
  EXPECT_EQ(memcmp(before.data(), hop.machine().memory().data(), before.size()), 0);
}

handoff::Move& FirstMove(FakeHop& hop) {
  return *reinterpret_cast<handoff::Move*>(reinterpret_cast<std::byte*>(&hop.header()) +
                                           hop.header().moves.offset);
}
handoff::Range& FirstArena(FakeHop& hop) {
  return *reinterpret_cast<handoff::Range*>(reinterpret_cast<std::byte*>(&hop.header()) +
                                            hop.header().arena.offset);
}
handoff::VerifyRange& FirstVerify(FakeHop& hop) {
  return *reinterpret_cast<handoff::VerifyRange*>(reinterpret_cast<std::byte*>(&hop.header()) +
                                                  hop.header().verify.offset);
}

INSTANTIATE_TEST_SUITE_P(
    All, BadHandoff,
    testing::Values(
        BadField{"magic", FailureCode::kMagic, [](FakeHop& h) { h.header().magic ^= 1; }},
        BadField{"major", FailureCode::kVersion, [](FakeHop& h) { h.header().version_major = 2; }},
        BadField{"header size", FailureCode::kHeaderSize,
                 [](FakeHop& h) { h.header().header_size = 160; }},
        BadField{"total size", FailureCode::kControlRange,
                 [](FakeHop& h) { h.header().total_size += 65536; }},
        BadField{"self", FailureCode::kSelfAddress, [](FakeHop& h) { h.header().self += 8; }},
        BadField{"control start", FailureCode::kControlRange,
                 [](FakeHop& h) { h.header().control.start += 4096; }},
        BadField{"control size", FailureCode::kControlRange,
                 [](FakeHop& h) { h.header().control.size = 4096; }},
        BadField{"control wraps", FailureCode::kControlRange,
                 [](FakeHop& h) { h.header().control.size = ~uint64_t{0}; }},
        BadField{"flags", FailureCode::kFlags, [](FakeHop& h) { h.header().flags |= 1U << 31; }},
        BadField{"digest kind", FailureCode::kDigestKind,
                 [](FakeHop& h) { h.header().digest_kind = 77; }},
        BadField{"cache line", FailureCode::kCacheLine,
                 [](FakeHop& h) { h.header().cache_line_size = 48; }},
        BadField{"cache line 0", FailureCode::kCacheLine,
                 [](FakeHop& h) { h.header().cache_line_size = 0; }},
        BadField{"granule", FailureCode::kGranule,
                 [](FakeHop& h) { h.header().translation.granule_shift = 13; }},
        BadField{"granule that the CPU lacks", FailureCode::kGranule,
                 [](FakeHop& h) {
                   h.header().translation.granule_shift = 14;
                   h.header().translation.tables = {h.Address(0x44000), 0x4000};
                   h.header().translation.root = h.Address(0x44000);
                 }},
        BadField{"va bits", FailureCode::kAddressSize,
                 [](FakeHop& h) { h.header().translation.va_bits = 52; }},
        BadField{"pa bits", FailureCode::kAddressSize,
                 [](FakeHop& h) { h.header().translation.pa_bits = 52; }},
        BadField{"root outside", FailureCode::kTables,
                 [](FakeHop& h) { h.header().translation.root += 1U << 20; }},
        BadField{"tables outside", FailureCode::kTables,
                 [](FakeHop& h) { h.header().translation.tables.start -= 1U << 20; }},
        BadField{"tables checksum", FailureCode::kTablesChecksum,
                 [](FakeHop& h) { h.header().translation.tables_crc32c ^= 1; }},
        BadField{"entry outside", FailureCode::kEntry,
                 [](FakeHop& h) { h.header().entry = h.Address(0); }},
        BadField{"entry odd", FailureCode::kEntry, [](FakeHop& h) { h.header().entry += 2; }},
        BadField{"entry in the control area", FailureCode::kEntry,
                 [](FakeHop& h) { h.header().entry = h.Address(FakeHop::kControl); }},
        BadField{"dtb outside", FailureCode::kDeviceTree,
                 [](FakeHop& h) { h.header().dtb = h.Address(0); }},
        BadField{"dtb unaligned", FailureCode::kDeviceTree,
                 [](FakeHop& h) { h.header().dtb += 4; }},
        BadField{"dtb size", FailureCode::kDeviceTree,
                 [](FakeHop& h) { h.header().dtb_size = 1U << 30; }},
        BadField{"stamp outside", FailureCode::kStamp,
                 [](FakeHop& h) { h.header().stamp = h.Address(0); }},
        BadField{"timeline outside", FailureCode::kTimeline,
                 [](FakeHop& h) { h.header().timeline_offset = FakeHop::kDtbSize - 100; }},
        BadField{"arena array outside", FailureCode::kArrays,
                 [](FakeHop& h) { h.header().arena.offset = h.header().total_size; }},
        BadField{"moves array count", FailureCode::kArrays,
                 [](FakeHop& h) { h.header().moves.count = UINT32_MAX; }},
        BadField{"moves array in the header", FailureCode::kArrays,
                 [](FakeHop& h) { h.header().moves.offset = 0; }},
        BadField{"verify array unaligned", FailureCode::kArrays,
                 [](FakeHop& h) { h.header().verify.offset += 4; }},
        BadField{"digests array", FailureCode::kArrays,
                 [](FakeHop& h) { h.header().digests.count = 1U << 20; }},
        BadField{"arena empty", FailureCode::kArena, [](FakeHop& h) { FirstArena(h).size = 0; }},
        BadField{"arena wraps", FailureCode::kArena,
                 [](FakeHop& h) { FirstArena(h).size = ~uint64_t{0}; }},
        BadField{"move unaligned", FailureCode::kMove,
                 [](FakeHop& h) { FirstMove(h).destination += 64; }},
        BadField{"move of nothing", FailureCode::kMove, [](FakeHop& h) { FirstMove(h).size = 0; }},
        BadField{"move source wraps", FailureCode::kMove,
                 [](FakeHop& h) {
                   FirstMove(h).source = ~uint64_t{4095};
                   FirstMove(h).size = 8192;
                 }},
        BadField{"move outside", FailureCode::kMoveOutside,
                 [](FakeHop& h) { FirstMove(h).destination = h.Address(0); }},
        BadField{"move too long", FailureCode::kMoveOutside,
                 [](FakeHop& h) { FirstMove(h).size = 64 << 20; }},
        BadField{"move onto control", FailureCode::kMoveOntoControl,
                 [](FakeHop& h) {
                   FirstArena(h).size = 128 * FakeHop::kPage;
                   FirstMove(h).destination = h.Address(FakeHop::kControl);
                 }},
        BadField{"verify outside", FailureCode::kVerifyRange,
                 [](FakeHop& h) { FirstVerify(h).start = h.Address(0); }},
        BadField{"verify without digests", FailureCode::kVerifyRange,
                 [](FakeHop& h) { FirstVerify(h).first_digest = 2; }},
        BadField{"verify with kind none", FailureCode::kVerifyRange,
                 [](FakeHop& h) {
                   h.header().digest_kind = 0;
                   h.header().digests.count = 0;
                 }}),
    [](const auto& test) {
      std::string name = test.param.name;
      for (char& c : name) c = c == ' ' ? '_' : c;
      return name;
    });

TEST(Hop, RefusesWhatIsNoKernelEvenUnverified) {
  FakeHop hop({.digest_kind = DigestKind::kNone, .moved_pages = {}});
  hop.machine().memory()[FakeHop::kArena + 56] = std::byte{0};
  hop.machine().Settle();
  EXPECT_EQ(hop.Run().code, FailureCode::kNotAKernel);
}

TEST(Hop, RefusesWhatIsNoDeviceTreeEvenUnverified) {
  FakeHop hop({.digest_kind = DigestKind::kNone, .moved_pages = {}});
  hop.machine().memory()[FakeHop::kDtb] = std::byte{0};
  hop.machine().Settle();
  EXPECT_EQ(hop.Run().code, FailureCode::kNotADeviceTree);
}

TEST(Hop, RefusesAddressesThatTheCpuLacks) {
  FakeHopOptions options;
  options.machine.id_aa64mmfr0 = 1;  // 36 bits
  FakeHop hop(options);
  EXPECT_EQ(hop.Run().code, FailureCode::kAddressSize);
}

}  // namespace
}  // namespace khop::relocator
