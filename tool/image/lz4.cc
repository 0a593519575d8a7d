// SPDX-License-Identifier: MIT
// The lz4 frame format, by the library.
#include <lz4frame.h>

#include <utility>

#include "tool/image/codec.h"

namespace khop::image {
namespace {

class Lz4 : public Decoder {
 public:
  explicit Lz4(PackedInput input) : input_(std::move(input)) {}
  ~Lz4() override { LZ4F_freeDecompressionContext(context_); }
  Lz4(const Lz4&) = delete;
  Lz4& operator=(const Lz4&) = delete;

  bool Start() {
    return LZ4F_isError(LZ4F_createDecompressionContext(&context_, LZ4F_VERSION)) == 0;
  }

  Result<size_t> Read(std::span<std::byte> out) override {
    size_t done = 0;
    while (done < out.size() && !done_) {
      const auto some = input_.Peek();
      if (!some) return Forward(some);
      size_t to = out.size() - done;
      size_t from = some->size();
      const size_t result =
          LZ4F_decompress(context_, out.data() + done, &to, some->data(), &from, nullptr);
      if (LZ4F_isError(result) != 0) {
        return Damaged(input_, Codec::kLz4, LZ4F_getErrorName(result));
      }
      input_.Use(from);
      done += to;
      if (result == 0) {
        const auto more = AnotherFollows(input_, Codec::kLz4, "\x04\x22\x4d\x18");
        if (!more) return Forward(more);
        done_ = !*more;
      } else if (some->empty() && to == 0) {
        return CutShort(input_, Codec::kLz4);
      }
    }
    return done;
  }

 private:
  PackedInput input_;
  LZ4F_dctx* context_ = nullptr;
  bool done_ = false;
};

}  // namespace

MadeDecoder MakeLz4(PackedInput input) {
  auto decoder = std::make_unique<Lz4>(std::move(input));
  if (!decoder->Start()) return Fail(ExitCode::kNoMemory, "liblz4", "it has no memory to start");
  return decoder;
}

}  // namespace khop::image
