// SPDX-License-Identifier: MIT
#include "tool/image/wire.h"

#include <algorithm>
#include <bit>
#include <string>

#include "tool/image/bytes.h"

namespace khop::image {
namespace {

constexpr size_t kMaxText = size_t{64} << 10;
constexpr size_t kMaxPieces = 256;
// Of a kernel, see image.cc; an initrd or a tree is no larger than the file.
constexpr uint64_t kMaxPayload = uint64_t{4} << 30;

class Out {
 public:
  void Number(uint64_t value) {
    for (size_t i = 0; i < 8; ++i) bytes.push_back(static_cast<std::byte>(value >> (8 * i) & 0xff));
  }
  void Text(const std::string& text) {
    const size_t size = std::min(text.size(), kMaxText);
    Number(size);
    const auto from = std::as_bytes(std::span(text)).first(size);
    bytes.insert(bytes.end(), from.begin(), from.end());
  }
  void Place(const Slice& slice) {
    Number(slice.offset);
    Number(slice.size);
  }
  void Parts(const std::vector<Part>& parts) {
    Number(std::min(parts.size(), kMaxPieces));
    for (size_t i = 0; i < std::min(parts.size(), kMaxPieces); ++i) {
      Text(parts[i].name);
      Place(parts[i].where);
    }
  }

  std::vector<std::byte> bytes;
};

class In {
 public:
  In(std::span<const std::byte> bytes, uint64_t file_size) : bytes_(bytes), file_size_(file_size) {}

  bool ok() const { return ok_; }
  bool at_end() const { return bytes_.empty(); }
  // Anything above `limit` is an error.
  uint64_t Number(uint64_t limit = UINT64_MAX) {
    const auto value = ReadLittle<uint64_t>(bytes_, 0);
    if (!value || *value > limit) {
      ok_ = false;
      return 0;
    }
    bytes_ = bytes_.subspan(8);
    return *value;
  }
  bool Flag() { return Number(1) != 0; }
  std::string Text() {
    const uint64_t size = Number(std::min<uint64_t>(kMaxText, bytes_.size()));
    if (size > bytes_.size()) ok_ = false;
    if (!ok_) return "";
    const std::string text(reinterpret_cast<const char*>(bytes_.data()), size);
    bytes_ = bytes_.subspan(size);
    return text;
  }
  Slice Place() {
    Slice slice;
    slice.offset = Number(file_size_);
    slice.size = Number(file_size_ - slice.offset);
    return slice;
  }
  std::vector<Part> Parts() {
    std::vector<Part> parts;
    for (uint64_t left = Number(kMaxPieces); left > 0 && ok_; --left) {
      std::string name = Text();
      parts.push_back({std::move(name), Place()});
    }
    return parts;
  }
  void Demand(bool condition) { ok_ = ok_ && condition; }

