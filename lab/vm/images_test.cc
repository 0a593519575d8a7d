// SPDX-License-Identifier: MIT
// Files that the usual tools make of a Debian kernel (lab/images.sh), read by tool/image: the
// kernel that comes out is the one that went in.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "lab/vm/lab_files.h"
#include "tool/image/test_packed.h"
#include "tool/image/unpack.h"

namespace khop::lab {
namespace {

using Bytes = std::vector<std::byte>;

Bytes ReadAll(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  Bytes bytes(std::filesystem::file_size(path));
  file.read(reinterpret_cast<char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  return bytes;
}

khop::Result<image::Contents> Inspect(const Bytes& bytes, image::Question question = {}) {
  question.name = "f";
  return image::InspectInSandbox(
      [&](std::span<std::byte> out, uint64_t offset) {
        return image::MemorySource(bytes).ReadAt(out, offset);
      },
      bytes.size(), question);
}

Bytes Unpack(const Bytes& bytes, const image::Recipe& recipe) {
  auto unpacker = image::Unpacker::Start(
      [&](std::span<std::byte> out, uint64_t offset) {
        return image::MemorySource(bytes).ReadAt(out, offset);
      },
      bytes.size(), "f", recipe);
  Bytes out(recipe.size);
  EXPECT_TRUE(unpacker);
  EXPECT_TRUE(unpacker->Read(out));
  EXPECT_TRUE(unpacker->Finish());
  return out;
}

class RealImages : public testing::Test {
 protected:
  void SetUp() override {
    const auto kernel = FindKernel("6.12");
    if (!kernel) GTEST_SKIP() << kernel.error().what;
    kernel_ = *kernel;
    const auto directory = MakeRunDirectory("RealImages");
    ASSERT_TRUE(directory);
    directory_ = *directory;
    initrd_ = directory_ / "initrd";
    std::ofstream(initrd_) << std::string(1'000'001, 'i');
  }
  void TearDown() override {
    std::error_code error;
    if (!directory_.empty()) std::filesystem::remove_all(directory_, error);
  }

  Bytes Make(const std::string& name) {
    const auto path = WrapImage(name, kernel_.image, initrd_, directory_);
    if (!path) return {};
    return ReadAll(*path);
  }

  LabKernel kernel_;
  std::filesystem::path directory_;
  std::filesystem::path initrd_;
};

TEST_F(RealImages, GiveTheKernelBack) {
  const Bytes image = ReadAll(kernel_.image);
  struct Case {
    const char* name;
    const char* format;
    bool initrd;
  };
  for (const Case& c :
       {Case{"gzip", "gzip, Image", false}, Case{"zstd", "zstd, Image", false},
        Case{"uki-zboot", "UKI, zboot, gzip, Image", true}, Case{"vmlinux", "ELF, Image", false},
        Case{"uimage", "uImage, gzip, Image", false}, Case{"uimage-multi", "uImage, Image", true},
        Case{"fit", "FIT, gzip, Image", true}, Case{"fit-external", "FIT, gzip, Image", true}}) {
    SCOPED_TRACE(c.name);
    const Bytes bytes = Make(c.name);
    if (bytes.empty()) GTEST_SKIP() << c.name << " could not be made";
    const auto contents = Inspect(bytes);
    ASSERT_TRUE(contents) << contents.error().message;
    EXPECT_EQ(contents->Format(), c.format);
    ASSERT_TRUE(contents->kernel);
    EXPECT_EQ(contents->kernel->version, kernel_.release);
    EXPECT_TRUE(Unpack(bytes, contents->kernel->recipe) == image);
    ASSERT_EQ(contents->initrds.size(), c.initrd ? 1U : 0U);
    if (c.initrd) {
      EXPECT_EQ(contents->initrds[0].where.size, 1'000'001U);
    }
  }
}

// Files of the real tools again, of a small kernel, cut after each of their first bytes and in many
// places more: refused by one line, or what is missing is not needed (an ELF's section headers).
TEST_F(RealImages, CutAnywhereAreRefused) {
  const Bytes image = image::NoisyImage();
  const auto path = directory_ / "small";
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char*>(image.data()),
             static_cast<std::streamsize>(image.size()));
  std::ofstream(initrd_) << std::string(1001, 'i');
  for (const char* const name :
       {"uki", "uki-zboot", "vmlinux", "uimage", "uimage-multi", "fit", "fit-external"}) {
    SCOPED_TRACE(name);
    const auto made = WrapImage(name, path, initrd_, directory_);
    if (!made) GTEST_SKIP() << made.error().what;
    const Bytes bytes = ReadAll(*made);
    const auto read = [&](size_t size) {
      image::MemorySource source{std::span(bytes).first(size)};
      return ReadContents(source, {.name = "f", .compatible = {}, .configuration = {}});
    };
    const auto whole = read(bytes.size());
    ASSERT_TRUE(whole) << whole.error().message;
    size_t refused = 0;
    for (size_t size = 1; size < bytes.size(); size += size < 512 ? 1 : 509) {
      const auto contents = read(size);
      if (contents) {
        EXPECT_EQ(contents->kernel->recipe, whole->kernel->recipe) << size;
        EXPECT_EQ(contents->initrds, whole->initrds) << size;
        continue;
      }
      ++refused;
      EXPECT_EQ(contents.error().message.find('\n'), std::string::npos);
      EXPECT_NE(contents.error().code, ExitCode::kInternal) << size << contents.error().message;
    }
    EXPECT_GT(refused, 512U);
  }
}

TEST_F(RealImages, FitConfigurationsAndHashes) {
  Bytes bytes = Make("fit");
  if (bytes.empty()) GTEST_SKIP() << "no FIT could be made";
  EXPECT_TRUE(Inspect(bytes)->trees.empty()) << "the default configuration has none";
  image::Question question;
  question.compatible = {"lab,other"};
  const auto fitting = Inspect(bytes, question);
  ASSERT_TRUE(fitting) << fitting.error().message;
  ASSERT_EQ(fitting->trees.size(), 1U) << "that of the board";
  EXPECT_EQ(fitting->trees[0].name, "fdt-1");
  question.configuration = "plain";
  EXPECT_TRUE(Inspect(bytes, question)->trees.empty()) << "it was asked for";
  question.configuration = "none";
  const auto none = Inspect(bytes, question);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().message, "f: it has no configuration none; it has plain, board");
  // A bit of the kernel, of the initrd.
  const auto contents = Inspect(bytes);
  for (const image::Slice& part :
       {contents->kernel->recipe.pieces[0].from, contents->initrds[0].where}) {
    bytes[part.offset + part.size / 2] ^= std::byte{4};
    const auto damaged = Inspect(bytes);
    ASSERT_FALSE(damaged);
    EXPECT_EQ(damaged.error().code, ExitCode::kDamagedImage);
    EXPECT_THAT(damaged.error().message, testing::HasSubstr(" is wrong"));
    bytes[part.offset + part.size / 2] ^= std::byte{4};
  }
  for (const size_t part : {1U, 7U, 10U, 100U}) {
    const auto cut = Inspect(
        Bytes(bytes.begin(), bytes.end() - static_cast<ptrdiff_t>(bytes.size() * part / 101)));
    ASSERT_FALSE(cut);
    EXPECT_EQ(cut.error().code, ExitCode::kTruncated) << cut.error().message;
  }
}

TEST_F(RealImages, UImageChecksums) {
  Bytes bytes = Make("uimage");
  if (bytes.empty()) GTEST_SKIP() << "no uImage could be made";
  bytes[bytes.size() - 1] ^= std::byte{1};
  EXPECT_EQ(Inspect(bytes).error().message,
            "f: the checksum of the uImage's data is wrong; get the file again");
  bytes[40] ^= std::byte{1};
  EXPECT_EQ(Inspect(bytes).error().message,
            "f: the checksum of the uImage header is wrong; get the file again");
}

}  // namespace
}  // namespace khop::lab
