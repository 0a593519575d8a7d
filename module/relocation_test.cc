// SPDX-License-Identifier: MIT
// Page lists as the kernel makes them, by chance, and lists that no kernel makes.
#include "module/relocation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <vector>

#include "core/digest/crc32c.h"
#include "core/plan/checker.h"

namespace khop::module {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kDestination = 1, kIndirection = 2, kDone = 4, kSource = 8;

// Pages of physical memory, by address; what is not here cannot be read.
using Memory = std::map<uint64_t, std::vector<uint8_t>>;

const void* Map(void* context, uint64_t page) {
  const auto& memory = *static_cast<const Memory*>(context);
  const auto found = memory.find(page);
  return found == memory.end() ? nullptr : found->second.data();
}

// An image and its list: entries go into pages of their own, as in kimage_add_entry().
class Image {
 public:
  // Some segments in some order; each page waits in place or somewhere that is no destination.
  explicit Image(uint32_t seed) : random_(seed) {
    uint64_t at = 0x40000000;
    for (uint64_t i = 0; i < 1 + random_() % 5; ++i) {
      const uint64_t pages = 1 + random_() % 300;
      segments_.push_back({at, pages * kPage});
      at += pages * kPage + (random_() % 2 != 0 ? 0 : kPage * (random_() % 4));
    }
    std::ranges::shuffle(segments_, random_);
    uint64_t source = 0x80000000;
    for (const khop_range& segment : segments_) {
      Add(segment.start | kDestination);
      for (uint64_t offset = 0; offset < segment.size; offset += kPage) {
        const uint64_t destination = segment.start + offset;
        if (random_() % 3 == 0) source += kPage * (1 + random_() % 3);
        const bool in_place = random_() % 4 == 0;
        const uint64_t page = in_place ? destination : source;
        if (!in_place) source += kPage;
        Fill(page);
        expected_[destination] = memory_[page];
        Add(page | kSource);
      }
    }
    Add(kDone);
  }

  khop_image Get() { return {head_, kPage, segments_.data(), segments_.size(), Map, &memory_}; }
  // Every entry of the list, to be damaged.
  std::vector<uint64_t*> Entries() {
    std::vector<uint64_t*> entries = {&head_};
    for (const uint64_t page : list_pages_) {
      auto* const words = reinterpret_cast<uint64_t*>(memory_[page].data());
      for (size_t i = 0; i < kPage / 8 && words[i] != 0; ++i) entries.push_back(&words[i]);
    }
    return entries;
  }
  Memory& memory() { return memory_; }
  const Memory& expected() const { return expected_; }
  std::mt19937& random() { return random_; }
  std::vector<khop_range>& segments() { return segments_; }
  uint64_t bytes() const { return expected_.size() * kPage; }

 private:
  void Fill(uint64_t page) {
    auto& bytes = memory_[page];
    bytes.resize(kPage);
    for (size_t i = 0; i < kPage; i += 4) {
      const auto word = static_cast<uint32_t>(random_());
      memcpy(&bytes[i], &word, 4);
    }
  }
  void Add(uint64_t entry) {
    if (at_ == nullptr) {
      NewPage(&head_);
    } else if (left_ == 1 && entry != kDone) {
      NewPage(at_);
    }
    *at_++ = entry;
    --left_;
  }
  void NewPage(uint64_t* link) {
    const uint64_t page = 0x200000000 + kPage * list_pages_.size();
    list_pages_.push_back(page);
    memory_[page].resize(kPage);
    *link = page | kIndirection;
    at_ = reinterpret_cast<uint64_t*>(memory_[page].data());
    left_ = kPage / 8;
  }

