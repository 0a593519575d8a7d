// SPDX-License-Identifier: MIT
#include <bzlib.h>

#include <utility>

#include "tool/image/codec.h"

namespace khop::image {
namespace {

class Bzip2 : public Decoder {
 public:
  explicit Bzip2(PackedInput input) : input_(std::move(input)) {}
  ~Bzip2() override { Stop(); }
  Bzip2(const Bzip2&) = delete;
  Bzip2& operator=(const Bzip2&) = delete;

  bool Start() {
    stream_ = {};
    ready_ = BZ2_bzDecompressInit(&stream_, 0, 0) == BZ_OK;
    return ready_;
  }

  Result<size_t> Read(std::span<std::byte> out) override {
    size_t done = 0;
    while (done < out.size() && !done_) {
      const auto some = input_.Peek();
      if (!some) return Forward(some);
      stream_.next_out = reinterpret_cast<char*>(out.data() + done);
      stream_.avail_out = static_cast<unsigned>(out.size() - done);
      // libbz2 does not write to it.
      stream_.next_in = reinterpret_cast<char*>(const_cast<std::byte*>(some->data()));
      stream_.avail_in = static_cast<unsigned>(some->size());
      const int result = BZ2_bzDecompress(&stream_);
      input_.Use(some->size() - stream_.avail_in);
      const size_t now = out.size() - stream_.avail_out;
      if (result == BZ_STREAM_END) {
        const auto more = AnotherFollows(input_, Codec::kBzip2, "BZh");
        if (!more) return Forward(more);
        done_ = !*more;
        Stop();
        if (*more && !Start()) return NoMemory();
      } else if (result == BZ_MEM_ERROR) {
        return NoMemory();
      } else if (result != BZ_OK) {
        return Damaged(input_, Codec::kBzip2, "its check or its structure");
      } else if (some->empty() && now == done) {
        return CutShort(input_, Codec::kBzip2);
      }
      done = now;
    }
    return done;
  }

 private:
  void Stop() {
    if (ready_) BZ2_bzDecompressEnd(&stream_);
    ready_ = false;
  }
  std::unexpected<Failure> NoMemory() {
    return Fail(ExitCode::kNoMemory, input_.name(), "no memory to unpack it", "free memory");
  }

  PackedInput input_;
  bz_stream stream_ = {};
  bool ready_ = false;
  bool done_ = false;
};

}  // namespace

MadeDecoder MakeBzip2(PackedInput input) {
  auto decoder = std::make_unique<Bzip2>(std::move(input));
  if (!decoder->Start()) return Fail(ExitCode::kNoMemory, "libbz2", "it has no memory to start");
  return decoder;
}

}  // namespace khop::image
