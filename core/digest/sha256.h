// SPDX-License-Identifier: MIT
// SHA-256 (FIPS 180-4), scalar and with the Armv8 SHA2 instructions; of many messages (the pieces
// of the payload) side by side with those or with Advanced SIMD: sha256_pieces.h.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/digest/features.h"

namespace khop::digest {

inline constexpr size_t kSha256Size = 32;
using Sha256Digest = std::array<std::byte, kSha256Size>;

struct Sha256Lane;

class Sha256 {
 public:
  // `features` without sha2, or a build for another CPU than Armv8, takes the scalar form.
  explicit constexpr Sha256(DigestFeatures features) : features_(features) {}

  // Data of any length and alignment; whole blocks at 16-byte aligned addresses are not copied.
  void Update(std::span<const std::byte> data);
  // The digest of all that was passed to Update(). The object is used up.
  Sha256Digest Finish();

  static constexpr size_t kBlock = 64;

 private:
  friend void AdvanceLanes(std::span<Sha256Lane> lanes);

  alignas(16) std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                                0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  uint64_t length_ = 0;  // bytes so far; the last length_ % kBlock of them are in buffer_
  alignas(16) std::array<std::byte, kBlock> buffer_ = {};
  DigestFeatures features_;
};

inline constexpr size_t kMaxSha256Lanes = 4;

// A message under way beside others.
struct Sha256Lane {
  Sha256 hash;
  std::span<const std::byte> rest;  // not hashed yet, 16-byte aligned
  uint64_t tag = 0;                 // the caller's
};

// How many messages side by side are worth it. Two with SHA2: the instructions of one leave half of
// the pipeline empty on many cores, those of two fill it, and the first-level caches of two ways
// hold two streams that are a power of two apart. Four by Advanced SIMD, one in each lane.
constexpr size_t Sha256Lanes(DigestFeatures features) {
  return features.sha2 ? 2 : features.simd ? 4 : 1;
}

// Hashes equally many whole blocks of every lane, as many as the shortest has. Nothing of a block
// may have been passed to a lane's Update() before. Lanes are of one set of features, which is that
// of the first.
void AdvanceLanes(std::span<Sha256Lane> lanes);

// The digest of `data` in one go.
Sha256Digest Sha256Of(std::span<const std::byte> data, DigestFeatures features);

}  // namespace khop::digest
