// SPDX-License-Identifier: MIT
#include "tool/image/codec.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace khop::image {
namespace {

// At a time: so that a cache holds it beside what comes of it.
constexpr size_t kMaxView = size_t{256} << 10;

// Bytes as they are.
class Plain : public Decoder {
 public:
  explicit Plain(PackedInput input) : input_(std::move(input)) {}
  Result<size_t> Read(std::span<std::byte> out) override {
    size_t done = 0;
    while (done < out.size()) {
      const auto some = input_.Peek();
      if (!some) return Forward(some);
      if (some->empty()) break;
      const size_t size = std::min(some->size(), out.size() - done);
      memcpy(out.data() + done, some->data(), size);
      input_.Use(size);
      done += size;
    }
    return done;
  }

 private:
  PackedInput input_;
};

}  // namespace

std::string_view CodecName(Codec codec) {
  switch (codec) {
    case Codec::kNone:
      return "none";
    case Codec::kGzip:
      return "gzip";
    case Codec::kXz:
      return "xz";
    case Codec::kLzma:
      return "lzma";
    case Codec::kZstd:
      return "zstd";
    case Codec::kLz4:
    case Codec::kLz4Legacy:
      return "lz4";
    case Codec::kBzip2:
      return "bzip2";
  }
  return "";
}

std::optional<Codec> CodecOf(Format format) {
  switch (format) {
    case Format::kGzip:
      return Codec::kGzip;
    case Format::kXz:
      return Codec::kXz;
    case Format::kLzma:
      return Codec::kLzma;
    case Format::kZstd:
      return Codec::kZstd;
    case Format::kLz4:
      return Codec::kLz4;
    case Format::kLz4Legacy:
      return Codec::kLz4Legacy;
    case Format::kBzip2:
      return Codec::kBzip2;
    default:
      return std::nullopt;
  }
}

PackedInput::PackedInput(Source& source, Slice slice, std::string name, uint64_t tail)
    : source_(&source), slice_(slice), name_(std::move(name)), tail_(tail), left_(slice.size) {}

Result<void> PackedInput::Refill() {
  const auto view = source_->View(slice_.end() - left_, std::min<uint64_t>(left_, kMaxView));
  if (!view) return Forward(view);
  view_ = *view;
  return {};
}

Result<void> PackedInput::Take(std::span<std::byte> out) {
  while (!out.empty()) {
    const auto some = Peek();
    if (!some) return Forward(some);
    if (some->empty()) {
      return Fail(ExitCode::kTruncated, name_, "the compressed data is cut short",
                  "get the file again");
    }
    const size_t size = std::min(some->size(), out.size());
    memcpy(out.data(), some->data(), size);
    Use(size);
    out = out.subspan(size);
  }
  return {};
}

std::unexpected<Failure> Damaged(const PackedInput& input, Codec codec, std::string_view why) {
  return Fail(
      ExitCode::kDamagedImage, input.name(),
      "the " + std::string(CodecName(codec)) + " data is damaged (" + std::string(why) + ")",
      "get the file again");
}

std::unexpected<Failure> CutShort(const PackedInput& input, Codec codec) {
  return Fail(ExitCode::kTruncated, input.name(),
              "the " + std::string(CodecName(codec)) + " data is cut short", "get the file again");
}

Result<bool> AnotherFollows(PackedInput& input, Codec codec, std::string_view magic) {
  while (input.left() > input.tail()) {
    const auto some = input.Peek();
    if (!some) return Forward(some);
    if (some->empty()) break;
    // What straddles two reads is compared as far as it is there: the decoder sees the rest.
    const size_t size = std::min(some->size(), magic.size());
    if (memcmp(some->data(), magic.data(), size) == 0) return true;
    if (std::to_integer<int>(some->front()) != 0) {
      return Damaged(input, codec, "something else follows it");
    }
    input.Use(1);
  }
  return false;
}

Result<std::unique_ptr<Decoder>> MakeDecoder(Codec codec, Source& source, Slice slice,
                                             const std::string& name, uint64_t tail) {
  PackedInput input(source, slice, name, tail);
  switch (codec) {
    case Codec::kNone:
      return std::make_unique<Plain>(std::move(input));
    case Codec::kGzip:
      return MakeGzip(std::move(input));
    case Codec::kXz:
    case Codec::kLzma:
      return MakeLzma(std::move(input), codec);
    case Codec::kZstd:
      return MakeZstd(std::move(input));
    case Codec::kLz4:
      return MakeLz4(std::move(input));
    case Codec::kLz4Legacy:
      return MakeLz4Legacy(std::move(input));
    case Codec::kBzip2:
      return MakeBzip2(std::move(input));
  }
  return Fail(ExitCode::kInternal, name, "no such codec");
}

}  // namespace khop::image
