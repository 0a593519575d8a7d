// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstring>

#include "core/base/addr.h"
#include "core/digest/crc32c.h"
#include "core/digest/sha256.h"
#include "module/relocation.h"

namespace khop::module {
namespace {

// Entries of the list are page addresses with one of these (include/linux/kexec.h).
constexpr uint64_t kDestination = 1;
constexpr uint64_t kIndirection = 2;
constexpr uint64_t kDone = 4;
constexpr uint64_t kSource = 8;

constexpr khop_status kOk = {KHOP_OK, 0};

bool Overlaps(const khop_range& a, const khop_range& b) {
  return a.start < b.start + b.size && b.start < a.start + a.size;
}

khop_status CheckSegments(const khop_image& image) {
  if (!IsPowerOfTwo(image.page_size) || image.page_size < 4096 || image.segment_count == 0) {
    return {KHOP_INVALID_ARGUMENT, image.page_size};
  }
  for (size_t i = 0; i < image.segment_count; ++i) {
    const khop_range& segment = image.segments[i];
    if (!IsAligned(segment.start | segment.size, image.page_size)) {
      return {KHOP_NOT_ALIGNED, segment.start | segment.size};
    }
    // Beyond 2^52 there is no memory, and sums of a few of these do not overflow.
    if (segment.size == 0 || (segment.start | segment.size) >> 52 != 0) {
      return {KHOP_INVALID_ARGUMENT, segment.start};
    }
    for (size_t j = 0; j < i; ++j) {
      if (Overlaps(segment, image.segments[j])) return {KHOP_OVERLAP, segment.start};
    }
  }
  return kOk;
}

// Calls page(source, destination) for each page of the image, in the order of the list.
template <typename Page>
khop_status Walk(const khop_image& image, Page page) {
  if (const khop_status checked = CheckSegments(image); checked.code != KHOP_OK) return checked;
  uint64_t left = 0;
  for (size_t i = 0; i < image.segment_count; ++i) {
    left += image.segments[i].size / image.page_size;
  }
  // A list page has room for hundreds of entries: there are fewer of them than pages. So a list
  // that runs in a circle has an end here.
  uint64_t indirections = left + 2;
  size_t segment = 0;              // the next one that may begin
  uint64_t next = 0;               // destination
  uint64_t end = 0;                // of the segment that has begun
  const uint64_t* list = nullptr;  // the page that the list is in
  uint64_t at = 0;                 // the next entry in it
  for (uint64_t entry = image.head;;) {
    const uint64_t flags = entry & (image.page_size - 1);
    const uint64_t address = entry - flags;
    if (flags == kDone) {
      return left == 0 && address == 0 ? kOk : khop_status{KHOP_INVALID_ARGUMENT, entry};
    }
    if (flags == kIndirection) {
      if (indirections-- == 0) return {KHOP_INVALID_ARGUMENT, entry};
      list = static_cast<const uint64_t*>(image.map(image.context, address));
      if (list == nullptr) return {KHOP_OUT_OF_RANGE, address};
      at = 0;
    } else if (flags == kDestination) {
      if (next != end || segment == image.segment_count ||
          address != image.segments[segment].start) {
        return {KHOP_INVALID_ARGUMENT, entry};
      }
      next = address;
      end = address + image.segments[segment].size;
      ++segment;
    } else if (flags == kSource) {
      if (next == end) return {KHOP_INVALID_ARGUMENT, entry};
      if (address >> 52 != 0 || image.map(image.context, address) == nullptr) {
        return {KHOP_OUT_OF_RANGE, address};
      }
      page(address, next);
      next += image.page_size;
      --left;
    } else {
      return {KHOP_INVALID_ARGUMENT, entry};
    }
    if (list == nullptr || at == image.page_size / sizeof(uint64_t)) {
      return {KHOP_INVALID_ARGUMENT, entry};  // it goes on nowhere
    }
    entry = list[at++];
  }
}

bool Continues(const khop_piece& piece, uint64_t source, uint64_t destination) {
  return piece.source + piece.size == source && piece.destination + piece.size == destination;
}

bool InPlace(const khop_piece& piece) { return piece.source == piece.destination; }

// The piece with the first byte at or after `start`; pieces are ascending and disjoint.
size_t FirstFrom(const khop_piece* pieces, size_t count, uint64_t start) {
  const auto* const found =
      std::upper_bound(pieces, pieces + count, start, [](uint64_t value, const khop_piece& piece) {
        return value < piece.destination + piece.size;
      });
  return static_cast<size_t>(found - pieces);
}

// Calls part(bytes) for the pages that [start, start + size) will come from, in their order.
template <typename Part>
khop_status ForEachPart(const khop_image& image, const khop_piece* pieces, size_t count,
                        uint64_t start, uint64_t size, Part part) {
  const uint64_t end = start + size;
  for (size_t i = FirstFrom(pieces, count, start); start != end; ++i) {
    if (i == count || pieces[i].destination > start) return {KHOP_OUT_OF_RANGE, start};
    const uint64_t piece_end = std::min(end, pieces[i].destination + pieces[i].size);
    while (start != piece_end) {
      const uint64_t source = start - pieces[i].destination + pieces[i].source;
      const uint64_t offset = source & (image.page_size - 1);
      const auto* const page =
          static_cast<const std::byte*>(image.map(image.context, source - offset));
      if (page == nullptr) return {KHOP_OUT_OF_RANGE, source};
      const uint64_t bytes = std::min(piece_end - start, image.page_size - offset);
      part(std::span<const std::byte>(page + offset, bytes));
      start += bytes;
    }
  }
  return kOk;
}

}  // namespace
}  // namespace khop::module

