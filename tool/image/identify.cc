// SPDX-License-Identifier: MIT
#include "tool/image/identify.h"

#include <algorithm>
#include <array>
#include <optional>

#include "tool/image/bytes.h"
#include "tool/image/pe.h"

namespace khop::image {
namespace {

using std::string_view_literals::operator""sv;

struct Magic {
  uint32_t offset;
  std::string_view bytes;
  Format format;
};

// In this order: the more telling first.
constexpr std::array kMagics = {
    Magic{56, "ARM\x64"sv, Format::kImage},
    Magic{56, "RSC\x05"sv, Format::kRiscvKernel},
    Magic{4, "zimg"sv, Format::kZboot},
    Magic{0x202, "HdrS"sv, Format::kX86Kernel},
    Magic{0, "\x1f\x8b"sv, Format::kGzip},
    Magic{0, "\xfd\x37zXZ\0"sv, Format::kXz},
    Magic{0, "\x5d\0\0"sv, Format::kLzma},
    Magic{0, "\x28\xb5\x2f\xfd"sv, Format::kZstd},
    Magic{0, "\x04\x22\x4d\x18"sv, Format::kLz4},
    Magic{0, "\x02\x21\x4c\x18"sv, Format::kLz4Legacy},
    Magic{0, "BZh"sv, Format::kBzip2},
    Magic{0, "\x89LZO\0\r\n"sv, Format::kLzop},
    Magic{0, "\x27\x05\x19\x56"sv, Format::kUImage},
    Magic{0, "\xd0\x0d\xfe\xed"sv, Format::kDeviceTree},
    Magic{0x24, "\x18\x28\x6f\x01"sv, Format::kArm32Kernel},
    Magic{0, "070701"sv, Format::kCpio},
    Magic{0, "070702"sv, Format::kCpio},
    Magic{0, "!<arch>\n"sv, Format::kDebianPackage},
};

constexpr uint16_t kElfArm64 = 183;  // EM_AARCH64

// A byte of 0xf8 or more is in no UTF-8 sequence (RFC 3629, section 3): erased flash is not text.
bool LooksLikeText(std::span<const std::byte> head) {
  return !head.empty() && std::ranges::all_of(head, [](std::byte b) {
    const auto c = std::to_integer<uint8_t>(b);
    return (c >= 0x20 && c != 0x7f && c < 0xf8) || (c >= '\t' && c <= '\r') || c == 0x1b;
  });
}

}  // namespace

Format Identify(std::span<const std::byte> head) {
  for (const Magic& magic : kMagics) {
    if (HasAt(head, magic.offset, magic.bytes)) return magic.format;
  }
  if (HasAt(head, 0,
            "\x7f"
            "ELF")) {
    const bool elf64 = HasAt(head, 4, "\x02\x01");
    return elf64 && ReadLittle<uint16_t>(head, 18) == kElfArm64 ? Format::kElf64Arm64
                                                                : Format::kElfOther;
  }
  if (const auto pe = ParsePe(head)) return pe->HasSection(".linux") ? Format::kUki : Format::kPe;
  if (LooksLikeText(head)) return Format::kText;
  return Format::kUnknown;
}

FormatInfo Describe(Format format) {
  static constexpr std::string_view kUnpack = "unpack it first and give the Image inside";
  static constexpr std::string_view kOther = "give an arm64 Image";
  switch (format) {
    case Format::kImage:
      return {"an arm64 Image", ""};
    case Format::kGzip:
      return {"gzip data", kUnpack};
    case Format::kXz:
      return {"xz data", kUnpack};
    case Format::kLzma:
      return {"lzma data", kUnpack};
    case Format::kZstd:
      return {"zstd data", kUnpack};
    case Format::kLz4:
    case Format::kLz4Legacy:
      return {"lz4 data", kUnpack};
    case Format::kBzip2:
      return {"bzip2 data", kUnpack};
    case Format::kLzop:
      return {"lzop data", kUnpack};
    case Format::kZboot:
      return {"an EFI zboot image", kUnpack};
    case Format::kUki:
      return {"a unified kernel image (UKI)", "give the kernel of its .linux section"};
    case Format::kPe:
      return {"an EFI program without a Linux kernel", kOther};
    case Format::kElf64Arm64:
      return {"an arm64 ELF file (vmlinux)",
              "give the Image made from it (objcopy -O binary, or arch/arm64/boot/Image)"};
    case Format::kElfOther:
      return {"an ELF file that is not for arm64", kOther};
    case Format::kUImage:
      return {"a U-Boot uImage", kUnpack};
    case Format::kDeviceTree:
      return {"a device tree or FIT image", "give the kernel inside; --dtb takes device trees"};
    case Format::kX86Kernel:
      return {"an x86 kernel", "give one for arm64"};
    case Format::kRiscvKernel:
      return {"a RISC-V kernel", "give one for arm64"};
    case Format::kArm32Kernel:
      return {"a 32-bit Arm kernel", "give one for arm64"};
    case Format::kCpio:
      return {"a cpio archive", "give it with --initrd, and an arm64 Image as the kernel"};
    case Format::kDebianPackage:
      return {"an ar archive or Debian package", "unpack it and give the kernel inside"};
    case Format::kText:
      return {"text", kOther};
    case Format::kUnknown:
      break;
  }
  return {"no format that khop knows", kOther};
}

}  // namespace khop::image
