// SPDX-License-Identifier: MIT
#include "tool/image/zboot.h"

#include "tool/image/bytes.h"
#include "tool/image/pe.h"

namespace khop::image {
namespace {

constexpr uint64_t kOffsetOfPayload = 8;
constexpr uint64_t kOffsetOfSize = 12;
constexpr uint64_t kOffsetOfCompression = 24;
constexpr size_t kCompressionSize = 32;

}  // namespace

Result<Zboot> ParseZboot(std::span<const std::byte> head, uint64_t file_size,
                         const std::string& name) {
  const auto cut = [&](const std::string& what) {
    return Fail(ExitCode::kTruncated, name, what + " is cut short", "get the file again");
  };
  const auto offset = ReadLittle<uint32_t>(head, kOffsetOfPayload);
  const auto size = ReadLittle<uint32_t>(head, kOffsetOfSize);
  if (!offset || !size || head.size() < kOffsetOfCompression + kCompressionSize) {
    return cut("the zboot header");
  }
  const auto pe = ParsePe(head);
  if (!pe) return cut("the zboot image's PE header");
  if (pe->machine != kPeMachineArm64) {
    return Fail(ExitCode::kOtherArchitecture, name, "this zboot image is not for arm64",
                "give one for arm64");
  }
  if (uint64_t{*offset} + *size > file_size) return cut("the zboot payload");
  std::string compression(reinterpret_cast<const char*>(head.data()) + kOffsetOfCompression,
                          kCompressionSize);
  compression.resize(std::min(compression.find('\0'), compression.size()));
  return Zboot{{*offset, *size}, Printable(compression)};
}

}  // namespace khop::image
