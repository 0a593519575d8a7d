// SPDX-License-Identifier: MIT
// The legacy lz4 frame, which `lz4 -l` and the kernel's build make: a magic number and blocks of at
// most 8 MiB unpacked, each behind its packed size (LZ4 Frame Format 1.6, "Legacy frame"; LZ4 Block
// Format). The library wants a block whole in memory, packed and unpacked, which is more than a
// load may take beside its payload; this has the last 64 KiB of what it gave.
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
constexpr uint32_t kMoreFollows = 15;  // the length in a token: other bytes add to it
constexpr size_t kShort = 16;          // copied at once, whether it is all needed or not

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
        done += CopyMatch(out, done);
      } else if (need_match_) {
        if (const auto next = NextMatch(); !next) return Forward(next);
      } else if (packed_ == 0) {
        if (const auto next = NextBlock(); !next) return Forward(next);
      } else {
        const auto some = input_.Peek();
        if (!some) return Forward(some);
        done += CopySequences(some->first(std::min<size_t>(some->size(), packed_)), out, done);
        if (packed_ == 0) continue;
        if (const auto next = NextSequence(); !next) return Forward(next);
      }
    }
    Remember(out.first(done));
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
    const auto some = input_.Peek();
    if (!some) return Forward(some);
    if (some->empty()) return CutShort(input_, Codec::kLz4Legacy);
    input_.Use(1);
    --packed_;
    return std::to_integer<uint32_t>(some->front());
  }

  Result<void> NextBlock() {
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
    for (uint32_t byte = 255; nibble == kMoreFollows && byte == 255;) {
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
    input_.Use(size);
    literals_ -= static_cast<uint32_t>(size);
    packed_ -= static_cast<uint32_t>(size);
    return size;
  }

  // To `done` in `out`, which has what was given before, as window_ has what was before that.
  size_t CopyMatch(std::span<std::byte> out, size_t done) {
    std::byte* const to = out.data() + done;
    size_t size = std::min(size_t{match_}, out.size() - done);
    if (distance_ > done) {
      const size_t back = distance_ - done;
      size = std::min(size, back);
      memcpy(to, window_.data() + window_.size() - back, size);
    } else {
      CopyWithin(to, distance_, size);
    }
    match_ -= static_cast<uint32_t>(size);
    return size;
  }

  // A match that reaches into itself is the source of more.
  static void CopyWithin(std::byte* to, size_t distance, size_t size) {
    size_t copied = std::min(size, distance);
    memcpy(to, to - distance, copied);
    for (size_t some = 0; copied < size; copied += some) {
      some = std::min(size - copied, copied);
      memcpy(to + copied, to, some);
    }
  }

  // Nearly all of a block: sequences that are in view as a whole, and whose matches are in `out`.
  // Stops at the first that is not so, or makes no sense, for the functions above. Short ones,
  // which most are, are copied as kShort bytes, as there is room for more.
  size_t CopySequences(std::span<const std::byte> in, std::span<std::byte> out, size_t done) {
    const size_t begin = done;
    const size_t end = std::min(out.size(), done + kMaxBlock - in_block_);
    const size_t block = done - std::min<size_t>(done, in_block_);  // where it begins in `out`
    size_t used = 0;
    while (used != in.size()) {
      const auto token = std::to_integer<uint32_t>(in[used]);
      size_t at = used + 1;
      size_t literals = token >> 4;
      if (literals == kMoreFollows && !AddToLength(in, at, literals)) break;
      if (in.size() - at < std::max(literals, kShort) + 2) break;
      const std::byte* const from = in.data() + at;
      at += literals + 2;
      const size_t distance = std::to_integer<size_t>(from[literals]) |
                              std::to_integer<size_t>(from[literals + 1]) << 8;
      size_t match = token & 15;
      if (match == kMoreFollows && !AddToLength(in, at, match)) break;
      match += kMinMatch;
      if (end - done < literals + match + 2 * kShort || distance == 0 ||
          distance > done - block + literals) {
        break;
      }
      std::byte* const to = out.data() + done + literals;
      if (literals <= kShort) {
        memcpy(out.data() + done, from, kShort);
      } else {
        memcpy(out.data() + done, from, literals);
      }
      if (match <= kShort && distance >= kShort) {
        memcpy(to, to - distance, kShort);
      } else {
        CopyWithin(to, distance, match);
      }
      done += literals + match;
      used = at;
    }
    input_.Use(used);
    packed_ -= static_cast<uint32_t>(used);
    in_block_ += static_cast<uint32_t>(done - begin);
    return done - begin;
  }

  // As TakeLength(), of what is in view.
  static bool AddToLength(std::span<const std::byte> in, size_t& at, size_t& length) {
    for (size_t byte = 255; byte == 255; length += byte) {
      if (at == in.size()) return false;
      byte = std::to_integer<size_t>(in[at++]);
    }
    return true;
  }

  void Remember(std::span<const std::byte> given) {
    const auto last = given.last(std::min(given.size(), kWindow));
    const size_t kept = kWindow - last.size();
    memmove(window_.data(), window_.data() + last.size(), kept);
    memcpy(window_.data() + kept, last.data(), last.size());
  }

  PackedInput input_;
  std::vector<std::byte> window_;
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
