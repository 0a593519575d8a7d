// SPDX-License-Identifier: MIT
#include "tool/image/identify.h"

#include <string>
#include <string_view>

#include "gtest/gtest.h"
#include "tool/image/image.h"
#include "tool/image/pe.h"
#include "tool/image/test_image.h"

namespace khop::image {
namespace {

using std::string_view_literals::operator""sv;

Bytes At(size_t offset, std::string_view text) {
  Bytes bytes(1024);
  PutText(bytes, offset, text);
  return bytes;
}

Bytes MakePe(std::string_view section, uint16_t machine = kPeMachineArm64) {
  Bytes bytes = At(0, "MZ");
  PutLittle<uint32_t>(bytes, 60, 128);
  PutText(bytes, 128, "PE\0\0"sv);
  PutLittle(bytes, 132, machine);
  PutLittle<uint16_t>(bytes, 134, 1);
  PutText(bytes, 132 + 20, section);
  return bytes;
}

TEST(Identify, ByContent) {
  struct Case {
    Bytes head;
    Format format;
  };
  const Case cases[] = {
      {MakeImage(), Format::kImage},
      {At(0, "\x1f\x8b\x08"), Format::kGzip},
      {At(0, "\xfd\x37zXZ\0"sv), Format::kXz},
      {At(0, "\x5d\0\0\x80\0"sv), Format::kLzma},
      {At(0, "\x28\xb5\x2f\xfd"), Format::kZstd},
      {At(0, "\x04\x22\x4d\x18"), Format::kLz4},
      {At(0, "\x02\x21\x4c\x18"), Format::kLz4Legacy},
      {At(0, "BZh9"), Format::kBzip2},
      {At(0, "MZ\0\0zimg"sv), Format::kZboot},
      {MakePe(".linux"), Format::kUki},
      {MakePe(".text"), Format::kPe},
      {At(0,
          "\x7f"
          "ELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0"sv),
       Format::kElf64Arm64},
      {At(0,
          "\x7f"
          "ELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0"sv),
       Format::kElfOther},
      {At(0, "\x27\x05\x19\x56"), Format::kUImage},
      {At(0, "\xd0\x0d\xfe\xed"), Format::kDeviceTree},
      {At(0x202, "HdrS"), Format::kX86Kernel},
      {At(56, "RSC\x05"), Format::kRiscvKernel},
      {At(0x24, "\x18\x28\x6f\x01"), Format::kArm32Kernel},
      {At(0, "070701"), Format::kCpio},
      {At(0, "!<arch>\ndebian-binary"), Format::kDebianPackage},
      {Bytes(1024), Format::kUnknown},
  };
  for (const Case& c : cases) {
    EXPECT_EQ(Identify(c.head), c.format) << Describe(c.format).name;
    if (c.format == Format::kImage) continue;
    const auto header = ParseImage(c.head, c.head.size(), "f");
    ASSERT_FALSE(header);
    EXPECT_EQ(header.error().code, ExitCode::kNotAKernel);
    const FormatInfo info = Describe(c.format);
    EXPECT_EQ(header.error().message, "f: this is not an arm64 kernel Image but " +
                                          std::string(info.name) + "; " + std::string(info.todo));
  }
  Bytes text;
  PutText(text, 0, "#!/bin/sh\necho hello\n");
  EXPECT_EQ(Identify(text), Format::kText);
  PutText(text, 0, "#!/bin/sh\necho gr\u00fc\u00dfe\n");
  EXPECT_EQ(Identify(text), Format::kText);
  EXPECT_EQ(Identify({}), Format::kUnknown);
  EXPECT_EQ(Identify(Bytes(1024, std::byte{0xff})), Format::kUnknown) << "erased flash";
}

TEST(Pe, SectionsAndTheirEnd) {
  Bytes bytes = MakePe(".linux");
  PutLittle<uint32_t>(bytes, 152 + 16, 0xffffffff);
  PutLittle<uint32_t>(bytes, 152 + 20, 0xffffffff);
  const auto pe = ParsePe(bytes);
  ASSERT_TRUE(pe);
  EXPECT_EQ(pe->machine, kPeMachineArm64);
  ASSERT_EQ(pe->sections.size(), 1u);
  EXPECT_EQ(pe->sections[0].name, ".linux");
  EXPECT_EQ(pe->FileEnd(), uint64_t{0xffffffff} * 2) << "does not wrap";
  EXPECT_FALSE(pe->HasSection(".lin"));
}

TEST(Pe, TablesOutsideOfTheFile) {
  Bytes bytes = MakePe(".text");
  PutLittle<uint16_t>(bytes, 134, 0xffff);
  EXPECT_FALSE(ParsePe(bytes));
  bytes = MakePe(".text");
  PutLittle<uint32_t>(bytes, 60, 0xfffffffe);
  EXPECT_FALSE(ParsePe(bytes));
  bytes = MakePe(".text");
  bytes.resize(152 + 39);
  EXPECT_FALSE(ParsePe(bytes));
}

}  // namespace
}  // namespace khop::image
