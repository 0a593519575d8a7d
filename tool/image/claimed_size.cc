// SPDX-License-Identifier: MIT
#include "tool/image/claimed_size.h"

#include <lzma.h>
#include <zstd.h>

#include <algorithm>

#include "tool/image/bytes.h"

namespace khop::image {
namespace {

constexpr size_t kHead = 64;  // more than any of the headers
constexpr uint64_t kMaxIndex = uint64_t{1} << 20;
constexpr uint64_t kIndexMemory = uint64_t{16} << 20;

std::vector<std::byte> BytesOf(Source& source, Slice slice) {
  auto bytes = source.Read(slice, static_cast<size_t>(slice.size));
  return bytes && bytes->size() == slice.size ? *std::move(bytes) : std::vector<std::byte>();
}

std::optional<uint64_t> LastWord(Source& source, Slice where) {
  if (where.size < 4) return std::nullopt;
  const auto word = ReadLittle<uint32_t>(BytesOf(source, {where.end() - 4, 4}), 0);
  if (!word) return std::nullopt;
  return *word;
}

// Of one stream that fills `where`.
std::optional<uint64_t> XzSize(Source& source, Slice where) {
  if (where.size < uint64_t{2} * LZMA_STREAM_HEADER_SIZE) return std::nullopt;
  const uint64_t footer_at = where.end() - LZMA_STREAM_HEADER_SIZE;
  const auto footer = BytesOf(source, {footer_at, LZMA_STREAM_HEADER_SIZE});
  lzma_stream_flags flags = {};
  if (footer.empty() || lzma_stream_footer_decode(
                            &flags, reinterpret_cast<const uint8_t*>(footer.data())) != LZMA_OK) {
    return std::nullopt;
  }
  const uint64_t size = flags.backward_size;
  if (size > kMaxIndex || size > where.size - uint64_t{2} * LZMA_STREAM_HEADER_SIZE) {
    return std::nullopt;
  }
  const auto bytes = BytesOf(source, {footer_at - size, size});
  lzma_index* index = nullptr;
  uint64_t memory = kIndexMemory;
  size_t used = 0;
  if (lzma_index_buffer_decode(&index, &memory, nullptr,
                               reinterpret_cast<const uint8_t*>(bytes.data()), &used,
                               bytes.size()) != LZMA_OK) {
    return std::nullopt;
  }
  const bool alone = lzma_index_file_size(index) == where.size;
  const uint64_t unpacked = lzma_index_uncompressed_size(index);
  lzma_index_end(index, nullptr);
  return alone ? std::optional(unpacked) : std::nullopt;
}

std::optional<uint64_t> ZstdSize(std::span<const std::byte> head) {
  const unsigned long long size =  // NOLINT(google-runtime-int): zstd's
      ZSTD_getFrameContentSize(head.data(), head.size());
  if (size == ZSTD_CONTENTSIZE_UNKNOWN || size == ZSTD_CONTENTSIZE_ERROR) return std::nullopt;
  return size;
}

// The frame's descriptor: lz4_Frame_format.md, "Frame Descriptor".
std::optional<uint64_t> Lz4Size(std::span<const std::byte> head) {
  constexpr uint8_t kHasContentSize = 1U << 3;
  const auto flags = ReadLittle<uint8_t>(head, 4);
  if (!flags || (*flags & kHasContentSize) == 0) return std::nullopt;
  return ReadLittle<uint64_t>(head, 6);
}

// Five bytes of properties, then the size; all ones where it was not known.
std::optional<uint64_t> LzmaSize(std::span<const std::byte> head) {
  const auto size = ReadLittle<uint64_t>(head, 5);
  return size == UINT64_MAX ? std::nullopt : size;
}

}  // namespace

std::optional<uint64_t> ClaimedSize(Codec codec, Source& source, Slice where, uint64_t tail) {
  if (tail != 0 || codec == Codec::kGzip) return LastWord(source, where);
  const auto head = BytesOf(source, {where.offset, std::min<uint64_t>(where.size, kHead)});
  switch (codec) {
    case Codec::kXz:
      return XzSize(source, where);
    case Codec::kZstd:
      return ZstdSize(head);
    case Codec::kLz4:
      return Lz4Size(head);
    case Codec::kLzma:
      return LzmaSize(head);
    default:
      return std::nullopt;
  }
}

}  // namespace khop::image
