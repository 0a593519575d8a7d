// SPDX-License-Identifier: MIT
// What the relocator refuses: each field of the hand-off, and payloads that are none.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <ostream>
#include <string>
#include <vector>

#include "core/relocator/fake_hop.h"
#include "core/relocator/hop.h"

namespace khop::relocator {
namespace {

using handoff::DigestKind;

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
