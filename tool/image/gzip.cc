// SPDX-License-Identifier: MIT
#include <zlib.h>

#include <utility>

#include "tool/image/codec.h"

namespace khop::image {
namespace {

class Gzip : public Decoder {
 public:
  explicit Gzip(PackedInput input) : input_(std::move(input)) {}
  ~Gzip() override {
    if (ready_) inflateEnd(&stream_);
  }
  Gzip(const Gzip&) = delete;
  Gzip& operator=(const Gzip&) = delete;

  bool Start() {
    // The largest window, and gzip's header and trailer.
    ready_ = inflateInit2(&stream_, MAX_WBITS + 16) == Z_OK;
    return ready_;
  }

  Result<size_t> Read(std::span<std::byte> out) override {
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
    while (stream_.avail_out != 0 && !done_) {
      const auto some = input_.Peek();
      if (!some) return Forward(some);
      // zlib does not write to it.
      stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(some->data()));
      stream_.avail_in = static_cast<uInt>(some->size());
      const int result = inflate(&stream_, Z_NO_FLUSH);
      input_.Use(some->size() - stream_.avail_in);
      if (result == Z_STREAM_END) {
        const auto more = AnotherFollows(input_, Codec::kGzip, "\x1f\x8b");
        if (!more) return Forward(more);
        done_ = !*more;
        if (*more && inflateReset(&stream_) != Z_OK) return Damaged(input_, Codec::kGzip, "zlib");
      } else if (result == Z_BUF_ERROR) {
        if (some->empty()) return CutShort(input_, Codec::kGzip);
      } else if (result == Z_MEM_ERROR) {
        return Fail(ExitCode::kNoMemory, input_.name(), "no memory to unpack it", "free memory");
      } else if (result != Z_OK) {
        return Damaged(input_, Codec::kGzip,
                       stream_.msg != nullptr ? stream_.msg : "it wants a dictionary");
      }
    }
    return out.size() - stream_.avail_out;
  }

 private:
  PackedInput input_;
  z_stream stream_ = {};
  bool ready_ = false;
  bool done_ = false;
};

}  // namespace

MadeDecoder MakeGzip(PackedInput input) {
  auto decoder = std::make_unique<Gzip>(std::move(input));
  if (!decoder->Start()) return Fail(ExitCode::kNoMemory, "zlib", "it has no memory to start");
  return decoder;
}

}  // namespace khop::image
