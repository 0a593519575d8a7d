// SPDX-License-Identifier: MIT
// Compressed kernels and containers for tests, made by the libraries and field by field.
#pragma once

#include <bzlib.h>
#include <lz4.h>
#include <lz4frame.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tool/image/test_image.h"

namespace khop::image {

// An Image whose bytes do not all compress, with a banner.
inline Bytes NoisyImage() {
  Bytes image = MakeImage();
  uint32_t state = 1;
  for (size_t i = 0x2000; i < image.size(); ++i) {
    state = state * 1664525 + 1013904223;
    image[i] = static_cast<std::byte>(i % 512 < 200 ? state >> 24 : i / 300 & 0xff);
  }
  PutText(image, 0x7ff0, "Linux version 6.12.0-test (lab) ");
  return image;
}

inline Bytes PackGzip(const Bytes& bytes) {
  z_stream stream = {};
  deflateInit2(&stream, 6, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY);
  Bytes out(deflateBound(&stream, bytes.size()) + 64);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

inline Bytes PackBy(lzma_stream stream, const Bytes& bytes) {
  Bytes out(bytes.size() + 65536);
  stream.next_in = reinterpret_cast<const uint8_t*>(bytes.data());
  stream.avail_in = bytes.size();
  stream.next_out = reinterpret_cast<uint8_t*>(out.data());
  stream.avail_out = out.size();
  (void)!lzma_code(&stream, LZMA_FINISH);
  out.resize(stream.total_out);
  lzma_end(&stream);
  return out;
}

inline Bytes PackXz(const Bytes& bytes) {
  lzma_stream stream = LZMA_STREAM_INIT;
  (void)!lzma_easy_encoder(&stream, 0, LZMA_CHECK_CRC32);
  return PackBy(stream, bytes);
}

inline Bytes PackLzma(const Bytes& bytes) {
  lzma_options_lzma options;
  lzma_lzma_preset(&options, 0);
  lzma_stream stream = LZMA_STREAM_INIT;
  (void)!lzma_alone_encoder(&stream, &options);
  return PackBy(stream, bytes);
}

inline Bytes PackZstd(const Bytes& bytes) {
  Bytes out(ZSTD_compressBound(bytes.size()));
  ZSTD_CCtx* const context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  out.resize(ZSTD_compress2(context, out.data(), out.size(), bytes.data(), bytes.size()));
  ZSTD_freeCCtx(context);
  return out;
}

inline Bytes PackLz4(const Bytes& bytes) {
  LZ4F_preferences_t preferences = LZ4F_INIT_PREFERENCES;
  preferences.frameInfo.contentChecksumFlag = LZ4F_contentChecksumEnabled;
  Bytes out(LZ4F_compressFrameBound(bytes.size(), &preferences));
  out.resize(LZ4F_compressFrame(out.data(), out.size(), bytes.data(), bytes.size(), &preferences));
  return out;
}

inline Bytes PackLz4Legacy(const Bytes& bytes) {
  constexpr size_t kBlock = size_t{8} << 20;
  Bytes out;
  PutLittle<uint32_t>(out, 0, 0x184c2102);
  for (size_t at = 0; at < bytes.size(); at += kBlock) {
    const size_t size = std::min(kBlock, bytes.size() - at);
    Bytes block(static_cast<size_t>(LZ4_compressBound(static_cast<int>(size))));
    const int packed = LZ4_compress_default(reinterpret_cast<const char*>(bytes.data() + at),
                                            reinterpret_cast<char*>(block.data()),
                                            static_cast<int>(size), static_cast<int>(block.size()));
    PutLittle<uint32_t>(out, out.size(), static_cast<uint32_t>(packed));
    out.insert(out.end(), block.begin(), block.begin() + packed);
  }
  return out;
}

inline Bytes PackBzip2(const Bytes& bytes) {
  Bytes out(bytes.size() + bytes.size() / 100 + 600);
  auto size = static_cast<unsigned>(out.size());
  BZ2_bzBuffToBuffCompress(reinterpret_cast<char*>(out.data()), &size,
                           reinterpret_cast<char*>(const_cast<std::byte*>(bytes.data())),
                           static_cast<unsigned>(bytes.size()), 1, 0, 0);
  out.resize(size);
  return out;
}

inline std::vector<std::pair<const char*, std::function<Bytes(const Bytes&)>>> Packers() {
  return {{"gzip", PackGzip}, {"xz", PackXz},         {"lzma", PackLzma},  {"zstd", PackZstd},
          {"lz4", PackLz4},   {"lz4", PackLz4Legacy}, {"bzip2", PackBzip2}};
}

// The payload at 512.
inline Bytes MakeZboot(const Bytes& payload, std::string_view compression) {
  Bytes file(512);
  PutText(file, 0, std::string_view("MZ\0\0zimg", 8));
  PutLittle<uint32_t>(file, 8, 512);
  PutLittle<uint32_t>(file, 12, static_cast<uint32_t>(payload.size()));
  PutText(file, 24, compression);
  PutLittle<uint32_t>(file, 60, 64);
  PutText(file, 64, std::string_view("PE\0\0\x64\xaa", 6));
  file.insert(file.end(), payload.begin(), payload.end());
  return file;
}

// PE header at 128, sections from 4096 on, each padded to 512 bytes.
inline Bytes MakeUki(const std::vector<std::pair<std::string_view, Bytes>>& sections) {
  Bytes file(4096);
  PutText(file, 0, "MZ");
  PutLittle<uint32_t>(file, 60, 128);
  PutText(file, 128, std::string_view("PE\0\0\x64\xaa", 6));
  PutLittle<uint16_t>(file, 128 + 6, static_cast<uint16_t>(sections.size()));
  size_t entry = 128 + 24;
  for (const auto& [name, bytes] : sections) {
    PutText(file, entry, name);
    PutLittle<uint32_t>(file, entry + 8, static_cast<uint32_t>(bytes.size()));
    PutLittle<uint32_t>(file, entry + 16, static_cast<uint32_t>((bytes.size() + 511) / 512 * 512));
    PutLittle<uint32_t>(file, entry + 20, static_cast<uint32_t>(file.size()));
    entry += 40;
    file.insert(file.end(), bytes.begin(), bytes.end());
    file.resize((file.size() + 511) / 512 * 512);
  }
  return file;
}

// `image` as two segments, cut at `cut`.
inline Bytes MakeElf(const Bytes& image, size_t cut, uint64_t address) {
  Bytes file(64 + 2 * 56);
  PutText(file, 0,
          std::string_view("\x7f"
                           "ELF\x02\x01\x01",
                           7));
  PutLittle<uint16_t>(file, 16, 2);
  PutLittle<uint16_t>(file, 18, 183);
  PutLittle<uint64_t>(file, 32, 64);
  PutLittle<uint16_t>(file, 54, 56);
  PutLittle<uint16_t>(file, 56, 2);
  for (size_t i = 0; i < 2; ++i) {
    const size_t header = 64 + 56 * i;
    const size_t from = i == 0 ? 0 : cut;
    const size_t size = i == 0 ? cut : image.size() - cut;
    PutLittle<uint32_t>(file, header, 1);
    PutLittle<uint64_t>(file, header + 8, file.size());
    PutLittle<uint64_t>(file, header + 16, address + from);
    PutLittle<uint64_t>(file, header + 24, address + from);
    PutLittle<uint64_t>(file, header + 32, size);
    PutLittle<uint64_t>(file, header + 40, size + 4096 * i);
    file.insert(file.end(), image.begin() + static_cast<ptrdiff_t>(from),
                image.begin() + static_cast<ptrdiff_t>(from + size));
  }
  return file;
}

inline void PutBig(Bytes& bytes, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) {
    bytes.push_back(static_cast<std::byte>(value >> shift & 0xff));
  }
}

// A device tree with nothing but a compatible string.
inline Bytes MakeTree(std::string_view compatible) {
  Bytes structure;
  PutBig(structure, 1);
  PutBig(structure, 0);
  PutBig(structure, 3);
  PutBig(structure, static_cast<uint32_t>(compatible.size() + 1));
  PutBig(structure, 0);
  PutText(structure, structure.size(), compatible);
  structure.resize((structure.size() + 4) & ~size_t{3});
  PutBig(structure, 2);
  PutBig(structure, 9);
  Bytes tree;
  const auto size = static_cast<uint32_t>(structure.size());
  for (const uint32_t word :
       {0xd00dfeedU, 56 + size + 12, 56U, 56 + size, 40U, 17U, 16U, 0U, 11U, size}) {
    PutBig(tree, word);
  }
  tree.resize(56);  // one empty reservation
  tree.insert(tree.end(), structure.begin(), structure.end());
  PutText(tree, tree.size(), std::string_view("compatible\0\0", 12));
  return tree;
}

}  // namespace khop::image
