// SPDX-License-Identifier: MIT
// The C interface: the same structures under C names, and scratch memory handed out piece by piece.
#include "core/embed/khop.h"

#include <algorithm>
#include <cstring>

#include "core/arm64/geometry.h"
#include "core/digest/crc32c.h"
#include "core/digest/sha256.h"
#include "core/plan/assignment.h"
#include "core/plan/checker.h"
#include "core/plan/control_area.h"
#include "core/plan/moves.h"
#include "core/plan/placement.h"
#include "core/relocator/blob.h"

namespace khop {
namespace {

// What is passed through is the same memory under another name; it is read and written only on one
// side of this file at a time.
template <typename To, typename From>
std::span<To> Same(From* first, size_t count) {
  static_assert(sizeof(To) == sizeof(From) && alignof(To) == alignof(From));
  return {reinterpret_cast<To*>(first), count};
}
static_assert(offsetof(khop_range, size) == offsetof(PhysRange, size));
static_assert(offsetof(khop_range, size) == offsetof(handoff::Range, size));
static_assert(offsetof(khop_piece, destination) == offsetof(plan::Piece, destination));
static_assert(offsetof(khop_piece, size) == offsetof(plan::Piece, size));
static_assert(KHOP_UART_PL011 == static_cast<int>(relocator::UartKind::kPl011));
static_assert(KHOP_UART_8250 == static_cast<int>(relocator::UartKind::k8250));
static_assert(KHOP_PSCI_SMC == static_cast<int>(relocator::PsciConduit::kSmc));
static_assert(KHOP_PSCI_HVC == static_cast<int>(relocator::PsciConduit::kHvc));
static_assert(KHOP_DIGEST_SHA256 == static_cast<int>(handoff::DigestKind::kSha256));
static_assert(KHOP_DIGEST_CRC32C == static_cast<int>(handoff::DigestKind::kCrc32c));
static_assert(KHOP_DIGEST_PIECE == handoff::kPieceSize);
static_assert(KHOP_DIGEST_MAX_SIZE == handoff::kMaxDigestSize);
static_assert(static_cast<uint32_t>(KHOP_FORCE_SCALAR_DIGEST) == handoff::kForceScalarDigest);
static_assert(static_cast<uint32_t>(KHOP_LINUX_IMAGE) == handoff::kLinuxImage);
static_assert(static_cast<uint32_t>(KHOP_PLAIN_ENTRY) == handoff::kPlainEntry);

constexpr khop_status kOk = {KHOP_OK, 0};

khop_status StatusOf(const Error& error) {
  switch (error.code) {
    case ErrorCode::kOutOfMemory:
      return {KHOP_OUT_OF_MEMORY, error.value};
    case ErrorCode::kNotAligned:
      return {KHOP_NOT_ALIGNED, error.value};
    case ErrorCode::kOutOfRange:
      return {KHOP_OUT_OF_RANGE, error.value};
    case ErrorCode::kOverlap:
      return {KHOP_OVERLAP, error.value};
    case ErrorCode::kInvalidArgument:
      break;
    case ErrorCode::kWrongContent:
      return {KHOP_WRONG_CONTENT, error.value};
  }
  return {KHOP_INVALID_ARGUMENT, error.value};
}

// Arrays one after the other in the caller's memory; empty when it is used up, which the function
// that gets such an array notices.
class Scratch {
 public:
  explicit Scratch(khop_scratch memory)
      : at_(static_cast<std::byte*>(memory.start)), left_(memory.size) {}
  template <typename T>
  std::span<T> Take(size_t count) {
    static_assert(alignof(T) <= 8 && sizeof(T) % 8 == 0);  // the next array is aligned too
    if (count > left_ / sizeof(T)) return {};
    const std::span<T> taken(reinterpret_cast<T*>(at_), count);
    at_ += count * sizeof(T);
    left_ -= count * sizeof(T);
    return taken;
  }
  template <typename T>
  std::span<T> TakeAll() {
    static_assert(alignof(T) <= 8);
    return {reinterpret_cast<T*>(at_), left_ / sizeof(T)};
  }

