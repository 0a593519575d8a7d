// SPDX-License-Identifier: MIT
// Images for tests, made field by field.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace khop::image {

using Bytes = std::vector<std::byte>;

template <class T>
void PutLittle(Bytes& bytes, size_t offset, T value) {
  if (bytes.size() < offset + sizeof(T)) bytes.resize(offset + sizeof(T));
  for (size_t i = 0; i < sizeof(T); ++i) {
    bytes[offset + i] = static_cast<std::byte>(static_cast<uint64_t>(value) >> (8 * i) & 0xff);
  }
}

inline void PutText(Bytes& bytes, size_t offset, std::string_view text) {
  if (bytes.size() < offset + text.size()) bytes.resize(offset + text.size());
  for (size_t i = 0; i < text.size(); ++i) bytes[offset + i] = static_cast<std::byte>(text[i]);
}

struct TestImage {
  uint64_t text_offset = 0;
  uint64_t image_size = 0x20000;
  uint64_t flags = 0xa;  // little-endian, 4 KiB pages, anywhere
  bool pe = true;
  size_t size = 0x10000;  // of the file; the sections of the PE header fill it
};

// A file as arch/arm64 builds it: header, PE header at 64 with .text and .data.
inline Bytes MakeImage(const TestImage& image = {}) {
  Bytes bytes(image.size);
  PutLittle<uint32_t>(bytes, 4, 0x14000000);  // b
  PutLittle(bytes, 8, image.text_offset);
  PutLittle(bytes, 16, image.image_size);
  PutLittle(bytes, 24, image.flags);
  PutText(bytes, 56, "ARM\x64");
  if (!image.pe) return bytes;
  PutLittle<uint32_t>(bytes, 0, 0xfa405a4d);  // ccmp x18, #0, #0xd, pl; "MZ"
  PutLittle<uint32_t>(bytes, 60, 64);
  PutText(bytes, 64, std::string_view("PE\0\0\x64\xaa\x02\0", 8));
  PutLittle<uint16_t>(bytes, 68 + 16, 160);  // of the optional header
  const size_t table = 68 + 20 + 160;
  PutText(bytes, table, ".text");
  PutLittle<uint32_t>(bytes, table + 16, 0x8000);
  PutLittle<uint32_t>(bytes, table + 20, 0x1000);
  PutText(bytes, table + 40, ".data");
  PutLittle<uint32_t>(bytes, table + 56, static_cast<uint32_t>(image.size - 0x9000));
  PutLittle<uint32_t>(bytes, table + 60, 0x9000);
  return bytes;
}

}  // namespace khop::image