using khop::module::ForEachPart;
using khop::module::kOk;

khop_status khop_image_measure(const khop_image* image, khop_image_size* size) {
  *size = {};
  khop_piece last = {};
  return khop::module::Walk(*image, [&](uint64_t source, uint64_t destination) {
    if (!khop::module::Continues(last, source, destination)) {
      ++size->pieces;
      last = {source, destination, 0};
    }
    last.size += image->page_size;
    size->bytes += image->page_size;
    if (source == destination) size->in_place_bytes += image->page_size;
  });
}

khop_status khop_image_read(const khop_image* image, khop_piece* pieces, size_t* piece_count,
                            khop_range* arena, size_t* arena_count) {
  size_t count = 0;
  bool full = false;
  const khop_status walked = khop::module::Walk(*image, [&](uint64_t source, uint64_t destination) {
    if (count != 0 && khop::module::Continues(pieces[count - 1], source, destination)) {
      pieces[count - 1].size += image->page_size;
    } else if (count == *piece_count) {
      full = true;
    } else {
      pieces[count++] = {source, destination, image->page_size};
    }
  });
  if (walked.code != KHOP_OK) return walked;
  if (full) return {KHOP_OUT_OF_MEMORY, *piece_count};
  std::sort(pieces, pieces + count,
            [](const khop_piece& a, const khop_piece& b) { return a.destination < b.destination; });
  size_t ranges = 0;
  for (size_t i = 0; i < count; ++i) {
    if (ranges != 0 && arena[ranges - 1].start + arena[ranges - 1].size == pieces[i].destination) {
      arena[ranges - 1].size += pieces[i].size;
    } else {
      if (ranges == *arena_count) return {KHOP_OUT_OF_MEMORY, *arena_count};
      arena[ranges++] = {pieces[i].destination, pieces[i].size};
    }
  }
  // The kernel sees to this when it loads: no order of moves is then needed.
  for (size_t i = 0; i < count; ++i) {
    if (khop::module::InPlace(pieces[i])) continue;
    for (size_t j = 0; j < ranges; ++j) {
      if (khop::module::Overlaps({pieces[i].source, pieces[i].size}, arena[j])) {
        return {KHOP_OVERLAP, pieces[i].source};
      }
    }
  }
  *piece_count = count;
  *arena_count = ranges;
  return kOk;
}

