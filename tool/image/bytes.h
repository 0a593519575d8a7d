// SPDX-License-Identifier: MIT
// Numbers at an offset of a file's first bytes. Reading past the end gives nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace khop::image {

template <class T>
std::optional<T> ReadLittle(std::span<const std::byte> bytes, uint64_t offset) {
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) return std::nullopt;
  T value = 0;
  for (size_t i = sizeof(T); i-- > 0;) {
    const auto b = std::to_integer<T>(bytes[static_cast<size_t>(offset) + i]);
    // A single byte's T cannot be shifted by 8.
    value = static_cast<T>(sizeof(T) == 1 ? b : (static_cast<uint64_t>(value) << 8 | b));
  }
  return value;
}

// The same for a big-endian number.
template <class T>
std::optional<T> ReadBig(std::span<const std::byte> bytes, uint64_t offset) {
  if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) return std::nullopt;
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    value = value << 8 | std::to_integer<uint64_t>(bytes[static_cast<size_t>(offset) + i]);
  }
  return static_cast<T>(value);
}

// Whether `text` stands at `offset`.
inline bool HasAt(std::span<const std::byte> bytes, uint64_t offset, std::string_view text) {
  if (offset > bytes.size() || bytes.size() - offset < text.size()) return false;
  const auto at = bytes.subspan(static_cast<size_t>(offset), text.size());
  return std::string_view(reinterpret_cast<const char*>(at.data()), at.size()) == text;
}

}  // namespace khop::image