 private:
  std::span<const std::byte> bytes_;
  uint64_t file_size_;
  bool ok_ = true;
};

void Write(Out& out, const Kernel& kernel) {
  out.Number(kernel.recipe.pieces.size());
  for (const Piece& piece : kernel.recipe.pieces) {
    out.Place(piece.from);
    out.Number(piece.at);
  }
  out.Number(static_cast<uint64_t>(kernel.recipe.codec));
  out.Number(kernel.recipe.tail);
  out.Number(kernel.recipe.size);
  const ImageHeader& header = kernel.header;
  for (const uint64_t value :
       {header.text_offset, header.image_size, uint64_t{header.image_size_known}, header.file_size,
        uint64_t{header.page_size}, uint64_t{header.placed_anywhere}, uint64_t{header.pe_offset}}) {
    out.Number(value);
  }
  out.Text(kernel.version);
}

Kernel ReadKernel(In& in) {
  Kernel kernel;
  Recipe& recipe = kernel.recipe;
  uint64_t end = 0;
  for (uint64_t left = in.Number(kMaxPieces); left > 0 && in.ok(); --left) {
    Piece piece;
    piece.from = in.Place();
    piece.at = in.Number(kMaxPayload);
    // Ascending, without overlap.
    in.Demand(piece.at >= end && piece.from.size <= kMaxPayload);
    end = piece.at + piece.from.size;
    recipe.pieces.push_back(piece);
  }
  recipe.codec = static_cast<Codec>(in.Number(static_cast<uint64_t>(Codec::kBzip2)));
  recipe.tail = in.Number(16);
  recipe.size = in.Number(kMaxPayload);
  in.Demand(recipe.size != 0 && !recipe.pieces.empty());
  in.Demand(recipe.codec == Codec::kNone ? end == recipe.size : recipe.pieces.size() == 1);
  ImageHeader& header = kernel.header;
  header.text_offset = in.Number(kImageAlignment - 1);
  header.image_size = in.Number(kMaxPayload + (uint64_t{64} << 20));
  header.image_size_known = in.Flag();
  header.file_size = in.Number(kMaxPayload);
  header.page_size = static_cast<uint32_t>(in.Number(65536));
  header.placed_anywhere = in.Flag();
  header.pe_offset = static_cast<uint32_t>(in.Number(UINT32_MAX));
  in.Demand(header.file_size == recipe.size && header.image_size >= recipe.size &&
            header.text_offset % 4096 == 0 &&
            (header.page_size == 0 || std::has_single_bit(header.page_size)));
  kernel.version = Printable(in.Text());
  return kernel;
}

}  // namespace

std::vector<std::byte> ToBytes(const Contents& contents) {
  Out out;
  out.Number(contents.formats.size());
  for (const std::string& format : contents.formats) out.Text(format);
  out.Number(contents.kernel ? 1 : 0);
  if (contents.kernel) Write(out, *contents.kernel);
  out.Parts(contents.initrds);
  out.Parts(contents.trees);
  out.Number(contents.command_line ? 1 : 0);
  if (contents.command_line) out.Text(*contents.command_line);
  out.Text(contents.os_release);
  out.Number(std::min(contents.items.size(), kMaxItems));
  for (size_t i = 0; i < std::min(contents.items.size(), kMaxItems); ++i) {
    const Item& item = contents.items[i];
    out.Number(item.depth);
    out.Text(item.name);
    out.Text(item.what);
    out.Place(item.where);
    out.Text(item.detail);
  }
  out.Number(std::min(contents.notes.size(), kMaxItems));
  for (size_t i = 0; i < std::min(contents.notes.size(), kMaxItems); ++i) {
    out.Text(contents.notes[i]);
  }
  return std::move(out.bytes);
}

Result<Contents> FromBytes(std::span<const std::byte> bytes, uint64_t file_size) {
  In in(bytes, file_size);
  Contents contents;
  for (uint64_t left = in.Number(16); left > 0 && in.ok(); --left) {
    contents.formats.push_back(Printable(in.Text()));
  }
  if (in.Flag()) contents.kernel = ReadKernel(in);
  contents.initrds = in.Parts();
  contents.trees = in.Parts();
  if (in.Flag()) contents.command_line = in.Text();
  contents.os_release = in.Text();
  for (uint64_t left = in.Number(kMaxItems); left > 0 && in.ok(); --left) {
    Item item;
    item.depth = static_cast<uint32_t>(in.Number(16));
    item.name = Printable(in.Text());
    item.what = Printable(in.Text());
    item.where = in.Place();
    item.detail = Printable(in.Text());
    contents.items.push_back(std::move(item));
  }
  for (uint64_t left = in.Number(kMaxItems); left > 0 && in.ok(); --left) {
    contents.notes.push_back(Printable(in.Text()));
  }
  if (!in.ok() || !in.at_end()) {
    return Fail(ExitCode::kInternal, "the image reader's answer", "it makes no sense");
  }
  return contents;
}

}  // namespace khop::image
