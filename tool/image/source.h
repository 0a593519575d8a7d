// SPDX-License-Identifier: MIT
// Bytes at offsets: a file, or a part of one. What reads them need not hold them all.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include "tool/base/error.h"

namespace khop::image {

// A part of a file.
struct Slice {
  uint64_t offset = 0;
  uint64_t size = 0;
  uint64_t end() const { return offset + size; }
  friend bool operator==(const Slice&, const Slice&) = default;
};

class Source {
 public:
  virtual ~Source() = default;
  virtual uint64_t size() const = 0;
  // Fills `out` from `offset` on; fewer bytes only at the end.
  virtual Result<size_t> ReadAt(std::span<std::byte> out, uint64_t offset) = 0;
  // Bytes from `offset` on where they are, until the next View(): as many of `size` as there is
  // room for, none only at the end.
  virtual Result<std::span<const std::byte>> View(uint64_t offset, uint64_t size) = 0;

  // Up to `limit` bytes of a slice; all of it if it is shorter. Fewer only if the file is.
  Result<std::vector<std::byte>> Read(Slice slice, size_t limit);
};

inline Result<std::vector<std::byte>> Source::Read(Slice slice, size_t limit) {
  std::vector<std::byte> bytes(static_cast<size_t>(std::min<uint64_t>(slice.size, limit)));
  const auto got = ReadAt(bytes, slice.offset);
  if (!got) return Forward(got);
  bytes.resize(*got);
  return bytes;
}

class MemorySource : public Source {
 public:
  explicit MemorySource(std::span<const std::byte> bytes) : bytes_(bytes) {}
  uint64_t size() const override { return bytes_.size(); }
  Result<size_t> ReadAt(std::span<std::byte> out, uint64_t offset) override {
    if (offset >= bytes_.size()) return size_t{0};
    const auto from = bytes_.subspan(static_cast<size_t>(offset));
    const size_t size = std::min(out.size(), from.size());
    if (size != 0) memcpy(out.data(), from.data(), size);
    return size;
  }
  Result<std::span<const std::byte>> View(uint64_t offset, uint64_t size) override {
    const auto at = static_cast<size_t>(std::min<uint64_t>(offset, bytes_.size()));
    return bytes_.subspan(at, static_cast<size_t>(std::min<uint64_t>(size, bytes_.size() - at)));
  }

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace khop::image
