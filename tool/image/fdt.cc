// SPDX-License-Identifier: MIT
#include "tool/image/fdt.h"

#include <algorithm>
#include <array>

#include "tool/image/bytes.h"

namespace khop::image {
namespace {

constexpr uint32_t kMagic = 0xd00dfeed;
constexpr size_t kHeaderSize = 40;
constexpr uint32_t kBeginNode = 1;
constexpr uint32_t kEndNode = 2;
constexpr uint32_t kProperty = 3;
constexpr uint32_t kNop = 4;
constexpr uint32_t kEnd = 9;
// More than any tree has that a machine boots by.
constexpr size_t kMaxNodes = 20'000;
constexpr size_t kMaxProperties = 200'000;
constexpr size_t kMaxDepth = 64;
constexpr size_t kMaxName = 256;
constexpr uint64_t kMaxStrings = uint64_t{1} << 20;
constexpr size_t kMaxValue = 4096;

// Walks over the structure block with a buffer; values are passed by.
class Cursor {
 public:
  Cursor(Source& file, Slice block) : file_(&file), block_(block) {}

  uint64_t offset() const { return block_.offset + at_; }  // in the file
  // Nothing at the end of the block.
  Result<std::optional<uint32_t>> Word() {
    std::array<std::byte, 4> bytes = {};
    const auto got = Bytes(bytes);
    if (!got) return Forward(got);
    if (!*got) return std::nullopt;
    return ReadBig<uint32_t>(bytes, 0);
  }
  Result<std::optional<std::string>> Name() {
    std::string name;
    for (std::array<std::byte, 1> byte = {}; name.size() <= kMaxName;) {
      const auto got = Bytes(byte);
      if (!got) return Forward(got);
      if (!*got) return std::nullopt;
      if (byte[0] == std::byte{0}) {
        Align();
        return name;
      }
      name += std::to_integer<char>(byte[0]);
    }
    return std::nullopt;
  }
  bool Skip(uint64_t size) {
    if (size > block_.size - std::min(at_, block_.size)) return false;
    at_ += size;
    Align();
    return true;
  }

 private:
  void Align() { at_ = (at_ + 3) & ~uint64_t{3}; }

  Result<bool> Bytes(std::span<std::byte> out) {
    if (at_ > block_.size || block_.size - at_ < out.size()) return false;
    if (at_ < start_ || at_ + out.size() > start_ + filled_) {
      buffer_.resize(16384);
      const auto size = std::min<uint64_t>(buffer_.size(), block_.size - at_);
      const auto got =
          file_->ReadAt(std::span(buffer_).first(static_cast<size_t>(size)), block_.offset + at_);
      if (!got) return Forward(got);
      start_ = at_;
      filled_ = *got;
      if (filled_ < out.size()) return false;
    }
    const auto from = buffer_.begin() + static_cast<ptrdiff_t>(at_ - start_);
    std::copy(from, from + static_cast<ptrdiff_t>(out.size()), out.begin());
    at_ += out.size();
    return true;
  }

