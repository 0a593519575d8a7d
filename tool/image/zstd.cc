// SPDX-License-Identifier: MIT
#include <zstd.h>
#include <zstd_errors.h>

#include <bit>
#include <utility>

#include "tool/image/codec.h"

namespace khop::image {
namespace {

class Zstd : public Decoder {
 public:
  explicit Zstd(PackedInput input) : input_(std::move(input)), stream_(ZSTD_createDStream()) {}
  ~Zstd() override { ZSTD_freeDStream(stream_); }
  Zstd(const Zstd&) = delete;
  Zstd& operator=(const Zstd&) = delete;

  bool Start() {
    return stream_ != nullptr &&
           ZSTD_isError(ZSTD_DCtx_setParameter(stream_, ZSTD_d_windowLogMax,
                                               std::countr_zero(kMaxWindow))) == 0;
  }

  Result<size_t> Read(std::span<std::byte> out) override {
    ZSTD_outBuffer to = {out.data(), out.size(), 0};
    while (to.pos < to.size && !done_) {
      const auto some = input_.Peek();
      if (!some) return Forward(some);
      ZSTD_inBuffer from = {some->data(), some->size(), 0};
      const size_t before = to.pos;
      const size_t result = ZSTD_decompressStream(stream_, &to, &from);
      input_.Use(from.pos);
      if (ZSTD_isError(result) != 0) return Explain(result);
      if (result == 0) {
        const auto more = AnotherFollows(input_, Codec::kZstd, "\x28\xb5\x2f\xfd");
        if (!more) return Forward(more);
        done_ = !*more;
      } else if (some->empty() && to.pos == before) {
        return CutShort(input_, Codec::kZstd);
      }
    }
    return to.pos;
  }

 private:
  std::unexpected<Failure> Explain(size_t result) {
    switch (ZSTD_getErrorCode(result)) {
      case ZSTD_error_memory_allocation:
        return Fail(ExitCode::kNoMemory, input_.name(), "no memory to unpack it", "free memory");
      case ZSTD_error_frameParameter_windowTooLarge:
        return Fail(ExitCode::kUnsupportedImage, input_.name(),
                    "its zstd data wants a window of more than " + HumanBytes(kMaxWindow),
                    "compress it without --long");
      default:
        return Damaged(input_, Codec::kZstd, ZSTD_getErrorName(result));
    }
  }

  PackedInput input_;
  ZSTD_DStream* stream_;
  bool done_ = false;
};

}  // namespace

MadeDecoder MakeZstd(PackedInput input) {
  auto decoder = std::make_unique<Zstd>(std::move(input));
  if (!decoder->Start()) return Fail(ExitCode::kNoMemory, "libzstd", "it has no memory to start");
  return decoder;
}

}  // namespace khop::image
