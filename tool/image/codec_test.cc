// SPDX-License-Identifier: MIT
// Decoders as streams: however much they see and are asked for at a time, the same comes out. And
// the legacy lz4 frame, whose decoder is khop's own, sequence by sequence.
#include "tool/image/codec.h"

#include <gtest/gtest.h>

#include <random>

#include "tool/image/test_packed.h"

namespace khop::image {
namespace {

// Bytes of which little is in view at a time.
class NarrowSource : public MemorySource {
 public:
  NarrowSource(std::span<const std::byte> bytes, size_t view) : MemorySource(bytes), view_(view) {}
  Result<std::span<const std::byte>> View(uint64_t offset, uint64_t size) override {
    const auto view = MemorySource::View(offset, std::min<uint64_t>(size, view_));
    if (!view) return view;
    // A copy, so that what is used after the next View() is seen.
    seen_.assign(view->begin(), view->end());
    return std::span<const std::byte>(seen_);
  }

 private:
  size_t view_;
  Bytes seen_;
};

Result<Bytes> Decode(const Bytes& packed, Codec codec, size_t view, size_t read) {
  NarrowSource source(packed, view);
  auto decoder = MakeDecoder(codec, source, {0, packed.size()}, "f");
  if (!decoder) return Forward(decoder);
  Bytes all;
  for (;;) {
    Bytes some(read);
    const auto got = (*decoder)->Read(some);
    if (!got) return Forward(got);
    all.insert(all.end(), some.begin(), some.begin() + static_cast<ptrdiff_t>(*got));
    if (*got < read) return all;
  }
}

// What an lz4 match can be: near, far, long, of a byte, and noise between them.
Bytes Repetitive(size_t size) {
  std::mt19937 random(3);
  Bytes bytes;
  while (bytes.size() < size) {
    const size_t length = random() % 4 == 0 ? random() % 3000 : 1 + random() % 24;
    const size_t distance = 1 + random() % (random() % 3 == 0 ? 70'000 : 40);
    const bool noise = random() % 3 == 0 || distance > bytes.size();
    for (size_t i = 0; i < length; ++i) {
      bytes.push_back(noise ? static_cast<std::byte>(random()) : bytes[bytes.size() - distance]);
    }
  }
  bytes.resize(size);
  return bytes;
}

TEST(Decoder, ViewsAndReadsOfAnySize) {
  const Bytes bytes = Repetitive(100'000);
  for (const auto& [name, pack] : Packers()) {
    const Bytes packed = pack(bytes);
    const auto codec = CodecOf(Identify(packed));
    ASSERT_TRUE(codec);
    for (const size_t view : {1U, 19U, 4096U, 1U << 20}) {
      for (const size_t read : {33U, 70'000U, 1U << 20}) {
        const auto all = Decode(packed, *codec, view, read);
        ASSERT_TRUE(all) << name << ": " << all.error().message;
        EXPECT_EQ(*all, bytes) << name << ", " << view << " in view, " << read << " at a time";
      }
    }
  }
}

TEST(Lz4Legacy, BlocksAreOfTheirOwn) {
  const Bytes bytes = Repetitive((size_t{8} << 20) + 100'000);
  const Bytes packed = PackLz4Legacy(bytes);
  const auto all = Decode(packed, Codec::kLz4Legacy, 256 << 10, 512 << 10);
  ASSERT_TRUE(all) << all.error().message;
  EXPECT_TRUE(*all == bytes);
}

// A block of these bytes behind one of 40 literals.
Bytes TwoBlocks(const std::vector<uint8_t>& block) {
  Bytes file;
  PutLittle<uint32_t>(file, 0, 0x184c2102);
  PutLittle<uint32_t>(file, 4, 42);
  PutLittle<uint16_t>(file, 8, 15 << 4 | (40 - 15) << 8);
  file.resize(file.size() + 40, std::byte{'a'});
  PutLittle<uint32_t>(file, file.size(), static_cast<uint32_t>(block.size()));
  for (const uint8_t byte : block) file.push_back(static_cast<std::byte>(byte));
  return file;
}

TEST(Lz4Legacy, WhatASequenceMayNotBe) {
  // Behind a sequence so many literals that it is not the last in view.
  const auto then = [](std::vector<uint8_t> bytes) {
    bytes.insert(bytes.end(), {15 << 4, 40 - 15});
    bytes.insert(bytes.end(), 40, 'c');
    return bytes;
  };
  struct Case {
    std::vector<uint8_t> block;
    std::string_view why;  // empty: fine
  };
  const std::vector<Case> cases = {
      {then({2 << 4, 'b', 'b', 2, 0}), ""},
      {then({2 << 4, 'b', 'b', 3, 0}), "a distance"},  // in the block before
      {then({2 << 4, 'b', 'b', 0, 0}), "a distance"},
      {then({0 << 4, 1, 0}), "a distance"},
      {{2 << 4, 'b', 'b', 2, 0}, ""},  // the library refuses it; nothing is lost
      {{3 << 4, 'b', 'b'}, "a length"},
      {{15 << 4, 255}, "a block ends within a sequence"},
      {{2 << 4, 'b', 'b', 2}, "a block ends within a sequence"},
      {{2 << 4 | 15, 'b', 'b', 2, 0}, "a block ends within a sequence"},
  };
  for (const Case& a : cases) {
    for (const size_t view : {1U, 1U << 20}) {
      SCOPED_TRACE(testing::PrintToString(a.block));
      const auto all = Decode(TwoBlocks(a.block), Codec::kLz4Legacy, view, 1 << 20);
      if (a.why.empty()) {
        EXPECT_TRUE(all) << all.error().message;
        continue;
      }
      ASSERT_FALSE(all);
      EXPECT_NE(all.error().message.find("damaged (" + std::string(a.why) + ")"), std::string::npos)
          << all.error().message;
    }
  }
}

// 8 MiB and no more, by a match as by literals.
TEST(Lz4Legacy, TheSizeOfABlock) {
  for (const size_t more : {0U, 1U}) {
    std::vector<uint8_t> block = {1 << 4 | 15, 'b', 1, 0};
    size_t left = (size_t{8} << 20) - 1 - 19 - 40 + more;
    for (; left >= 255; left -= 255) block.push_back(255);
    block.push_back(static_cast<uint8_t>(left));
    block.insert(block.end(), {15 << 4, 40 - 15});
    block.insert(block.end(), 40, 'c');
    const auto all = Decode(TwoBlocks(block), Codec::kLz4Legacy, 256 << 10, 16 << 20);
    EXPECT_EQ(all.has_value(), more == 0);
    if (!all) {
      EXPECT_NE(all.error().message.find("the size of a block"), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace khop::image
