// SPDX-License-Identifier: MIT
#include "tool/load/replay_hop.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "core/arm64/page_table_walker.h"
#include "core/digest/crc32c.h"
#include "core/digest/sha256.h"
#include "core/handoff/check.h"
#include "core/relocator/blob.h"

namespace khop::load {

HopReplay::HopReplay(system::FakeSystem& system) {
  // What khop holds, and nothing else, has the bytes that it had.
  for (const auto& [size, pool] : system.pools) {
    for (const uint64_t huge : system.Held(size)) {
      for (uint64_t page = huge; page < huge + size; page += kPage) {
        memcpy(At(page).data(), system.PhysicalBytes(huge) + (page - huge), kPage);
      }
    }
  }
  for (const uint64_t page : system.Held(kPage)) {
    memcpy(At(page).data(), system.PhysicalBytes(page), kPage);
  }
  for (const auto& [page, bytes] : system.reserved_memory) At(page) = bytes;
  // The running kernel's part.
  const auto& image = *system.loaded;
  for (uint64_t at = 0; at < image.size; at += kPage) {
    Page& page = At(image.destination + at);
    std::ranges::fill(page, std::byte{0});
    if (at < image.bytes.size()) {
      memcpy(page.data(), &image.bytes[at], std::min<uint64_t>(kPage, image.bytes.size() - at));
    }
  }
  // The relocator's.
  relocator::BlobHeader blob;
  memcpy(&blob, image.bytes.data(), sizeof(blob));
  const uint64_t offset = blob.parameters.handoff_offset;
  handoff_.assign(image.bytes.begin() + static_cast<ptrdiff_t>(offset), image.bytes.end());
  const handoff::View view(handoff_.data());
  const handoff::Header& header = view.header();
  EXPECT_TRUE(
      handoff::CheckHeader(
          view, PhysAddr{image.destination + offset}, {PhysAddr{image.entry}, blob.size},
          {PhysAddr{image.entry + blob.parameters.stack_offset}, blob.parameters.stack_size},
          digest::DigestFeatures::Scalar())
          .ok());
  EXPECT_TRUE(handoff::CheckBody(view, digest::DigestFeatures::Scalar()).ok());
  entry = header.entry;
  dtb = header.dtb;
  dtb_size = header.dtb_size;
  mmu = view.mmu();
  moves = header.moves.count;
  for (const handoff::Move& move : view.moves()) {
    Move(move.source, move.destination, move.size);
    bytes_moved += move.size;
  }
}

HopReplay::Page& HopReplay::At(uint64_t address) {
  return memory_.try_emplace(address, kPage, std::byte{0xee}).first->second;
}

uint64_t HopReplay::Word(uint64_t address) const {
  uint64_t word = 0;
  const auto page = memory_.find(AlignDown(address, kPage));
  if (page == memory_.end()) {
    ADD_FAILURE() << "no table at " << std::hex << address;
    return 0;
  }
  memcpy(&word, page->second.data() + address % kPage, sizeof(word));
  return word;
}

uint64_t HopReplay::Physical(uint64_t source) const {
  if (!mmu) return source;
  const auto& translation = handoff::View(handoff_.data()).header().translation;
  arm64::PageTableWalker walker([&](uint64_t address) { return Word(address); }, translation.root,
                                translation.granule_shift, translation.va_bits);
  const auto leaf = walker.Translate(source);
  EXPECT_TRUE(leaf) << std::hex << source;
  return leaf ? leaf->pa + (source - leaf->va) : 0;
}

void HopReplay::Move(uint64_t source, uint64_t destination, uint64_t size) {
  for (uint64_t at = 0; at < size; at += kPage) {
    const auto from = memory_.find(Physical(source + at));
    if (from == memory_.end()) {
      ADD_FAILURE() << "moves from memory that is not khop's: " << std::hex << source + at;
      return;
    }
    const Page bytes = from->second;
    // What the relocator writes to is mapped to itself.
    if (mmu) {
      EXPECT_EQ(Physical(destination + at), destination + at);
    }
    At(destination + at) = bytes;
  }
}

std::string HopReplay::Bytes(uint64_t address, uint64_t size) const {
  std::string bytes;
  for (uint64_t at = address; at < address + size;) {
    const uint64_t count = std::min(kPage - at % kPage, address + size - at);
    const auto page = memory_.find(AlignDown(at, kPage));
    if (page == memory_.end()) {
      bytes.append(count, '\xee');
    } else {
      bytes.append(reinterpret_cast<const char*>(page->second.data()) + at % kPage, count);
    }
    at += count;
  }
  return bytes;
}

bool HopReplay::Verified() const {
  const handoff::View view(handoff_.data());
  const auto features = digest::DigestFeatures::Scalar();
  const uint32_t digest_size = handoff::DigestSize(view.digest_kind());
  for (const handoff::VerifyRange& range : view.verify()) {
    uint32_t number = range.first_digest;
    for (uint64_t at = 0; at < range.size; at += handoff::kPieceSize, ++number) {
      const std::string bytes =
          Bytes(range.start + at, std::min(handoff::kPieceSize, range.size - at));
      const auto span = std::as_bytes(std::span(bytes));
      bool same = false;
      if (view.digest_kind() == handoff::DigestKind::kSha256) {
        digest::Sha256 sha256(features);
        sha256.Update(span);
        const auto digest = sha256.Finish();
        same = memcmp(view.digest(number), digest.data(), digest_size) == 0;
      } else {
        const uint32_t digest = digest::Crc32c(span, features);
        same = memcmp(view.digest(number), &digest, digest_size) == 0;
      }
      if (!same) return false;
    }
  }
  return !view.verify().empty();
}

}  // namespace khop::load
