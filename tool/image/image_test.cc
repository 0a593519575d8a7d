// SPDX-License-Identifier: MIT
#include "tool/image/image.h"

#include <algorithm>
#include <random>

#include "gtest/gtest.h"
#include "tool/image/test_image.h"

namespace khop::image {
namespace {

Result<ImageHeader> Parse(const Bytes& file) {
  return ParseImage(std::span(file).first(std::min(file.size(), kHeadSize)), file.size(),
                    "vmlinuz");
}

TEST(Image, Fields) {
  const auto header = Parse(MakeImage());
  ASSERT_TRUE(header) << header.error().message;
  EXPECT_EQ(header->text_offset, 0u);
  EXPECT_EQ(header->image_size, 0x20000u);
  EXPECT_TRUE(header->image_size_known);
  EXPECT_EQ(header->file_size, 0x10000u);
  EXPECT_EQ(header->page_size, 4096u);
  EXPECT_TRUE(header->placed_anywhere);
  EXPECT_EQ(header->pe_offset, 64u);
}

TEST(Image, EveryFlag) {
  const uint32_t sizes[] = {0, 4096, 16384, 65536};
  for (uint64_t flags = 0; flags < 16; flags += 2) {
    const auto header = Parse(MakeImage({.flags = flags}));
    ASSERT_TRUE(header);
    EXPECT_EQ(header->page_size, sizes[flags >> 1 & 3]);
    EXPECT_EQ(header->placed_anywhere, (flags & 8) != 0);
    const auto big = Parse(MakeImage({.flags = flags | 1}));
    ASSERT_FALSE(big);
    EXPECT_EQ(big.error().code, ExitCode::kBigEndian);
  }
}

TEST(Image, TextOffsetIsHonoured) {
  EXPECT_EQ(Parse(MakeImage({.text_offset = 0x80000}))->text_offset, 0x80000u);
  EXPECT_EQ(Parse(MakeImage({.text_offset = 0x1ff000}))->text_offset, 0x1ff000u);
  for (const uint64_t bad : {uint64_t{0x200000}, uint64_t{0x80001}, ~uint64_t{0}}) {
    const auto header = Parse(MakeImage({.text_offset = bad}));
    ASSERT_FALSE(header) << bad;
    EXPECT_EQ(header.error().code, ExitCode::kNotAKernel);
  }
}

TEST(Image, BeforeLinux317NothingButTheMagicCounts) {
  // text_offset in the other byte order, and flags that would mean big-endian.
  const auto header =
      Parse(MakeImage({.text_offset = 0x80000000000, .image_size = 0, .flags = 7, .pe = false}));
  ASSERT_TRUE(header) << header.error().message;
  EXPECT_EQ(header->text_offset, 0x80000u);
  EXPECT_FALSE(header->image_size_known);
  EXPECT_GT(header->image_size, header->file_size);
  EXPECT_EQ(header->page_size, 0u);
  EXPECT_FALSE(header->placed_anywhere);
  EXPECT_EQ(header->pe_offset, 0u);
}

TEST(Image, FileLongerThanTheImageIsKeptWhole) {
  auto file = MakeImage({.image_size = 0x10000});
  file.resize(0x12000);  // a signature
  EXPECT_EQ(Parse(file)->image_size, 0x12000u);
}

TEST(Image, SizesThatCannotBe) {
  for (const uint64_t size : {~uint64_t{0}, (uint64_t{4} << 30) + 1}) {
    const auto header = Parse(MakeImage({.image_size = size}));
    ASSERT_FALSE(header);
    EXPECT_EQ(header.error().code, ExitCode::kNotAKernel);
  }
  EXPECT_TRUE(Parse(MakeImage({.image_size = uint64_t{4} << 30})));
}

TEST(Image, EveryTruncationIsAnError) {
  const Bytes whole = MakeImage();
  for (size_t size = 0; size < whole.size(); ++size) {
    const auto header = Parse(Bytes(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size)));
    ASSERT_FALSE(header) << size;
    const ExitCode code = header.error().code;
    if (size == 0) {
      EXPECT_EQ(code, ExitCode::kFileEmpty);
    } else if (size < 60) {
      EXPECT_EQ(code, ExitCode::kNotAKernel) << size;  // the magic is missing
    } else {
      EXPECT_EQ(code, ExitCode::kTruncated) << size;
    }
  }
}

TEST(Image, CutSignatureIsTruncation) {
  Bytes file = MakeImage({.image_size = 0x10000});
  file.resize(0x10400);
  const size_t optional = 68 + 20;
  PutLittle<uint16_t>(file, optional, 0x20b);
  PutLittle<uint32_t>(file, optional + 108, 6);
  PutLittle<uint32_t>(file, optional + 144, 0x10000);
  PutLittle<uint32_t>(file, optional + 148, 0x400);
  EXPECT_TRUE(Parse(file));
  file.pop_back();
  const auto cut = Parse(file);
  ASSERT_FALSE(cut);
  EXPECT_EQ(cut.error().code, ExitCode::kTruncated);
}

TEST(Image, MessagesSayWhatWhyAndWhatToDo) {
  const Bytes whole = MakeImage();
  EXPECT_EQ(Parse({}).error().message, "vmlinuz: the file is empty; give an arm64 kernel");
  EXPECT_EQ(Parse(Bytes(whole.begin(), whole.end() - 1)).error().message,
            "vmlinuz: the kernel is cut short: it has 65535 bytes of at least 65536; get the file "
            "again");
  EXPECT_EQ(Parse(Bytes(100)).error().message,
            "vmlinuz: this is not an arm64 kernel Image but no format that khop knows; give an "
            "arm64 Image");
  EXPECT_EQ(Parse(MakeImage({.flags = 1})).error().message,
            "vmlinuz: the kernel is big-endian; give a little-endian one "
            "(CONFIG_CPU_LITTLE_ENDIAN)");
}

TEST(Image, HeadShorterThanTheFileAllowsIsNoticed) {
  const Bytes whole = MakeImage();
  const auto header = ParseImage(std::span(whole).first(100), whole.size(), "vmlinuz");
  ASSERT_FALSE(header);
  EXPECT_EQ(header.error().code, ExitCode::kTruncated);
}

TEST(Image, HostileBytesDoNoHarm) {
  std::mt19937_64 random(7);
  const Bytes good = MakeImage();
  size_t accepted = 0;
  for (int round = 0; round < 20'000; ++round) {
    Bytes head(good.begin(), good.begin() + kHeadSize);
    const int changes = 1 + static_cast<int>(random() % 6);
    for (int i = 0; i < changes; ++i) {
      head[random() % (i % 2 == 0 ? 400 : 64)] = static_cast<std::byte>(random());
    }
    const uint64_t file_size = round % 2 == 0 ? good.size() : random();
    const auto header = ParseImage(head, file_size, "hostile");
    if (!header) continue;
    ++accepted;
    EXPECT_GE(header->image_size, file_size);
    EXPECT_LE(header->image_size, uint64_t{8} << 30);
    EXPECT_LT(header->text_offset, kImageAlignment);
  }
  EXPECT_GT(accepted, 100u);
}

TEST(Image, PageSizeIsTheRunningKernelsOrKnown) {
  const auto header = Parse(MakeImage({.flags = 4}));  // 16 KiB
  ASSERT_TRUE(header);
  EXPECT_TRUE(CheckPageSize(*header, 16384, false, "vmlinuz"));
  EXPECT_TRUE(CheckPageSize(*header, 4096, true, "vmlinuz"));
  EXPECT_TRUE(CheckPageSize(*Parse(MakeImage({.flags = 0})), 4096, false, "vmlinuz"));
  const auto refused = CheckPageSize(*header, 4096, false, "vmlinuz");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ExitCode::kPageSize);
  EXPECT_EQ(refused.error().message,
            "vmlinuz: the kernel has pages of 16 KiB and the running one of 4 KiB, and "
            "these CPUs are not known to have it too; give a kernel with pages of 4 KiB");
}

TEST(Release, FromTheBanner) {
  const auto find = [](std::string_view text) {
    return FindRelease(std::as_bytes(std::span(text.data(), text.size())));
  };
  EXPECT_EQ(find("xxLinux version %s\n..Linux version 6.12.94+deb13-arm64 (debian) (gcc"),
            "6.12.94+deb13-arm64");
  EXPECT_EQ(find("Linux version 6.12.94"), "") << "may go on after the end";
  EXPECT_EQ(find("Linux version "), "");
  EXPECT_EQ(find(""), "");
  EXPECT_EQ(find("Linux version 6." + std::string(80, '1') + " "), "");
  EXPECT_EQ(find("Linux version 6\x1b[2J "), "");
}

}  // namespace
}  // namespace khop::image
