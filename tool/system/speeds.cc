// SPDX-License-Identifier: MIT
// How fast this machine's CPU copies, cleans and digests: what a plan makes of bytes.
#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include "core/digest/crc32c.h"
#include "core/digest/sha256.h"
#include "tool/system/el0.h"
#include "tool/system/linux_system.h"

namespace khop::system {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kBuffer = size_t{16} << 20;  // of two: more than most caches hold
constexpr size_t kPiece = size_t{256} << 10;
constexpr auto kPatience = std::chrono::milliseconds(40);  // for each of the four

// Works through `size` bytes piece by piece, round and round, until time is up. The best of several
// stretches counts: others may have run meanwhile, and the blackout has no others.
template <typename Work>
uint64_t Measure(size_t size, Work work) {
  constexpr size_t kStretch = 8;  // pieces
  double best = 0;
  const auto end = Clock::now() + kPatience;
  size_t at = 0;
  do {
    const auto start = Clock::now();
    for (size_t i = 0; i < kStretch; ++i, at = (at + kPiece) % size) work(at);
    const std::chrono::duration<double> took = Clock::now() - start;
    if (took.count() > 0) best = std::max(best, kStretch * kPiece / took.count());
  } while (Clock::now() < end);
  return static_cast<uint64_t>(best);
}

}  // namespace

Speeds LinuxSystem::MeasureSpeeds() {
  void* const mapped =
      mmap(nullptr, 2 * kBuffer, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) return {};
  auto* const from = static_cast<std::byte*>(mapped);
  std::byte* const to = from + kBuffer;
  memset(from, 0x5a, 2 * kBuffer);  // faulted in
  const auto features = digest::DigestFeatures::FromHwcap(Hwcap());
  Speeds speeds;
  speeds.copy = Measure(kBuffer, [&](size_t at) { memcpy(to + at, from + at, kPiece); });
#if defined(__aarch64__)
  speeds.clean = Measure(kBuffer, [&](size_t at) {
    memset(to + at, 0x5a, kPiece);
    el0::CleanToPoc(to + at, kPiece);
  });
#endif
  uint32_t sum = 0;
  speeds.crc32c = Measure(
      kBuffer, [&](size_t at) { sum = digest::Crc32c({from + at, kPiece}, features, sum); });
  // As the relocator does it, several pieces side by side.
  const size_t side_by_side = digest::Sha256Lanes(features);
  std::vector<digest::Sha256Lane> lanes(side_by_side,
                                        {.hash = digest::Sha256(features), .rest = {}});
  speeds.sha256 = Measure(kBuffer, [&](size_t at) {
    const size_t share = kPiece / side_by_side;
    for (size_t i = 0; i < side_by_side; ++i) lanes[i].rest = {from + at + i * share, share};
    digest::AdvanceLanes(lanes);
  });
  // The results are used, so that the work is not left out.
  const auto digest = lanes[0].hash.Finish();
  if (sum == 0 && digest[0] == std::byte{0}) to[0] = std::byte{1};
  munmap(mapped, 2 * kBuffer);
  return speeds;
}

}  // namespace khop::system