 private:
  std::byte* at_;
  size_t left_;
};

// `hop` as the planner's own type, with arrays in `scratch`.
std::expected<plan::Hop, Error> Convert(const khop_hop& hop, uint64_t above, Scratch& scratch) {
  plan::Hop out;
  out.entry = {hop.entry};
  out.dtb = {hop.dtb};
  out.dtb_size = hop.dtb_size;
  out.timeline_offset = hop.timeline_offset;
  out.stamp = {hop.stamp};
  out.arena = Same<const handoff::Range>(hop.arena, hop.arena_count);
  for (const handoff::Range& range : out.arena) above = std::max(above, range.start + range.size);
  out.digests = Same<const std::byte>(hop.digests, hop.digest_bytes);
  out.digest_kind = static_cast<handoff::DigestKind>(hop.digest_kind);
  out.flags = hop.flags;
  out.mmu = hop.mmu != 0;
  out.granule_shift = hop.granule_shift;
  out.va_bits = hop.va_bits;
  out.pa_bits = hop.pa_bits;
  out.cache_line_size = hop.cache_line_size;
  out.last_words = {.uart_base = hop.uart_base,
                    .uart_kind = static_cast<relocator::UartKind>(hop.uart_kind),
                    .uart_reg_shift = static_cast<uint8_t>(hop.uart_reg_shift),
                    .uart_io_width = static_cast<uint8_t>(hop.uart_io_width),
                    .conduit = static_cast<relocator::PsciConduit>(hop.psci),
                    .record_size = hop.record_size,
                    .record_base = hop.record_base,
                    .loaded_at = hop.loaded_at,
                    .check = 0,
                    .reserved = 0};

  const auto verify = scratch.Take<handoff::VerifyRange>(hop.verify_count);
  if (verify.size() < hop.verify_count) {
    return std::unexpected(Error{ErrorCode::kOutOfMemory, 0});
  }
  uint32_t digest = 0;
  for (size_t i = 0; i < hop.verify_count; ++i) {
    const khop_range& range = hop.verify[i];
    verify[i] = {range.start, range.size, digest, 0};
    digest += static_cast<uint32_t>((range.size + KHOP_DIGEST_PIECE - 1) / KHOP_DIGEST_PIECE);
  }
  out.verify = verify;

  const auto pieces = Same<const plan::Piece>(hop.pieces, hop.piece_count);
  const auto moves = scratch.Take<handoff::Move>(hop.piece_count);
  const auto window = scratch.Take<plan::WindowPiece>(out.mmu ? hop.piece_count : 0);
  const auto geometry = arm64::PageGeometry::Make(hop.granule_shift, hop.va_bits);
  if (!geometry) return std::unexpected(geometry.error());
  const auto list = plan::LayOutMoves(pieces, out.mmu ? &*geometry : nullptr, above, moves, window);
  if (!list) return std::unexpected(list.error());
  out.moves = moves.first(list->moves);
  out.window = window.first(list->windows);
  return out;
}

}  // namespace
}  // namespace khop

using khop::kOk;
using khop::PhysAddr;
using khop::PhysRange;
using khop::Same;
using khop::Scratch;
using khop::StatusOf;
using khop::plan::Piece;

khop_status khop_place(const khop_item* items, size_t item_count, const khop_range* owned,
                       size_t owned_count, const khop_range* allowed, size_t allowed_count,
                       khop_scratch scratch, uint64_t* destinations, uint64_t* owned_bytes) {
  constexpr size_t kMaxItems = 16;
  khop::plan::Item converted[kMaxItems];
  if (item_count > kMaxItems) return {KHOP_INVALID_ARGUMENT, item_count};
  for (size_t i = 0; i < item_count; ++i) {
    const khop_item& item = items[i];
    converted[i] = {.size = item.size,
                    .alignment = item.alignment,
                    .offset = item.offset,
                    .boundary = item.boundary,
                    .owned_only = (item.flags & KHOP_ITEM_OWNED_ONLY) != 0,
                    .windowed = (item.flags & KHOP_ITEM_WINDOWED) != 0};
  }
  const auto placed = khop::plan::PlaceItems(
      {converted, item_count},
      {Same<const PhysRange>(owned, owned_count), Same<const PhysRange>(allowed, allowed_count)},
      {}, Scratch(scratch).TakeAll<uint64_t>(), Same<PhysAddr>(destinations, item_count));
  if (!placed) return StatusOf(placed.error());
  *owned_bytes = *placed;
  return kOk;
}

