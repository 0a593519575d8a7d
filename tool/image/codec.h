// SPDX-License-Identifier: MIT
// Decompression as a stream: whatever the data says, no more memory is taken than the format's
// window, and no more bytes come out than are asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tool/base/error.h"
#include "tool/image/identify.h"
#include "tool/image/source.h"

namespace khop::image {

enum class Codec : uint8_t { kNone, kGzip, kXz, kLzma, kZstd, kLz4, kLz4Legacy, kBzip2 };

std::string_view CodecName(Codec codec);
// Nothing for formats that are not compressed, or that khop cannot unpack (lzop).
std::optional<Codec> CodecOf(Format format);

// A window larger than this (xz, lzma, zstd) is refused: the largest that the kernel's own build
// makes.
inline constexpr uint64_t kMaxWindow = uint64_t{128} << 20;

// The compressed bytes, in order.
class PackedInput {
 public:
  // `tail` bytes at the end may be left over: the kernel's build appends the unpacked size.
  PackedInput(Source& source, Slice slice, std::string name, uint64_t tail);

  // What has been read and not used; reads more if there is none. Empty at the end.
  Result<std::span<const std::byte>> Peek() {
    if (view_.empty() && left_ != 0) {
      if (const auto refilled = Refill(); !refilled) return Forward(refilled);
    }
    return view_;
  }
  void Use(size_t bytes) {
    view_ = view_.subspan(bytes);
    left_ -= bytes;
  }
  // Exactly so many bytes. Errors: kTruncated.
  Result<void> Take(std::span<std::byte> out);
  // Bytes that are not used yet.
  uint64_t left() const { return left_; }
  uint64_t tail() const { return tail_; }
  const std::string& name() const { return name_; }

 private:
  Result<void> Refill();

  Source* source_;
  Slice slice_;
  std::string name_;
  uint64_t tail_;
  uint64_t left_;
  std::span<const std::byte> view_;
};

class Decoder {
 public:
  virtual ~Decoder() = default;
  // Fills `out`; fewer bytes only at the end. After an error nothing more is to be asked.
  // Errors: kDamagedImage, kTruncated, kUnsupportedImage (a window above kMaxWindow), kNoMemory,
  // what the source says.
  virtual Result<size_t> Read(std::span<std::byte> out) = 0;
};

// `name` is the file, for messages. Another stream of the same format may follow the first, as with
// the formats' own tools; zeros after the last are padding, anything else is an error.
Result<std::unique_ptr<Decoder>> MakeDecoder(Codec codec, Source& source, Slice slice,
                                             const std::string& name, uint64_t tail = 0);

// For the decoders.
std::unexpected<Failure> Damaged(const PackedInput& input, Codec codec, std::string_view why);
std::unexpected<Failure> CutShort(const PackedInput& input, Codec codec);
// What stands after the end of a stream: whether there is another one (it begins with `magic`).
// Errors: kDamagedImage for anything but padding and the tail.
Result<bool> AnotherFollows(PackedInput& input, Codec codec, std::string_view magic);

using MadeDecoder = Result<std::unique_ptr<Decoder>>;
MadeDecoder MakeGzip(PackedInput input);
MadeDecoder MakeLzma(PackedInput input, Codec codec);  // kXz or kLzma
MadeDecoder MakeZstd(PackedInput input);
MadeDecoder MakeLz4(PackedInput input);
MadeDecoder MakeLz4Legacy(PackedInput input);
MadeDecoder MakeBzip2(PackedInput input);

}  // namespace khop::image