  Source* file_;
  Slice block_;
  uint64_t at_ = 0;
  std::vector<std::byte> buffer_;
  uint64_t start_ = 0;
  size_t filled_ = 0;
};

}  // namespace

Result<Fdt> Fdt::Read(Source& file, Slice where, const std::string& name) {
  const auto damaged = [&](const std::string& why) {
    return Fail(ExitCode::kDamagedImage, name, "its device tree is damaged: " + why,
                "get the file again");
  };
  const auto header = file.Read(where, kHeaderSize);
  if (!header) return Forward(header);
  if (header->size() < kHeaderSize || *ReadBig<uint32_t>(*header, 0) != kMagic) {
    return damaged("no header");
  }
  Fdt fdt;
  fdt.total_size_ = *ReadBig<uint32_t>(*header, 4);
  if (fdt.total_size_ > where.size) {
    return Fail(ExitCode::kTruncated, name,
                "the device tree is cut short: it has " + std::to_string(where.size) +
                    " bytes of " + std::to_string(fdt.total_size_),
                "get the file again");
  }
  const Slice structure{*ReadBig<uint32_t>(*header, 8), *ReadBig<uint32_t>(*header, 36)};
  const Slice strings{*ReadBig<uint32_t>(*header, 12), *ReadBig<uint32_t>(*header, 32)};
  if (structure.end() > fdt.total_size_ || strings.end() > fdt.total_size_ ||
      strings.size > kMaxStrings || structure.offset % 4 != 0) {
    return damaged("its blocks are not in it");
  }
  const auto names = file.Read({where.offset + strings.offset, strings.size}, kMaxStrings);
  if (!names) return Forward(names);
  const std::string_view text(reinterpret_cast<const char*>(names->data()), names->size());

  Cursor cursor(file, {where.offset + structure.offset, structure.size});
  std::vector<size_t> open;
  size_t properties = 0;
  for (;;) {
    const auto token = cursor.Word();
    if (!token) return Forward(token);
    if (!*token) return damaged("it ends too early");
    switch (**token) {
      case kBeginNode: {
        const auto node = cursor.Name();
        if (!node) return Forward(node);
        const bool second_root = open.empty() && !fdt.nodes_.empty();
        if (!*node || second_root || open.size() >= kMaxDepth || fdt.nodes_.size() >= kMaxNodes) {
          return damaged("a node");
        }
        fdt.nodes_.push_back({**node, open.empty() ? 0 : open.back(), {}});
        open.push_back(fdt.nodes_.size() - 1);
        break;
      }
      case kEndNode:
        if (open.empty()) return damaged("a node ends that is not there");
        open.pop_back();
        break;
      case kProperty: {
        const auto size = cursor.Word();
        if (!size) return Forward(size);
        const auto name_offset = cursor.Word();
        if (!name_offset) return Forward(name_offset);
        if (open.empty() || !*size || !*name_offset || **name_offset >= text.size() ||
            ++properties > kMaxProperties) {
          return damaged("a property");
        }
        const std::string_view rest = text.substr(**name_offset);
        const size_t end = rest.find('\0');
        if (end == std::string_view::npos || end > kMaxName) return damaged("a property's name");
        const Slice value{cursor.offset(), **size};
        if (!cursor.Skip(**size)) return damaged("a property's size");
        fdt.nodes_[open.back()].properties.push_back({std::string(rest.substr(0, end)), value});
        break;
      }
      case kNop:
        break;
      case kEnd:
        if (!open.empty() || fdt.nodes_.empty()) return damaged("it ends too early");
        return fdt;
      default:
        return damaged("its structure");
    }
  }
}

std::optional<size_t> Fdt::FindChild(size_t node, std::string_view name) const {
  for (size_t i = 1; i < nodes_.size(); ++i) {
    if (nodes_[i].parent == node && nodes_[i].name == name) return i;
  }
  return std::nullopt;
}

std::vector<size_t> Fdt::Children(size_t node) const {
  std::vector<size_t> children;
  for (size_t i = 1; i < nodes_.size(); ++i) {
    if (nodes_[i].parent == node) children.push_back(i);
  }
  return children;
}

const FdtProperty* Fdt::Find(size_t node, std::string_view property) const {
  const auto& all = nodes_[node].properties;
  const auto found = std::ranges::find(all, property, &FdtProperty::name);
  return found == all.end() ? nullptr : &*found;
}

Result<std::vector<std::string>> ReadStrings(Source& file, Slice value) {
  std::vector<std::string> strings;
  if (value.size > kMaxValue) return strings;
  const auto bytes = file.Read(value, kMaxValue);
  if (!bytes) return Forward(bytes);
  std::string current;
  for (const std::byte byte : *bytes) {
    if (byte != std::byte{0}) {
      current += std::to_integer<char>(byte);
    } else {
      strings.push_back(std::move(current));
      current.clear();
    }
  }
  if (!current.empty()) strings.push_back(std::move(current));
  return strings;
}

Result<std::vector<std::string>> ReadRootCompatible(Source& file, Slice where) {
  const auto tree = Fdt::Read(file, where, "the device tree");
  if (!tree) return Forward(tree);
  const FdtProperty* const compatible = tree->Find(0, "compatible");
  if (compatible == nullptr) return std::vector<std::string>();
  return ReadStrings(file, compatible->value);
}

}  // namespace khop::image
