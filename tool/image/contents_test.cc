// SPDX-License-Identifier: MIT
// Containers and compressed kernels, small and made here: what they hold, and every way in which
// they can be wrong. The files of real tools are in lab/images_test.cc.
#include "tool/image/contents.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <lz4frame.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <random>

#include "tool/image/hash.h"
#include "tool/image/test_image.h"
#include "tool/image/test_packed.h"
#include "tool/image/unpack.h"
#include "tool/image/wire.h"

namespace khop::image {
namespace {

Result<Contents> Read(const Bytes& bytes, Question question = {}) {
  question.name = "f";
  MemorySource source(bytes);
  auto contents = ReadContents(source, question);
  if (!contents) {
    EXPECT_EQ(contents.error().message.find('\n'), std::string::npos);
    EXPECT_NE(contents.error().code, ExitCode::kInternal) << contents.error().message;
  }
  return contents;
}

Result<Contents> ReadAsClaimed(const Bytes& bytes) {
  Question question;
  question.count = false;
  return Read(bytes, question);
}

// The kernel that comes out of a file.
Bytes Unpacked(const Bytes& bytes, const Recipe& recipe) {
  auto unpacker =
      Unpacker::Start([&](std::span<std::byte> out,
                          uint64_t offset) { return MemorySource(bytes).ReadAt(out, offset); },
                      bytes.size(), "f", recipe);
  EXPECT_TRUE(unpacker) << unpacker.error().message;
  Bytes out(recipe.size);
  const auto read = unpacker->Read(out);
  EXPECT_TRUE(read) << read.error().message;
  const auto finished = unpacker->Finish();
  EXPECT_TRUE(finished) << finished.error().message;
  return out;
}

TEST(Packed, EveryCodecGivesTheKernelBack) {
  const Bytes image = NoisyImage();
  for (const auto& [name, pack] : Packers()) {
    SCOPED_TRACE(name);
    const Bytes packed = pack(image);
    const auto contents = Read(packed);
    ASSERT_TRUE(contents) << contents.error().message;
    ASSERT_TRUE(contents->kernel);
    EXPECT_EQ(contents->kernel->recipe.size, image.size());
    EXPECT_EQ(contents->kernel->version, "6.12.0-test");
    EXPECT_EQ(contents->Format(), std::string(name) + ", Image");
    EXPECT_EQ(Unpacked(packed, contents->kernel->recipe), image);
  }
}

// Where the container has no claim, as lz4's and bzip2's, the kernel's PE header does.
TEST(Packed, ClaimedSizesAreBelievedIfAskedTo) {
  const Bytes image = NoisyImage();
  for (const auto& [name, pack] : Packers()) {
    SCOPED_TRACE(name);
    const Bytes packed = pack(image);
    const auto contents = ReadAsClaimed(packed);
    ASSERT_TRUE(contents) << contents.error().message;
    EXPECT_EQ(contents->kernel->recipe, Read(packed)->kernel->recipe);
    EXPECT_EQ(contents->kernel->version, "") << "it was counted";
    // The kernel's own build says it of every codec.
    Bytes zboot = MakeZboot(packed, name);
    PutLittle<uint32_t>(zboot, zboot.size(), static_cast<uint32_t>(image.size()));
    PutLittle<uint32_t>(zboot, 12, static_cast<uint32_t>(zboot.size() - 512));
    const auto in_zboot = ReadAsClaimed(zboot);
    ASSERT_TRUE(in_zboot) << in_zboot.error().message;
    EXPECT_EQ(in_zboot->kernel->version, "");
    EXPECT_EQ(Unpacked(zboot, in_zboot->kernel->recipe), image);
  }
}

TEST(Packed, ClaimsOfLzmaAndLz4) {
  const Bytes image = NoisyImage();
  Bytes lzma = PackLzma(image);
  PutLittle<uint64_t>(lzma, 5, image.size());
  LZ4F_preferences_t preferences = LZ4F_INIT_PREFERENCES;
  preferences.frameInfo.contentSize = image.size();
  Bytes lz4(LZ4F_compressFrameBound(image.size(), &preferences));
  lz4.resize(LZ4F_compressFrame(lz4.data(), lz4.size(), image.data(), image.size(), &preferences));
  for (const Bytes& packed : {lzma, lz4}) {
    const auto contents = ReadAsClaimed(packed);
    ASSERT_TRUE(contents) << contents.error().message;
    EXPECT_EQ(contents->kernel->version, "");
    EXPECT_EQ(contents->kernel->recipe.size, image.size());
  }
}

// Claims that cannot be are not believed; others are found out when it is unpacked.
TEST(Packed, WrongClaims) {
  const Bytes image = NoisyImage();
  for (const uint32_t claim : {uint32_t{0}, uint32_t{100}, uint32_t{1} << 30, ~uint32_t{0}}) {
    Bytes packed = MakeZboot(PackXz(image), "xzkern");
    PutLittle<uint32_t>(packed, packed.size(), claim);
    PutLittle<uint32_t>(packed, 12, static_cast<uint32_t>(packed.size() - 512));
    const auto contents = ReadAsClaimed(packed);
    ASSERT_TRUE(contents) << contents.error().message;
    EXPECT_EQ(contents->kernel->recipe.size, image.size());
  }
  // Two streams: of xz the index says that it is of one only.
  const size_t cut = image.size() - 4096;
  for (const auto& pack : {PackGzip, PackXz}) {
    Bytes packed = pack(Bytes(image.begin(), image.begin() + static_cast<ptrdiff_t>(cut)));
    const Bytes second = pack(Bytes(image.begin() + static_cast<ptrdiff_t>(cut), image.end()));
    packed.insert(packed.end(), second.begin(), second.end());
    const auto contents = ReadAsClaimed(packed);
    ASSERT_TRUE(contents) << contents.error().message;
    EXPECT_EQ(contents->kernel->recipe.size, image.size());
  }
}

TEST(Packed, EveryTruncationIsSaid) {
  const Bytes image = NoisyImage();
  for (const auto& [name, pack] : Packers()) {
    SCOPED_TRACE(name);
    const Bytes packed = pack(image);
    for (size_t size = 1; size < packed.size(); size += size < 64 ? 1 : 997) {
      const auto contents =
          Read(Bytes(packed.begin(), packed.begin() + static_cast<ptrdiff_t>(size)));
      ASSERT_FALSE(contents) << size;
      const ExitCode code = contents.error().code;
      EXPECT_TRUE(code == ExitCode::kTruncated || code == ExitCode::kNotAKernel ||
                  code == ExitCode::kDamagedImage)
          << size << " " << contents.error().message;
    }
  }
}

TEST(Packed, FlippedBitsAreNoticedOrHarmless) {
  const Bytes image = NoisyImage();
  std::mt19937 random(7);
  for (const auto& [name, pack] : Packers()) {
    SCOPED_TRACE(name);
    Bytes packed = pack(image);
    int noticed = 0;
    for (int round = 0; round < 60; ++round) {
      const size_t at = random() % packed.size();
      const auto bit = static_cast<std::byte>(1U << random() % 8);
      packed[at] ^= bit;
      noticed += Read(packed) ? 0 : 1;
      packed[at] ^= bit;
    }
    // The formats of lzma and of the legacy frame have no checksum.
    if (std::string_view(name) != "lzma" && std::string_view(name) != "lz4") {
      EXPECT_GT(noticed, 50);
    }
  }
}

TEST(Packed, WhatFollows) {
  const Bytes image = NoisyImage();
  for (const auto& [name, pack] : Packers()) {
    SCOPED_TRACE(name);
    Bytes packed = pack(image);
    packed.resize(packed.size() + 300);
    EXPECT_TRUE(Read(packed)) << "zeros are padding";
    packed.back() = std::byte{1};
    const auto contents = Read(packed);
    ASSERT_FALSE(contents);
    EXPECT_TRUE(contents.error().code == ExitCode::kDamagedImage ||
                contents.error().code == ExitCode::kTruncated);
  }
}

TEST(Packed, Bombs) {
  // A kernel of 64 KiB that says so, and zeros after it for ever.
  Bytes bomb = NoisyImage();
  bomb.resize(bomb.size() + (size_t{24} << 20));
  for (const auto& [name, pack] : Packers()) {
    SCOPED_TRACE(name);
    const auto contents = Read(pack(bomb));
    ASSERT_FALSE(contents);
    EXPECT_EQ(contents.error().code, ExitCode::kTooLarge) << contents.error().message;
  }
  // One that claims more than the machine has.
  const Bytes large = PackGzip(MakeImage({.image_size = uint64_t{3} << 30}));
  Question question;
  question.limit = uint64_t{1} << 30;
  EXPECT_EQ(Read(large, question).error().code, ExitCode::kNoMemory);
  EXPECT_TRUE(Read(large));
}

TEST(Packed, OnlyAnImageMayBeInIt) {
  const Bytes text(100, std::byte{'a'});
  for (const Bytes& inside : {text, PackGzip(NoisyImage()), Bytes()}) {
    const auto contents = Read(PackGzip(inside));
    ASSERT_FALSE(contents);
    EXPECT_EQ(contents.error().code, ExitCode::kNotAKernel);
  }
  EXPECT_EQ(Read(PackGzip(text)).error().message,
            "f: in its gzip data is no arm64 kernel Image but text; unpack it first");
}

TEST(Packed, LargeWindowsAreRefused) {
  Bytes lzma = PackLzma(NoisyImage());
  PutLittle<uint32_t>(lzma, 1, 0x40000000);  // the dictionary's size
  EXPECT_EQ(Read(lzma).error().code, ExitCode::kUnsupportedImage);
}

TEST(Zboot, HoldsEveryCodec) {
  const Bytes image = NoisyImage();
  for (const auto& [name, pack] : Packers()) {
    SCOPED_TRACE(name);
    Bytes file = MakeZboot(pack(image), name);
    const size_t end = file.size();
    PutLittle<uint32_t>(file, end, static_cast<uint32_t>(image.size()));
    // As older kernels count, the appended size is payload.
    PutLittle<uint32_t>(file, 12, static_cast<uint32_t>(end + 4 - 512));
    const auto contents = Read(file);
    ASSERT_TRUE(contents) << contents.error().message;
    EXPECT_EQ(contents->formats.front(), "zboot");
    EXPECT_EQ(Unpacked(file, contents->kernel->recipe), image);
  }
}

TEST(Zboot, Lies) {
  const Bytes good = MakeZboot(PackGzip(NoisyImage()), "gzip");
  for (size_t size = 8; size < good.size(); size += 61) {
    EXPECT_FALSE(Read(Bytes(good.begin(), good.begin() + static_cast<ptrdiff_t>(size)))) << size;
  }
  Bytes file = good;
  PutLittle<uint32_t>(file, 12, 0xffffffff);
  EXPECT_EQ(Read(file).error().code, ExitCode::kTruncated);
  file = good;
  PutLittle<uint32_t>(file, 8, 0xffffffff);
  EXPECT_EQ(Read(file).error().code, ExitCode::kTruncated);
  file = good;
  PutLittle<uint16_t>(file, 64 + 4, 0x8664);
  EXPECT_EQ(Read(file).error().code, ExitCode::kOtherArchitecture);
  file = MakeZboot(Bytes(100, std::byte{7}), "lzo");
  const auto lzo = Read(file);
  EXPECT_EQ(lzo.error().code, ExitCode::kUnsupportedImage);
  EXPECT_THAT(lzo.error().message, testing::HasSubstr("compressed by lzo"));
}

Bytes Text(std::string_view text) {
  Bytes bytes;
  PutText(bytes, 0, text);
  return bytes;
}

TEST(Uki, Sections) {
  const Bytes image = NoisyImage();
  for (const Bytes& kernel : {image, MakeZboot(PackGzip(image), "gzip")}) {
    const Bytes uki = MakeUki({{".osrel", Text("ID=x\n")},
                               {".cmdline", Text("root=/dev/vda x=\"a b\"\n")},
                               {".initrd", Bytes(1001, std::byte{'i'})},
                               {".linux", kernel}});
    const auto contents = Read(uki);
    ASSERT_TRUE(contents) << contents.error().message;
    EXPECT_EQ(contents->command_line, "root=/dev/vda x=\"a b\"");
    EXPECT_EQ(contents->os_release, "ID=x\n");
    ASSERT_EQ(contents->initrds.size(), 1U);
    EXPECT_EQ(contents->initrds[0].where.size, 1001U);
    EXPECT_EQ(Unpacked(uki, contents->kernel->recipe), image);
  }
}

TEST(Uki, TreesByCompatible) {
  const Bytes uki = MakeUki({{".linux", NoisyImage()},
                             {".dtb", MakeTree("fixed,board")},
                             {".dtbauto", MakeTree("one,board")},
                             {".dtbauto", MakeTree("two,board")}});
  const auto chosen = [&](std::vector<std::string> machine) {
    Question question;
    question.compatible = std::move(machine);
    const auto contents = Read(uki, question);
    EXPECT_TRUE(contents) << contents.error().message;
    EXPECT_EQ(contents->trees.size(), 1U);
    return contents->trees.front();
  };
  EXPECT_EQ(chosen({}).name, ".dtb");
  EXPECT_EQ(chosen({"none,board"}).name, ".dtb");
  EXPECT_EQ(chosen({"one,board"}).name, ".dtbauto");
  EXPECT_GT(chosen({"two,board", "one,board"}).where.offset, chosen({"one,board"}).where.offset);
}

TEST(Uki, WhatCannotBe) {
  EXPECT_EQ(Read(MakeUki({{".linux", MakeUki({{".linux", NoisyImage()}})}})).error().code,
            ExitCode::kUnsupportedImage);
  Bytes x86 = MakeUki({{".linux", NoisyImage()}});
  PutLittle<uint16_t>(x86, 128 + 4, 0x8664);
  EXPECT_EQ(Read(x86).error().code, ExitCode::kOtherArchitecture);
  Bytes bzimage(4096);
  PutText(bzimage, 0x202, "HdrS");
  EXPECT_EQ(Read(MakeUki({{".linux", bzimage}})).error().code, ExitCode::kNotAKernel);
  const Bytes good = MakeUki({{".cmdline", Text("x")}, {".linux", NoisyImage()}});
  for (size_t size = 1; size < good.size(); size += 101) {
    EXPECT_FALSE(Read(Bytes(good.begin(), good.begin() + static_cast<ptrdiff_t>(size)))) << size;
  }
  EXPECT_EQ(Read(MakeUki({{".linux", NoisyImage()}, {".cmdline", Bytes(100'000, std::byte{'x'})}}))
                .error()
                .code,
            ExitCode::kTooLarge);
}

TEST(Elf, SegmentsAsTheyLieInMemory) {
  const Bytes image = NoisyImage();
  const Bytes elf = MakeElf(image, 0x9000, 0xffff800080000000);
  const auto contents = Read(elf);
  ASSERT_TRUE(contents) << contents.error().message;
  EXPECT_EQ(contents->Format(), "ELF, Image");
  EXPECT_EQ(Unpacked(elf, contents->kernel->recipe), image);
  for (size_t size = 64; size < elf.size(); size += 73) {
    EXPECT_FALSE(Read(Bytes(elf.begin(), elf.begin() + static_cast<ptrdiff_t>(size)))) << size;
  }
  Bytes lies = elf;
  PutLittle<uint64_t>(lies, 64 + 56 + 24, 0xffff800080000000);  // over the first
  EXPECT_EQ(Read(lies).error().code, ExitCode::kDamagedImage);
  lies = elf;
  PutLittle<uint64_t>(lies, 64 + 56 + 24, 0xfffffffffffff000);  // far away
  EXPECT_FALSE(Read(lies));
  lies = elf;
  PutLittle<uint16_t>(lies, 56, 0xffff);
  EXPECT_EQ(Read(lies).error().code, ExitCode::kDamagedImage);
}

TEST(Wire, ContentsComeThrough) {
  const Bytes uki = MakeUki({{".cmdline", Text("a b")},
                             {".initrd", Bytes(10, std::byte{1})},
                             {".dtb", MakeTree("x,y")},
                             {".linux", PackGzip(NoisyImage())}});
  const auto contents = Read(uki);
  ASSERT_TRUE(contents);
  const Bytes bytes = ToBytes(*contents);
  const auto back = FromBytes(bytes, uki.size());
  ASSERT_TRUE(back);
  EXPECT_EQ(back->formats, contents->formats);
  EXPECT_EQ(back->kernel->recipe, contents->kernel->recipe);
  EXPECT_EQ(back->items, contents->items);
  EXPECT_EQ(back->initrds, contents->initrds);
  EXPECT_EQ(back->trees, contents->trees);
  EXPECT_EQ(back->command_line, "a b");
  EXPECT_FALSE(FromBytes(bytes, uki.size() / 2)) << "parts beyond the file";
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(FromBytes(std::span(bytes).first(size), uki.size())) << size;
  }
}

std::string Hex(const std::vector<std::byte>& bytes) {
  std::string text;
  for (const std::byte byte : bytes) {
    text += "0123456789abcdef"[std::to_integer<size_t>(byte >> 4)];
    text += "0123456789abcdef"[std::to_integer<size_t>(byte & std::byte{15})];
  }
  return text;
}

TEST(Hash, KnownAnswers) {
  const auto of = [](std::string_view name, std::string_view text) {
    const auto hash = MakeHash(name);
    hash->Update(std::as_bytes(std::span(text)));
    return Hex(hash->Finish());
  };
  EXPECT_EQ(of("crc32", "123456789"), "cbf43926");
  // FIPS 180-4's examples.
  EXPECT_EQ(of("sha1", "abc"), "a9993e364706816aba3e25717850c26c9cd0d89d");
  EXPECT_EQ(of("sha1", "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
  EXPECT_EQ(of("sha512", "abc"),
            "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
            "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f");
  EXPECT_EQ(of("sha384", "abc"),
            "cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed"
            "8086072ba1e7cc2358baeca134c825a7");
  EXPECT_EQ(MakeHash("md5"), nullptr);
}

}  // namespace
}  // namespace khop::image