  std::mt19937 random_;
  std::vector<khop_range> segments_;
  Memory memory_;
  Memory expected_;  // what each destination page has to hold in the end
  uint64_t head_ = 0;
  std::vector<uint64_t> list_pages_;
  uint64_t* at_ = nullptr;
  size_t left_ = 0;
};

struct Plan {
  std::vector<khop_piece> pieces;
  std::vector<khop_range> arena;
};

khop_status Read(Image& image, Plan* plan) {
  const khop_image raw = image.Get();
  khop_image_size size;
  khop_status status = khop_image_measure(&raw, &size);
  if (status.code != KHOP_OK) return status;
  plan->pieces.resize(size.pieces);
  plan->arena.resize(raw.segment_count);
  size_t pieces = plan->pieces.size();
  size_t ranges = plan->arena.size();
  status = khop_image_read(&raw, plan->pieces.data(), &pieces, plan->arena.data(), &ranges);
  plan->pieces.resize(pieces);
  plan->arena.resize(ranges);
  return status;
}

class AnyImage : public testing::TestWithParam<uint32_t> {};

TEST_P(AnyImage, BringsEveryPageToItsPlace) {
  Image image(GetParam());
  Plan plan;
  ASSERT_EQ(Read(image, &plan).code, KHOP_OK);
  uint64_t bytes = 0;
  for (const khop_range& range : plan.arena) bytes += range.size;
  EXPECT_EQ(bytes, image.bytes());
  EXPECT_TRUE(std::ranges::is_sorted(plan.pieces, {}, &khop_piece::destination));
  // Other code than made it: in any order nothing is overwritten before it is read.
  std::vector<uint64_t> scratch(8 * image.expected().size());
  EXPECT_EQ(
      khop_replay(plan.pieces.data(), plan.pieces.size(), plan.pieces.data(), plan.pieces.size(),
                  plan.arena.data(), plan.arena.size(), kPage, {scratch.data(), scratch.size() * 8})
          .code,
      KHOP_OK);
  const khop_image raw = image.Get();
  for (const auto& [destination, content] : image.expected()) {
    std::vector<uint8_t> got(kPage);
    ASSERT_EQ(khop_image_copy(&raw, plan.pieces.data(), plan.pieces.size(), destination, kPage,
                              got.data())
                  .code,
              KHOP_OK);
    EXPECT_EQ(got, content);
  }
}

TEST_P(AnyImage, DigestsWhatWillBeThere) {
  Image image(GetParam());
  Plan plan;
  ASSERT_EQ(Read(image, &plan).code, KHOP_OK);
  const khop_image raw = image.Get();
  std::vector<uint8_t> digests(4096);
  size_t bytes = digests.size();
  ASSERT_EQ(khop_image_digest(&raw, plan.pieces.data(), plan.pieces.size(), plan.arena.data(),
                              plan.arena.size(), KHOP_DIGEST_CRC32C, digests.data(), &bytes)
                .code,
            KHOP_OK);
  size_t at = 0;
  for (const khop_range& range : plan.arena) {
    for (uint64_t done = 0; done < range.size; done += KHOP_DIGEST_PIECE) {
      std::vector<std::byte> piece;
      for (uint64_t page = 0; page < std::min(range.size - done, KHOP_DIGEST_PIECE);
           page += kPage) {
        const auto& content = image.expected().at(range.start + done + page);
        const auto* const raw_bytes = reinterpret_cast<const std::byte*>(content.data());
        piece.insert(piece.end(), raw_bytes, raw_bytes + kPage);
      }
      const uint32_t sum = digest::Crc32c(piece, digest::DigestFeatures::Scalar());
      EXPECT_EQ(memcmp(&digests[at], &sum, 4), 0);
      at += 4;
    }
  }
  EXPECT_EQ(bytes, at);
  size_t few = 3;
  EXPECT_EQ(khop_image_digest(&raw, plan.pieces.data(), plan.pieces.size(), plan.arena.data(),
                              plan.arena.size(), KHOP_DIGEST_CRC32C, digests.data(), &few)
                .code,
            KHOP_OUT_OF_MEMORY);
}

TEST_P(AnyImage, ReplacesPagesAndNothingElse) {
  Image image(GetParam());
  Plan plan;
  ASSERT_EQ(Read(image, &plan).code, KHOP_OK);
  const khop_range segment = image.segments()[0];
  const uint64_t from = segment.start + kPage * (image.random()() % (segment.size / kPage));
  const uint64_t size = segment.start + segment.size - from;
  constexpr uint64_t kOther = 0x300000000;
  std::vector<uint8_t> other(size, 0x5a);
  for (uint64_t offset = 0; offset < size; offset += kPage) {
    image.memory()[kOther + offset].assign(kPage, 0x5a);
  }
  size_t count = plan.pieces.size();
  plan.pieces.resize(count + 2);
  ASSERT_EQ(
      khop_image_replace(plan.pieces.data(), &count, plan.pieces.size(), from, size, kOther).code,
      KHOP_OK);
  const khop_image raw = image.Get();
  for (const auto& [destination, content] : image.expected()) {
    std::vector<uint8_t> got(kPage);
    ASSERT_EQ(khop_image_copy(&raw, plan.pieces.data(), count, destination, kPage, got.data()).code,
              KHOP_OK);
    const bool replaced = destination >= from && destination < from + size;
    EXPECT_EQ(got, replaced ? std::vector<uint8_t>(kPage, 0x5a) : content);
  }
  EXPECT_EQ(khop_image_replace(plan.pieces.data(), &count, count, 0x1000, kPage, kOther).code,
            KHOP_OUT_OF_RANGE);
}

// Whatever an entry is changed to, it is found, or the image is another one that is whole. Nothing
// is read that is not there (ASan).
TEST_P(AnyImage, FindsDamagedLists) {
  Image image(GetParam());
  for (int i = 0; i < 60; ++i) {
    const std::vector<uint64_t*> entries = image.Entries();
    uint64_t* const entry = entries[image.random()() % entries.size()];
    const uint64_t before = *entry;
    const int kind = static_cast<int>(image.random()() % 4);
    if (kind == 0) *entry ^= uint64_t{1} << image.random()() % 64;
    if (kind == 1) *entry = 0;
    if (kind == 2) *entry = kDone;
    if (kind == 3) *entry = image.Get().head;  // in circles
    Plan plan;
    const khop_status status = Read(image, &plan);
    if (*entry != before && (before & (kPage - 1)) != kSource) {
      EXPECT_NE(status.code, KHOP_OK) << kind << ' ' << std::hex << before << ' ' << *entry;
    }
    *entry = before;
  }
  Plan plan;
  EXPECT_EQ(Read(image, &plan).code, KHOP_OK);
}

INSTANTIATE_TEST_SUITE_P(ByChance, AnyImage, testing::Range(1U, 25U));

TEST(ImageTest, FindsAPageInTheWay) {
  Image image(7);
  // A page that waits where another one belongs.
  for (uint64_t* entry : image.Entries()) {
    if ((*entry & (kPage - 1)) == kSource) {
      const khop_range last = image.segments().back();
      const uint64_t wrong = last.start + last.size - kPage;
      if (*entry == (wrong | kSource)) continue;
      image.memory()[wrong].resize(kPage);
      *entry = wrong | kSource;
      break;
    }
  }
  Plan plan;
  EXPECT_EQ(Read(image, &plan).code, KHOP_OVERLAP);
}

TEST(ImageTest, FindsSegmentsThatNoKernelHas) {
  Image image(3);
  Plan plan;
  khop_range& first = image.segments()[0];
  const khop_range good = first;
  first.start += 8;
  EXPECT_EQ(Read(image, &plan).code, KHOP_NOT_ALIGNED);
  first = {uint64_t{1} << 52, kPage};
  EXPECT_EQ(Read(image, &plan).code, KHOP_INVALID_ARGUMENT);
  first = {good.start, 0};
  EXPECT_EQ(Read(image, &plan).code, KHOP_INVALID_ARGUMENT);
  first = {good.start, good.size + kPage};
  EXPECT_NE(Read(image, &plan).code, KHOP_OK);
  first = good;
  image.segments().push_back(good);
  EXPECT_EQ(Read(image, &plan).code, KHOP_OVERLAP);
  image.segments().clear();
  EXPECT_EQ(Read(image, &plan).code, KHOP_INVALID_ARGUMENT);
}

// As g++ compiles two functions that read one global word: 0x12345010 is common.
TEST(FindLoadsTest, ReadsAdrpAndLdr) {
  const uint32_t code[] = {
      0xa9bf7bfd,             // stp x29, x30, [sp, #-16]!
      0x90000013,             // adrp x19, page of the code
      0xf9400a60,             // ldr x0, [x19, #16]
      0xf9400000,             // ldr x0, [x0]: not from a known address
      0x90000001 | 1U << 29,  // adrp x1, the next page
      0x91004021,             // add x1, x1, #16
      0xf9400422,             // ldr x2, [x1, #8]
      0x94000001,             // bl: x1 may be anything after it
      0xf9400822,             // ldr x2, [x1, #16]
      0xf9400a60,             // ldr x0, [x19, #16]: x19 is kept
      0xd65f03c0,             // ret
  };
  uint64_t addresses[4];
  ASSERT_EQ(khop_find_loads(code, std::size(code), 0xffff800010203040, addresses, 4), 2u);
  EXPECT_EQ(addresses[0], 0xffff800010203010);
  EXPECT_EQ(addresses[1], 0xffff800010204018);
  EXPECT_EQ(khop_find_loads(code, std::size(code), 0xffff800010203040, addresses, 1), 1u);
  // A page before the code.
  const uint32_t back[] = {0xf0ffffe0, 0xf9400000};  // adrp x0, -1 page; ldr x0, [x0]
  ASSERT_EQ(khop_find_loads(back, 2, 0x10000, addresses, 4), 1u);
  EXPECT_EQ(addresses[0], 0xf000u);
}

}  // namespace
}  // namespace khop::module
