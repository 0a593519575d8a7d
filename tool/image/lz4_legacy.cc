// SPDX-License-Identifier: MIT
// The legacy lz4 frame, which `lz4 -l` and the kernel's build make: a magic number and blocks of at
// most 8 MiB unpacked, each behind its packed size (LZ4 Frame Format 1.6, "Legacy frame"; LZ4 Block
// Format). The library wants a block whole in memory, packed and unpacked; this goes byte by byte
// with a window of 64 KiB.
#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "tool/image/bytes.h"
#include "tool/image/codec.h"

namespace khop::image {
namespace {

constexpr uint32_t kMagic = 0x184c2102;
constexpr uint32_t kMaxBlock = uint32_t{8} << 20;                  // unpacked
constexpr uint32_t kMaxPacked = kMaxBlock + kMaxBlock / 255 + 16;  // when nothing can be packed
constexpr size_t kWindow = size_t{64} << 10;
constexpr uint32_t kMinMatch = 4;

class Lz4Legacy : public Decoder {
 public:
  explicit Lz4Legacy(PackedInput input) : input_(std::move(input)), window_(kWindow) {}

  Result<size_t> Read(std::span<std::byte> out) override {
    if (!started_) {
      const auto magic = TakeWord();
      if (!magic) return Forward(magic);
      if (*magic != kMagic) return Damaged(input_, Codec::kLz4Legacy, "its magic number");
      started_ = true;
    }
    size_t done = 0;
    while (done < out.size() && !done_) {
      if (literals_ != 0) {
        const auto copied = CopyLiterals(out.subspan(done));
        if (!copied) return Forward(copied);
        done += *copied;
      } else if (match_ != 0) {
        done += CopyMatch(out.subspan(done));
      } else if (packed_ == 0) {
        if (const auto next = NextBlock(); !next) return Forward(next);
      } else if (const auto next = need_match_ ? NextMatch() : NextSequence(); !next) {
        return Forward(next);
      }
    }
    return done;
  }

 private:
  Result<uint32_t> TakeWord() {
    std::array<std::byte, 4> bytes = {};
    if (const auto taken = input_.Take(bytes); !taken) return Forward(taken);
    return *ReadLittle<uint32_t>(bytes, 0);
  }

  // A byte of the block.
  Result<uint32_t> TakeByte() {
    if (packed_ == 0) return Damaged(input_, Codec::kLz4Legacy, "a block ends within a sequence");
    std::array<std::byte, 1> byte = {};
    if (const auto taken = input_.Take(byte); !taken) return Forward(taken);
    --packed_;
    return std::to_integer<uint32_t>(byte[0]);
  }

  Result<void> NextBlock() {
    if (need_match_) return Damaged(input_, Codec::kLz4Legacy, "a block ends within a sequence");
    in_block_ = 0;
    if (input_.left() <= input_.tail()) {
      done_ = true;
      return {};
    }
    const auto size = TakeWord();
    if (!size) return Forward(size);
    // Another frame, padding, or the unpacked size that the kernel's build appends.
    if (*size == kMagic) return {};
    if (input_.left() == 0 || *size == 0) {
      const auto more = AnotherFollows(input_, Codec::kLz4Legacy, "\x02\x21\x4c\x18");
      if (!more) return Forward(more);
      done_ = !*more;
      return {};
    }
    if (*size > kMaxPacked) return Damaged(input_, Codec::kLz4Legacy, "the size of a block");
    if (*size > input_.left()) return CutShort(input_, Codec::kLz4Legacy);
    packed_ = *size;
    return {};
  }

  // A length of 4 bits, and of more bytes as long as they are 255.
  Result<uint32_t> TakeLength(uint32_t nibble) {
    uint32_t length = nibble;
    for (uint32_t byte = 255; nibble == 15 && byte == 255;) {
      const auto taken = TakeByte();
      if (!taken) return taken;
      byte = *taken;
      length += byte;
      if (length > kMaxBlock) return Damaged(input_, Codec::kLz4Legacy, "a length");
    }
    return length;
  }

  Result<void> NextSequence() {
    const auto token = TakeByte();
    if (!token) return Forward(token);
    const auto literals = TakeLength(*token >> 4);
    if (!literals) return Forward(literals);
    if (*literals > packed_) return Damaged(input_, Codec::kLz4Legacy, "a length");
    token_ = *token;
    literals_ = *literals;
    // The last sequence of a block has no match.
    need_match_ = literals_ < packed_;
    return Count(literals_);
  }

  Result<void> NextMatch() {
    const auto low = TakeByte();
    if (!low) return Forward(low);
    const auto high = TakeByte();
    if (!high) return Forward(high);
    const auto length = TakeLength(token_ & 15);
    if (!length) return Forward(length);
    distance_ = *low | *high << 8;
    // A match within what its own block has given so far.
    if (distance_ == 0 || distance_ > in_block_) {
      return Damaged(input_, Codec::kLz4Legacy, "a distance");
    }
    match_ = *length + kMinMatch;
    need_match_ = false;
    return Count(match_);
  }

  Result<void> Count(uint32_t bytes) {
    in_block_ += bytes;
    if (in_block_ > kMaxBlock) return Damaged(input_, Codec::kLz4Legacy, "the size of a block");
    return {};
  }

  Result<size_t> CopyLiterals(std::span<std::byte> out) {
    const auto some = input_.Peek();
    if (!some) return Forward(some);
    if (some->empty()) return CutShort(input_, Codec::kLz4Legacy);
    const size_t size = std::min({size_t{literals_}, out.size(), some->size()});
    memcpy(out.data(), some->data(), size);
    for (size_t i = 0; i < size; ++i) Remember((*some)[i]);
    input_.Use(size);
    literals_ -= static_cast<uint32_t>(size);
    packed_ -= static_cast<uint32_t>(size);
    return size;
  }

  size_t CopyMatch(std::span<std::byte> out) {
    const size_t size = std::min(size_t{match_}, out.size());
    for (size_t i = 0; i < size; ++i) {
      out[i] = window_[(at_ - distance_) % kWindow];
      Remember(out[i]);
    }
    match_ -= static_cast<uint32_t>(size);
    return size;
  }

  void Remember(std::byte byte) { window_[at_++ % kWindow] = byte; }

  PackedInput input_;
  std::vector<std::byte> window_;
  size_t at_ = 0;          // where the next byte goes, modulo kWindow
  uint32_t packed_ = 0;    // left of the block
  uint32_t in_block_ = 0;  // unpacked, what is on its way included
  uint32_t literals_ = 0;  // to copy
  uint32_t match_ = 0;     // to copy
  uint32_t distance_ = 0;
  uint32_t token_ = 0;
  bool need_match_ = false;
  bool started_ = false;
  bool done_ = false;
};

}  // namespace

MadeDecoder MakeLz4Legacy(PackedInput input) {
  return std::make_unique<Lz4Legacy>(std::move(input));
}

}  // namespace khop::image
