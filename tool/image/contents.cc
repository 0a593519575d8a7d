// SPDX-License-Identifier: MIT
#include "tool/image/contents.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "tool/image/bytes.h"
#include "tool/image/claimed_size.h"
#include "tool/image/elf.h"
#include "tool/image/pe.h"
#include "tool/image/reader.h"
#include "tool/image/zboot.h"

namespace khop::image {
namespace {

// File, UKI, zboot or FIT: nobody nests deeper.
constexpr uint32_t kMaxDepth = 3;
// Of what is unpacked, at a time; and of what is searched for a banner.
constexpr size_t kWindow = size_t{256} << 10;
constexpr size_t kScanWindow = size_t{1} << 20;
constexpr uint64_t kScanSize = uint64_t{64} << 20;  // of a kernel, for its version
// A signature behind the kernel's end.
constexpr uint64_t kSlack = uint64_t{1} << 20;
constexpr uint64_t kOffsetOfImageSize = 16;

// Reads at most `size` bytes from a decoder.
Result<std::vector<std::byte>> ReadHead(Decoder& decoder, size_t size) {
  std::vector<std::byte> head(size);
  const auto got = decoder.Read(head);
  if (!got) return Forward(got);
  head.resize(*got);
  return head;
}

}  // namespace

std::string Contents::Format() const {
  std::string text;
  for (const std::string& format : formats) text += (text.empty() ? "" : ", ") + format;
  return text;
}

Result<void> Reader::CheckWithin(Slice slice, Slice within, const std::string& what) const {
  if (slice.offset >= within.offset && slice.size <= within.size &&
      slice.offset - within.offset <= within.size - slice.size) {
    return {};
  }
  return Fails(ExitCode::kTruncated,
               what + " is cut short: it would end at " + std::to_string(slice.offset) + " + " +
                   std::to_string(slice.size) + " of " + std::to_string(within.end()) + " bytes",
               "get the file again");
}

Result<void> Reader::CheckLimit(uint64_t bytes) const {
  if (bytes <= question.limit) return {};
  return Fails(ExitCode::kNoMemory,
               "the kernel claims " + HumanBytes(bytes) + " and " + HumanBytes(question.limit) +
                   " can be had",
               "free memory, or get the file again");
}

Result<void> Reader::SetKernel(Recipe recipe, std::span<const std::byte> head,
                               std::string version) {
  const auto header = ParseImage(head, recipe.size, question.name);
  if (!header) return Forward(header);
  contents.formats.emplace_back("Image");
  contents.kernel = Kernel{std::move(recipe), *header, std::move(version)};
  return {};
}

Result<std::string> Reader::FindVersion(const Recipe& recipe) {
  if (!question.count) return "";
  VersionScan scan;
  std::vector<std::byte> window(kScanWindow);
  uint64_t seen = 0;
  for (const Piece& piece : recipe.pieces) {
    for (uint64_t at = 0; at < piece.from.size && seen < kScanSize && scan.version().empty();) {
      const size_t size =
          static_cast<size_t>(std::min<uint64_t>(kScanWindow, piece.from.size - at));
      const auto got = file.ReadAt(std::span(window).first(size), piece.from.offset + at);
      if (!got) return Forward(got);
      if (*got == 0) break;
      scan.Add(std::span(window).first(*got));
      at += *got;
      seen += *got;
    }
  }
  return scan.version();
}

Result<void> Reader::ReadPlain(Slice where, uint32_t depth, const std::string& name) {
  const auto head = file.Read(where, kHeadSize);
  if (!head) return Forward(head);
  Recipe recipe{.pieces = {{where, 0}}, .codec = Codec::kNone, .tail = 0, .size = where.size};
  auto version = FindVersion(recipe);
  if (!version) return Forward(version);
  AddItem(depth, name, std::string(Describe(Format::kImage).name), where, *version);
  return SetKernel(std::move(recipe), *head, *std::move(version));
}

Result<void> Reader::ReadPacked(Slice where, uint32_t depth, const std::string& name, Codec codec,
                                uint64_t tail) {
  const std::string codec_name(CodecName(codec));
  auto decoder = MakeDecoder(codec, file, where, question.name, tail);
  if (!decoder) return Forward(decoder);
  const auto head = ReadHead(**decoder, kHeadSize);
  if (!head) return Forward(head);
  const Format inside = Identify(*head);
  contents.formats.push_back(codec_name);
  if (inside != Format::kImage) {
    AddItem(depth, name, codec_name + " data", where, "of " + std::string(Describe(inside).name));
    if (!question.need_kernel) return {};
    return Fails(ExitCode::kNotAKernel,
                 "in its " + codec_name + " data is no arm64 kernel Image but " +
                     std::string(head->empty() ? "nothing" : Describe(inside).name),
                 "unpack it first");
  }
  // How much may come out is bounded by what the kernel itself says that it needs, and that by the
  // machine's memory.
  const uint64_t claimed = ReadLittle<uint64_t>(*head, kOffsetOfImageSize).value_or(0);
  if (const auto fits = CheckLimit(claimed); !fits) return fits;
  const uint64_t bound = claimed == 0 ? question.limit : claimed + kSlack;
  VersionScan scan;
  scan.Add(*head);
  uint64_t size = head->size();
  std::optional<uint64_t> claim;
  if (!question.count) {
    claim = ClaimedSize(codec, file, where, tail);
    if (const auto pe = ParsePe(*head); !claim && pe) claim = pe->FileEnd();
  }
  const bool counted =
      !claim || *claim < size || *claim > bound || !ParseImage(*head, *claim, question.name);
  if (!counted) size = *claim;
  std::vector<std::byte> window(counted ? kWindow : 0);
  while (counted) {
    const auto got = (*decoder)->Read(window);
    if (!got) return Forward(got);
    if (*got == 0) break;
    size += *got;
    if (size > bound) {
      return Fails(ExitCode::kTooLarge,
                   "its " + codec_name + " data unpacks to more than the " + HumanBytes(bound) +
                       " that the kernel in it could need",
                   "get the file again");
    }
    scan.Add(std::span(window).first(*got));
  }
  AddItem(depth, name, codec_name + " data", where, HumanBytes(size) + " unpacked");
  AddItem(depth + 1, "", std::string(Describe(Format::kImage).name), {}, scan.version());
  return SetKernel({.pieces = {{where, 0}}, .codec = codec, .tail = tail, .size = size}, *head,
                   scan.version());
}

Result<void> Reader::ReadZboot(Slice where, uint32_t depth, const std::string& name) {
  const auto head = file.Read(where, kHeadSize);
  if (!head) return Forward(head);
  const auto zboot = ParseZboot(*head, where.size, question.name);
  if (!zboot) return Forward(zboot);
  const Slice payload{where.offset + zboot->payload.offset, zboot->payload.size};
  contents.formats.emplace_back("zboot");
  AddItem(depth, name, std::string(Describe(Format::kZboot).name), where, zboot->compression);
  const auto start = file.Read(payload, kHeadSize);
  if (!start) return Forward(start);
  const Format inside = Identify(*start);
  const auto codec = CodecOf(inside);
  // The header's word is for people; what the bytes are counts.
  if (!codec) {
    return Fails(
        ExitCode::kUnsupportedImage,
        "its zboot payload is compressed by " + zboot->compression + ", which khop does not unpack",
        "give the Image inside");
  }
  if (!question.unpack) return {};
  return ReadPacked(payload, depth + 1, "payload", *codec, kZbootTail);
}

Result<void> Reader::ReadElf(Slice where, uint32_t depth, const std::string& name) {
  const auto segments = ParseElf(file, where, question.name);
  if (!segments) return Forward(segments);
  Recipe recipe;
  for (const ElfSegment& segment : *segments) {
    recipe.pieces.push_back(
        {{where.offset + segment.in_file.offset, segment.in_file.size}, segment.at});
    recipe.size = std::max(recipe.size, segment.at + segment.in_file.size);
  }
  if (const auto fits = CheckLimit(recipe.size); !fits) return fits;
  contents.formats.emplace_back("ELF");
  AddItem(depth, name, std::string(Describe(Format::kElf64Arm64).name), where,
          std::to_string(segments->size()) + " segments");
  // The head of what the segments make: ParseElf() leaves no gap in it.
  const auto head = file.Read(recipe.pieces.front().from, kHeadSize);
  if (!head) return Forward(head);
  auto version = FindVersion(recipe);
  if (!version) return Forward(version);
  return SetKernel(std::move(recipe), *head, *std::move(version));
}

Result<void> Reader::ReadKernel(Slice where, uint32_t depth, const std::string& name) {
  if (depth > kMaxDepth) {
    return Fails(ExitCode::kUnsupportedImage, "it is nested too deeply",
                 "take the inner file out and give that");
  }
  const auto head = file.Read(where, kHeadSize);
  if (!head) return Forward(head);
  const Format format = Identify(*head);
  switch (format) {
    case Format::kUki:
      return ReadUki(*this, where, *head, depth, name);
    case Format::kUImage:
      return ReadUImage(*this, where, *head, depth, name);
    case Format::kDeviceTree:
      return ReadFit(*this, where, depth, name);
    case Format::kZboot:
      return ReadZboot(where, depth, name);
    default:
      break;
  }
  if (!question.unpack) {
    AddItem(depth, name, std::string(Describe(format).name), where);
    return {};
  }
  if (format == Format::kImage) return ReadPlain(where, depth, name);
  if (format == Format::kElf64Arm64) return ReadElf(where, depth, name);
  if (const auto codec = CodecOf(format)) return ReadPacked(where, depth, name, *codec, 0);
  if (question.need_kernel || head->empty()) {
    // It says what the file is instead.
    const auto header = ParseImage(*head, where.size, question.name);
    if (!header) return Forward(header);
  }
  AddItem(depth, name, std::string(Describe(format).name), where);
  return {};
}

Result<Contents> ReadContents(Source& file, const Question& question) {
  Reader reader(file, question);
  if (const auto read = reader.ReadKernel({0, file.size()}, 0, ""); !read) return Forward(read);
  if (question.need_kernel && question.unpack && !reader.contents.kernel) {
    return reader.Fails(ExitCode::kNotAKernel, "there is no kernel in it", "give an arm64 kernel");
  }
  return std::move(reader.contents);
}

}  // namespace khop::image