khop_status khop_image_copy(const khop_image* image, const khop_piece* pieces, size_t piece_count,
                            uint64_t start, uint64_t size, void* out) {
  auto* to = static_cast<std::byte*>(out);
  return ForEachPart(*image, pieces, piece_count, start, size,
                     [&](std::span<const std::byte> part) {
                       memcpy(to, part.data(), part.size());
                       to += part.size();
                     });
}

khop_status khop_image_replace(khop_piece* pieces, size_t* piece_count, size_t capacity,
                               uint64_t start, uint64_t size, uint64_t source) {
  const uint64_t end = start + size;
  const size_t first = khop::module::FirstFrom(pieces, *piece_count, start);
  size_t last = first;  // one behind the last that [start, end) touches
  while (last != *piece_count && pieces[last].destination < end) ++last;
  if (first == last || pieces[first].destination > start) return {KHOP_OUT_OF_RANGE, start};
  khop_piece parts[3];
  size_t count = 0;
  const khop_piece before = pieces[first];
  const khop_piece after = pieces[last - 1];
  if (before.destination != start) {
    parts[count++] = {before.source, before.destination, start - before.destination};
  }
  parts[count++] = {source, start, size};
  const uint64_t after_end = after.destination + after.size;
  if (after_end < end) return {KHOP_OUT_OF_RANGE, after_end};
  if (after_end != end) {
    parts[count++] = {after.source + (end - after.destination), end, after_end - end};
  }
  const size_t kept = *piece_count - last;
  if (first + count + kept > capacity) return {KHOP_OUT_OF_MEMORY, capacity};
  memmove(pieces + first + count, pieces + last, kept * sizeof(*pieces));
  memcpy(pieces + first, parts, count * sizeof(*pieces));
  *piece_count = first + count + kept;
  return kOk;
}

khop_status khop_image_digest(const khop_image* image, const khop_piece* pieces, size_t piece_count,
                              const khop_range* arena, size_t arena_count, uint32_t kind,
                              uint8_t* digests, size_t* digest_bytes) {
  constexpr auto kScalar = khop::digest::DigestFeatures::Scalar();
  if (kind != KHOP_DIGEST_SHA256 && kind != KHOP_DIGEST_CRC32C) {
    return {KHOP_INVALID_ARGUMENT, kind};
  }
  const size_t digest_size = kind == KHOP_DIGEST_SHA256 ? khop::digest::kSha256Size : 4;
  size_t used = 0;
  for (size_t i = 0; i < arena_count; ++i) {
    for (uint64_t done = 0; done < arena[i].size; done += KHOP_DIGEST_PIECE) {
      const uint64_t size = std::min(arena[i].size - done, KHOP_DIGEST_PIECE);
      khop::digest::Sha256 sha(kScalar);
      uint32_t crc = 0;
      const khop_status read = ForEachPart(*image, pieces, piece_count, arena[i].start + done, size,
                                           [&](std::span<const std::byte> part) {
                                             if (kind == KHOP_DIGEST_SHA256) {
                                               sha.Update(part);
                                             } else {
                                               crc = khop::digest::Crc32c(part, kScalar, crc);
                                             }
                                           });
      if (read.code != KHOP_OK) return read;
      if (*digest_bytes - used < digest_size) return {KHOP_OUT_OF_MEMORY, *digest_bytes};
      if (kind == KHOP_DIGEST_SHA256) {
        const auto value = sha.Finish();
        memcpy(digests + used, value.data(), value.size());
      } else {
        memcpy(digests + used, &crc, sizeof(crc));
      }
      used += digest_size;
    }
  }
  *digest_bytes = used;
  return kOk;
}