khop_status khop_assign(const khop_range* destinations, size_t destination_count,
                        const khop_range* owned, size_t owned_count, const khop_range* spare,
                        size_t spare_count, uint64_t page_size, khop_scratch scratch,
                        khop_piece* pieces, size_t* piece_count) {
  if (!khop::IsPowerOfTwo(page_size)) return {KHOP_INVALID_ARGUMENT, page_size};
  const auto assigned = khop::plan::AssignPages(
      Same<const PhysRange>(destinations, destination_count),
      Same<const PhysRange>(owned, owned_count), Same<const PhysRange>(spare, spare_count),
      page_size, Scratch(scratch).TakeAll<PhysRange>(), Same<Piece>(pieces, *piece_count));
  if (!assigned) return StatusOf(assigned.error());
  *piece_count = *assigned;
  return kOk;
}

khop_status khop_order(const khop_piece* pieces, size_t piece_count, uint64_t page_size,
                       uint64_t spare_page, khop_scratch scratch, khop_piece* ordered,
                       size_t* ordered_count) {
  if (!khop::IsPowerOfTwo(page_size)) return {KHOP_INVALID_ARGUMENT, page_size};
  const auto done = khop::plan::OrderMoves(Same<const Piece>(pieces, piece_count), page_size,
                                           {PhysAddr{spare_page}, spare_page == 0 ? 0 : page_size},
                                           Scratch(scratch).TakeAll<Piece>(),
                                           Same<Piece>(ordered, *ordered_count));
  if (!done) return StatusOf(done.error());
  *ordered_count = *done;
  return kOk;
}

khop_status khop_replay(const khop_piece* before, size_t before_count, const khop_piece* moves,
                        size_t move_count, const khop_range* writable, size_t writable_count,
                        uint64_t page_size, khop_scratch scratch) {
  if (!khop::IsPowerOfTwo(page_size)) return {KHOP_INVALID_ARGUMENT, page_size};
  Scratch memory(scratch);
  const auto runs = memory.Take<khop::plan::ModelRun>(2 * (before_count + move_count));
  const auto replayed = khop::plan::ReplayMoves(
      Same<const Piece>(before, before_count), Same<const Piece>(moves, move_count),
      Same<const PhysRange>(writable, writable_count), page_size, runs, memory.TakeAll<uint32_t>());
  return replayed ? kOk : StatusOf(replayed.error());
}

size_t khop_digest(uint32_t kind, const void* data, size_t size, uint8_t* digest) {
  const std::span<const std::byte> bytes(static_cast<const std::byte*>(data), size);
  const auto scalar = khop::digest::DigestFeatures::Scalar();
  if (kind == KHOP_DIGEST_SHA256) {
    const auto value = khop::digest::Sha256Of(bytes, scalar);
    memcpy(digest, value.data(), value.size());
    return value.size();
  }
  if (kind != KHOP_DIGEST_CRC32C) return 0;
  const uint32_t value = khop::digest::Crc32c(bytes, scalar);
  memcpy(digest, &value, sizeof(value));
  return sizeof(value);
}

khop_status khop_control_size(const khop_hop* hop, const void* blob, size_t blob_size,
                              khop_scratch scratch, uint64_t* size) {
  Scratch memory(scratch);
  const auto converted = khop::Convert(*hop, 0, memory);
  if (!converted) return StatusOf(converted.error());
  const auto layout =
      khop::plan::LayOutControlArea(*converted, {static_cast<const std::byte*>(blob), blob_size});
  if (!layout) return StatusOf(layout.error());
  *size = layout->size;
  return kOk;
}

khop_status khop_build(const khop_hop* hop, const void* blob, size_t blob_size, uint64_t base,
                       void* memory, uint64_t* size, khop_scratch scratch) {
  Scratch arrays(scratch);
  // The area maps itself as well: the window starts above it.
  const auto converted = khop::Convert(*hop, base + *size, arrays);
  if (!converted) return StatusOf(converted.error());
  const auto layout =
      khop::plan::BuildControlArea(*converted, {static_cast<const std::byte*>(blob), blob_size},
                                   PhysAddr{base}, {static_cast<std::byte*>(memory), *size});
  if (!layout) return StatusOf(layout.error());
  *size = layout->size;
  return kOk;
}
