// SPDX-License-Identifier: MIT
// Any bytes as a file; with KHOP_FUZZ_CODEC as the compressed data of one codec, with
// KHOP_FUZZ_WIRE as what a child answers.
#include <cstdint>
#include <cstdlib>

#include "tool/image/codec.h"
#include "tool/image/contents.h"
#include "tool/image/wire.h"

namespace {

using khop::image::Codec;
using khop::image::MemorySource;

[[maybe_unused]] void ReadAsFile(std::span<const std::byte> bytes) {
  for (const bool need_kernel : {true, false}) {
    MemorySource source(bytes);
    const khop::image::Question question{.name = "fuzz",
                                         .compatible = {"lab,board"},
                                         .configuration = {},
                                         .limit = uint64_t{16} << 20,
                                         .need_kernel = need_kernel};
    const auto contents = ReadContents(source, question);
    if (!contents) {
      if (contents.error().message.find('\n') != std::string::npos) std::abort();
      continue;
    }
    // What the parent takes from its child.
    const auto back = khop::image::FromBytes(ToBytes(*contents), bytes.size());
    if (!back || back->formats != contents->formats) std::abort();
  }
}

[[maybe_unused]] void Decode(Codec codec, std::span<const std::byte> bytes) {
  MemorySource source(bytes);
  auto decoder = MakeDecoder(codec, source, {0, bytes.size()}, "fuzz", bytes.size() % 5);
  if (!decoder) return;
  std::vector<std::byte> out(4099);
  for (uint64_t total = 0; total < uint64_t{4} << 20;) {
    const auto got = (*decoder)->Read(out);
    if (!got || *got == 0) return;
    if (*got > out.size()) std::abort();
    total += *got;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span bytes(reinterpret_cast<const std::byte*>(data), size);
#ifdef KHOP_FUZZ_CODEC
  Decode(Codec::KHOP_FUZZ_CODEC, bytes);
#elif defined(KHOP_FUZZ_WIRE)
  (void)khop::image::FromBytes(bytes, size * 1000);
#else
  ReadAsFile(bytes);
#endif
  return 0;
}
