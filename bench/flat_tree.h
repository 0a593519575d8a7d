// SPDX-License-Identifier: MIT
// A reader of flattened device trees (Devicetree Specification 0.4, chapter 5) for a program
// without an operating system: one walk, nothing copied, nothing believed that is not within
// bounds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace khop::bench {

using Bytes = std::span<const std::byte>;

inline size_t Length(const char* text) {
  size_t length = 0;
  while (text[length] != '\0') ++length;
  return length;
}

inline uint32_t BigEndian32(Bytes bytes, size_t at) {
  uint32_t value = 0;
  for (size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<uint32_t>(bytes[at + i]);
  return value;
}

// The number of `cells` 32-bit cells at `*at`, which is moved on. False if there are too few, or
// the number has more than 64 bits.
inline bool TakeCells(Bytes bytes, size_t* at, uint32_t cells, uint64_t* value) {
  *value = 0;
  if (cells > 4 || bytes.size() - *at < cells * size_t{4}) return false;
  for (uint32_t i = 0; i < cells; ++i, *at += 4) {
    if (*value >> 32 != 0) return false;
    *value = *value << 32 | BigEndian32(bytes, *at);
  }
  return true;
}

// Whether `bytes` is a list of strings with `text` in it (or one string that it is).
inline bool HasString(Bytes bytes, const char* text) {
  const size_t length = Length(text) + 1;
  for (size_t at = 0; at < bytes.size();) {
    size_t end = at;
    while (end < bytes.size() && bytes[end] != std::byte{0}) ++end;
    if (end == bytes.size()) return false;
    if (end + 1 - at == length && memcmp(&bytes[at], text, length) == 0) return true;
    at = end + 1;
  }
  return false;
}

class FlatTree {
 public:
  // No tree: size() is 0. `address` is anything.
  explicit FlatTree(uint64_t address) {
    if (address == 0 || address % 8 != 0) return;
    const Bytes header(reinterpret_cast<const std::byte*>(address), 40);
    if (BigEndian32(header, 0) != 0xd00dfeed) return;
    const uint32_t size = BigEndian32(header, 4);
    const uint32_t structure = BigEndian32(header, 8);
    const uint32_t strings = BigEndian32(header, 12);
    const uint32_t reserve = BigEndian32(header, 16);
    const uint32_t strings_size = BigEndian32(header, 32);
    const uint32_t structure_size = BigEndian32(header, 36);
    if (size < 40 || size > (uint32_t{2} << 20) || structure > size || structure % 4 != 0 ||
        structure_size > size - structure || strings > size || strings_size > size - strings ||
        reserve > size || reserve % 8 != 0) {
      return;
    }
    all_ = Bytes(header.data(), size);
    structure_ = all_.subspan(structure, structure_size);
    strings_ = all_.subspan(strings, strings_size);
    reserve_ = all_.subspan(reserve);
  }

  uint64_t address() const { return reinterpret_cast<uint64_t>(all_.data()); }
  uint64_t size() const { return all_.size(); }

  // handler(start, size) for each entry of the memory reservation block.
  template <typename Handler>
  void ForEachReservation(Handler handler) const {
    for (size_t at = 0; reserve_.size() - at >= 16;) {
      uint64_t start = 0;
      uint64_t size = 0;
      TakeCells(reserve_, &at, 2, &start);
      TakeCells(reserve_, &at, 2, &size);
      if (start == 0 && size == 0) return;
      handler(start, size);
    }
  }

  // Calls visitor.Begin(name), .Property(name, bytes), .End() in the order of the tree. False if
  // the tree is not well formed; what was called until then stands.
  template <typename Visitor>
  bool Walk(Visitor& visitor) const {
    constexpr uint32_t kBegin = 1, kEnd = 2, kProperty = 3, kNop = 4, kLast = 9;
    size_t depth = 0;
    for (size_t at = 0; structure_.size() - at >= 4;) {
      const uint32_t token = BigEndian32(structure_, at);
      at += 4;
      if (token == kNop) continue;
      if (token == kLast) return depth == 0;
      if (token == kBegin) {
        const char* const name = StringAt(structure_, at);
        if (name == nullptr) return false;
        visitor.Begin(name);
        ++depth;
        at = (at + Length(name) + 4) / 4 * 4;
      } else if (token == kEnd) {
        if (depth-- == 0) return false;
        visitor.End();
      } else if (token == kProperty && depth != 0 && structure_.size() - at >= 8) {
        const uint32_t size = BigEndian32(structure_, at);
        const char* const name = StringAt(strings_, BigEndian32(structure_, at + 4));
        at += 8;
        if (name == nullptr || size > structure_.size() - at) return false;
        visitor.Property(name, structure_.subspan(at, size));
        at = (at + size + 3) / 4 * 4;
      } else {
        return false;
      }
      if (at > structure_.size()) return false;
    }
    return false;
  }

 private:
  // nullptr if it does not end within `bytes`.
  static const char* StringAt(Bytes bytes, size_t at) {
    for (size_t end = at; end < bytes.size(); ++end) {
      if (bytes[end] == std::byte{0}) return reinterpret_cast<const char*>(&bytes[at]);
    }
    return nullptr;
  }

  Bytes all_, structure_, strings_, reserve_;
};

}  // namespace khop::bench
