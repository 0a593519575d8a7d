// SPDX-License-Identifier: MIT
// Tells by content what a file is that somebody took for a kernel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace khop::image {

enum class Format : uint8_t {
  kUnknown,
  kImage,  // raw arm64 Image
  kGzip,
  kXz,
  kLzma,
  kZstd,
  kLz4,
  kLz4Legacy,
  kBzip2,
  kLzop,
  kZboot,       // EFI zboot: a PE file that holds a compressed Image
  kUki,         // unified kernel image
  kPe,          // another EFI program
  kElf64Arm64,  // vmlinux
  kElfOther,
  kUImage,
  kDeviceTree,  // FIT, or a plain device tree
  kX86Kernel,
  kRiscvKernel,
  kArm32Kernel,
  kCpio,
  kDebianPackage,
  kText,
};

struct FormatInfo {
  std::string_view name;  // "gzip data"
  std::string_view todo;  // what the user can do about it
};

// `head` is the file's first image::kHeadSize bytes, or all of it if it is shorter.
Format Identify(std::span<const std::byte> head);
FormatInfo Describe(Format format);

}  // namespace khop::image
