// SPDX-License-Identifier: MIT
// The checks that a hand-off must pass: run by the relocator before its first store, and by the
// loader on what it has just built.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/addr.h"
#include "core/digest/features.h"
#include "core/handoff/failure.h"
#include "core/handoff/handoff.h"

namespace khop::handoff {

// The block and its arrays. The accessors are valid only after CheckHeader and CheckBody passed.
class View {
 public:
  // `block` points to the header, 8-byte aligned; the whole block is readable.
  explicit View(const std::byte* block) : block_(block) {}

  const Header& header() const { return *reinterpret_cast<const Header*>(block_); }
  DigestKind digest_kind() const { return static_cast<DigestKind>(header().digest_kind); }
  bool mmu() const { return header().translation.granule_shift != 0; }
  std::span<const Range> arena() const { return Elements<Range>(header().arena); }
  std::span<const Move> moves() const { return Elements<Move>(header().moves); }
  std::span<const VerifyRange> verify() const { return Elements<VerifyRange>(header().verify); }
  // Digest number `index`, DigestSize(digest_kind()) bytes.
  const std::byte* digest(uint64_t index) const {
    return block_ + header().digests.offset + index * DigestSize(digest_kind());
  }
  const std::byte* bytes() const { return block_; }

 private:
  template <typename T>
  std::span<const T> Elements(Array array) const {
    return {reinterpret_cast<const T*>(block_ + array.offset), array.count};
  }
  const std::byte* block_;
};

// Reads only the header. `self` is the physical address of the block; `blob` and `stack` lie where
// the caller knows that they do. The checksum comes second, after what is needed to take it.
HopFailure CheckHeader(const View& view, PhysAddr self, PhysRange blob, PhysRange stack,
                       digest::DigestFeatures features);

// Reads the whole block; CheckHeader has passed. After it every access that the hop makes by this
// hand-off lies where it may.
HopFailure CheckBody(const View& view, digest::DigestFeatures features);

// The two checksums of a finished block, as the fields of its header want them.
uint32_t HeaderChecksum(const Header& header, digest::DigestFeatures features);
uint32_t BodyChecksum(const View& view, digest::DigestFeatures features);

}  // namespace khop::handoff
