// SPDX-License-Identifier: MIT
#include <lzma.h>

#include <utility>

#include "tool/image/codec.h"

namespace khop::image {
namespace {

// What the decoder takes besides its window.
constexpr uint64_t kMemoryLimit = kMaxWindow + (uint64_t{1} << 20);

class Lzma : public Decoder {
 public:
  Lzma(PackedInput input, Codec codec) : input_(std::move(input)), codec_(codec) {}
  ~Lzma() override { lzma_end(&stream_); }
  Lzma(const Lzma&) = delete;
  Lzma& operator=(const Lzma&) = delete;

  bool Start() {
    return (codec_ == Codec::kXz ? lzma_stream_decoder(&stream_, kMemoryLimit, 0)
                                 : lzma_alone_decoder(&stream_, kMemoryLimit)) == LZMA_OK;
  }

  Result<size_t> Read(std::span<std::byte> out) override {
    stream_.next_out = reinterpret_cast<uint8_t*>(out.data());
    stream_.avail_out = out.size();
    while (stream_.avail_out != 0 && !done_) {
      const auto some = input_.Peek();
      if (!some) return Forward(some);
      stream_.next_in = reinterpret_cast<const uint8_t*>(some->data());
      stream_.avail_in = some->size();
      const lzma_ret result = lzma_code(&stream_, some->empty() ? LZMA_FINISH : LZMA_RUN);
      input_.Use(some->size() - stream_.avail_in);
      if (result == LZMA_STREAM_END) {
        if (const auto next = Next(); !next) return Forward(next);
      } else if (result == LZMA_BUF_ERROR) {
        if (some->empty()) return CutShort(input_, codec_);
      } else if (result != LZMA_OK) {
        return Explain(result);
      }
    }
    return out.size() - stream_.avail_out;
  }

 private:
  Result<void> Next() {
    // An .lzma file is one stream; its magic is too weak to look for.
    const auto more = AnotherFollows(
        input_, codec_, codec_ == Codec::kXz ? std::string_view("\xfd\x37zXZ\0", 6) : "\xff\xff");
    if (!more) return Forward(more);
    done_ = !*more || codec_ != Codec::kXz;
    if (done_) return {};
    uint8_t* const out = stream_.next_out;
    const size_t left = stream_.avail_out;
    if (!Start()) return Fail(ExitCode::kNoMemory, input_.name(), "no memory to unpack it");
    stream_.next_out = out;
    stream_.avail_out = left;
    return {};
  }

  std::unexpected<Failure> Explain(lzma_ret result) {
    switch (result) {
      case LZMA_MEM_ERROR:
        return Fail(ExitCode::kNoMemory, input_.name(), "no memory to unpack it", "free memory");
      case LZMA_MEMLIMIT_ERROR:
        return Fail(ExitCode::kUnsupportedImage, input_.name(),
                    "its " + std::string(CodecName(codec_)) + " data wants a window of more than " +
                        HumanBytes(kMaxWindow),
                    "compress it with a smaller one");
      case LZMA_OPTIONS_ERROR:
        return Fail(ExitCode::kUnsupportedImage, input_.name(),
                    "its " + std::string(CodecName(codec_)) +
                        " data has a filter or check that liblzma does not know",
                    "compress it without");
      case LZMA_FORMAT_ERROR:
        return Damaged(input_, codec_, "its header");
      default:
        return Damaged(input_, codec_, "its check or its structure");
    }
  }

  PackedInput input_;
  Codec codec_;
  lzma_stream stream_ = LZMA_STREAM_INIT;
  bool done_ = false;
};

}  // namespace

MadeDecoder MakeLzma(PackedInput input, Codec codec) {
  auto decoder = std::make_unique<Lzma>(std::move(input), codec);
  if (!decoder->Start()) return Fail(ExitCode::kNoMemory, "liblzma", "it has no memory to start");
  return decoder;
}

}  // namespace khop::image
