// SPDX-License-Identifier: MIT
// The benchmark's parts that run anywhere.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "bench/flat_tree.h"
#include "bench/payload.h"

namespace khop::bench {
namespace {

using testing::ElementsAre;

// Writes a flattened tree: reservations, then structure and strings.
class TreeWriter {
 public:
  void Word(uint32_t value) {
    for (int shift = 24; shift >= 0; shift -= 8) {
      structure_.push_back(static_cast<char>(value >> shift));
    }
  }
  void Begin(const std::string& name) { Word(1), Text(name); }
  void End() { Word(2); }
  void Property(const std::string& name, const std::string& value) {
    Word(3), Word(static_cast<uint32_t>(value.size()));
    Word(static_cast<uint32_t>(strings_.size()));
    strings_ += name + '\0';
    structure_ += value;
    Pad();
  }
  // 8-byte aligned, exactly as long as it says.
  std::vector<uint64_t> Finish() {
    Word(9);
    const std::string body = structure_;
    structure_.clear();
    const auto structure_size = static_cast<uint32_t>(body.size());
    const auto strings_size = static_cast<uint32_t>(strings_.size());
    const uint32_t reserve = 40, start = 40 + 32;
    const uint32_t total = (start + structure_size + strings_size + 7) / 8 * 8;
    for (const uint32_t word : {0xd00dfeedU, total, start, start + structure_size, reserve, 17U,
                                16U, 0U, strings_size, structure_size}) {
      Word(word);
    }
    for (const uint32_t word : {1U, 0x2000U, 0U, 0x3000U, 0U, 0U, 0U, 0U}) Word(word);
    const std::string all = structure_ + body + strings_;
    std::vector<uint64_t> words(total / 8);
    memcpy(words.data(), all.data(), all.size());
    return words;
  }

 private:
  void Text(const std::string& text) {
    structure_ += text + '\0';
    Pad();
  }
  void Pad() { structure_.resize((structure_.size() + 3) / 4 * 4); }
  std::string structure_, strings_;
};

struct Recorder {
  std::vector<std::string> events;
  void Begin(const char* name) { events.push_back(std::string("{") + name); }
  void Property(const char* name, Bytes bytes) {
    const std::string value(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    events.push_back(std::string(name) + "=" + value);
  }
  void End() { events.emplace_back("}"); }
};

std::vector<uint64_t> SomeTree() {
  TreeWriter writer;
  writer.Begin("");
  writer.Property("model", "abcde");
  writer.Word(4);
  writer.Begin("chosen");
  writer.Property("empty", "");
  writer.End();
  writer.End();
  return writer.Finish();
}
uint64_t AddressOf(const std::vector<uint64_t>& words) {
  return reinterpret_cast<uint64_t>(words.data());
}

TEST(FlatTree, WalksInOrder) {
  const auto words = SomeTree();
  const FlatTree tree(AddressOf(words));
  EXPECT_EQ(tree.size(), words.size() * 8);
  Recorder recorder;
  EXPECT_TRUE(tree.Walk(recorder));
  EXPECT_THAT(recorder.events, ElementsAre("{", "model=abcde", "{chosen", "empty=", "}", "}"));
  std::vector<uint64_t> reserved;
  tree.ForEachReservation([&](uint64_t start, uint64_t size) {
    reserved.push_back(start);
    reserved.push_back(size);
  });
  EXPECT_THAT(reserved, ElementsAre(0x1'0000'2000, 0x3000));
}

TEST(FlatTree, IsNotThere) {
  auto words = SomeTree();
  EXPECT_EQ(FlatTree(0).size(), 0U);
  EXPECT_EQ(FlatTree(AddressOf(words) + 4).size(), 0U);
  words[0] ^= 1;
  EXPECT_EQ(FlatTree(AddressOf(words)).size(), 0U);
}

// Under AddressSanitizer: whatever a bit says, nothing outside is read, and the walk ends.
TEST(FlatTree, SurvivesEveryFlippedBit) {
  const auto good = SomeTree();
  for (size_t bit = 64; bit < good.size() * 64; ++bit) {
    auto words = good;
    words[bit / 64] ^= uint64_t{1} << (bit % 64);
    const FlatTree tree(AddressOf(words));
    Recorder recorder;
    if (tree.size() != 0) tree.Walk(recorder);
    tree.ForEachReservation([](uint64_t, uint64_t) {});
  }
}

TEST(FlatTree, Cells) {
  const std::byte raw[] = {std::byte{0}, std::byte{0}, std::byte{0}, std::byte{1},
                           std::byte{2}, std::byte{0}, std::byte{0}, std::byte{3}};
  size_t at = 0;
  uint64_t value = 0;
  EXPECT_TRUE(TakeCells(raw, &at, 2, &value));
  EXPECT_EQ(value, 0x1'0200'0003U);
  EXPECT_FALSE(TakeCells(raw, &at, 1, &value));
  at = 4;
  EXPECT_TRUE(TakeCells(raw, &at, 1, &value));
  EXPECT_EQ(value, 0x0200'0003U);
  at = 0;
  EXPECT_FALSE(TakeCells(raw, &at, 5, &value));
}

TEST(FlatTree, StringLists) {
  const auto bytes = [](const std::string& text) { return std::as_bytes(std::span(text)); };
  const std::string list("arm,pl011\0arm,primecell\0", 24);
  EXPECT_TRUE(HasString(bytes(list), "arm,pl011"));
  EXPECT_TRUE(HasString(bytes(list), "arm,primecell"));
  EXPECT_FALSE(HasString(bytes(list), "arm,pl"));
  EXPECT_FALSE(HasString(bytes("hvc"), "hvc"));  // does not end
}

TEST(ScatteredPages, EachHasItsOwnPlaceAndNoNeighbour) {
  for (const uint64_t page : {4096U, 65536U, 2097152U}) {
    for (const uint64_t page_count : {1U, 2U, 3U, 5U, 16U, 17U, 100U, 513U, 2304U}) {
      const uint64_t size = page_count * 4096;
      const ScatteredPages pages(PhysAddr{0x1000'0000}, size, page);
      std::set<uint64_t> places;
      uint64_t bytes = 0;
      for (uint64_t i = 0; i < pages.count(); ++i) {
        const uint64_t at = pages.at(i).value - 0x1000'0000;
        ASSERT_EQ(at % page, 0U);
        ASSERT_LE(at + page, pages.area_size());
        ASSERT_TRUE(places.insert(at).second);
        ASSERT_TRUE(i == 0 || pages.at(i) - pages.at(i - 1) != page);
        bytes += pages.size(i);
      }
      EXPECT_EQ(bytes, size);
    }
  }
}

}  // namespace
}  // namespace khop::bench
