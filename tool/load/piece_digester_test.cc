// SPDX-License-Identifier: MIT
#include "tool/load/piece_digester.h"

#include <gtest/gtest.h>

#include <random>

#include "tool/load/payload.h"
#include "tool/load/test_machine.h"

namespace khop::load {
namespace {

constexpr uint64_t kMib = 1 << 20;
constexpr uint64_t kPage = 4096;

// However many CPUs there are, however many pieces each of them goes through at once, and whatever
// comes when: every piece has its own digest.
TEST(PieceDigester, DigestsAreThoseOfOnePieceAfterTheOther) {
  std::mt19937_64 random(3);
  TestMachine machine;
  const std::vector<PhysRange> ranges = {{PhysAddr{0x50000000}, 9 * kMib + 3 * kPage},
                                         {PhysAddr{0x60000000}, 100},
                                         {PhysAddr{0x70000000}, 2 * kMib}};
  const Arena arena = Arena::Stage(machine.system, ranges);
  std::vector<std::vector<std::byte>> contents;
  for (const PhysRange& range : ranges) {
    std::vector<std::byte> bytes(range.size);
    for (std::byte& byte : bytes) byte = std::byte(random());
    WriteTo(arena, range.start, bytes);
    contents.push_back(std::move(bytes));
  }
  for (const auto kind : {handoff::DigestKind::kSha256, handoff::DigestKind::kCrc32c}) {
    std::vector<std::vector<std::byte>> expected;
    expected.reserve(contents.size());
    for (const auto& bytes : contents) {
      expected.push_back(DigestPieces(bytes, kind, digest::DigestFeatures::Scalar()));
    }
    for (const uint64_t hwcap : {0x0U, 0x2U, 0xc2U}) {
      for (const unsigned cpus : {1U, 2U, 5U}) {
        SCOPED_TRACE(std::to_string(hwcap) + ", " + std::to_string(cpus) + " CPUs");
        machine.system.hwcap = hwcap;
        machine.system.cpu_count = cpus;
        PieceDigester digester(machine.system, arena, kind);
        for (const PhysRange& range : ranges) {
          digester.Begin(range);
          for (PhysAddr to = range.start; to < range.end(); to = to + random() % (3 * kMib)) {
            digester.Ready(to);
          }
          digester.Ready(range.end());
        }
        uint64_t told = 0;
        Progress progress;
        progress.OnBytes([&](std::string_view, uint64_t done, uint64_t) { told += done; });
        const auto digests = digester.Finish(progress);
        EXPECT_NE(told, 0U);
        ASSERT_EQ(digests.size(), ranges.size());
        for (size_t i = 0; i < ranges.size(); ++i) {
          EXPECT_EQ(digests[i].range, ranges[i]);
          EXPECT_EQ(digests[i].digests, expected[i]);
        }
      }
    }
  }
}

}  // namespace
}  // namespace khop::load
