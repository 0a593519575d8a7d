// SPDX-License-Identifier: MIT
#include "tool/image/hash.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "core/digest/sha256.h"

namespace khop::image {
namespace {

template <class T>
void PutBig(std::vector<std::byte>& out, T value) {
  for (size_t i = sizeof(T); i-- > 0;) {
    out.push_back(static_cast<std::byte>(static_cast<uint64_t>(value) >> (8 * i) & 0xff));
  }
}

template <class T>
T GetBig(const std::byte* at) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    value = static_cast<T>(value << 8 | std::to_integer<T>(at[i]));
  }
  return value;
}

class Crc32 : public Hash {
 public:
  void Update(std::span<const std::byte> data) override {
    crc_ = crc32_z(crc_, reinterpret_cast<const Bytef*>(data.data()), data.size());
  }
  std::vector<std::byte> Finish() override {
    std::vector<std::byte> out;
    PutBig(out, static_cast<uint32_t>(crc_));
    return out;
  }

 private:
  uLong crc_ = crc32_z(0, nullptr, 0);
};

class Sha256 : public Hash {
 public:
  void Update(std::span<const std::byte> data) override { sha256_.Update(data); }
  std::vector<std::byte> Finish() override {
    const digest::Sha256Digest digest = sha256_.Finish();
    return {digest.begin(), digest.end()};
  }

 private:
  digest::Sha256 sha256_{digest::DigestFeatures{}};
};

// What SHA-1 and SHA-512 have in common: blocks, and the padding with the length in bits.
template <size_t kBlock, size_t kLengthBytes>
class Blocks : public Hash {
 public:
  void Update(std::span<const std::byte> data) override {
    length_ += data.size();
    while (!data.empty()) {
      const size_t size = std::min(kBlock - used_, data.size());
      memcpy(block_.data() + used_, data.data(), size);
      used_ += size;
      data = data.subspan(size);
      if (used_ == kBlock) Flush();
    }
  }

 protected:
  virtual void Compress(const std::byte* block) = 0;
  void Pad() {
    const uint64_t bits = length_ * 8;
    block_[used_++] = std::byte{0x80};
    if (used_ > kBlock - kLengthBytes) {
      std::fill(block_.begin() + static_cast<ptrdiff_t>(used_), block_.end(), std::byte{0});
      Flush();
    }
    std::fill(block_.begin() + static_cast<ptrdiff_t>(used_), block_.end(), std::byte{0});
    for (size_t i = 0; i < 8; ++i) {
      block_[kBlock - 1 - i] = static_cast<std::byte>(bits >> (8 * i) & 0xff);
    }
    Flush();
  }

 private:
  void Flush() {
    Compress(block_.data());
    used_ = 0;
  }
  std::array<std::byte, kBlock> block_ = {};
  size_t used_ = 0;
  uint64_t length_ = 0;
};

class Sha1 : public Blocks<64, 8> {
 public:
  std::vector<std::byte> Finish() override {
    Pad();
    std::vector<std::byte> out;
    for (const uint32_t word : state_) PutBig(out, word);
    return out;
  }

 private:
  void Compress(const std::byte* block) override {
    std::array<uint32_t, 80> w;
    for (size_t i = 0; i < 80; ++i) {
      w[i] = i < 16 ? GetBig<uint32_t>(block + 4 * i)
                    : std::rotl(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    }
    auto [a, b, c, d, e] = state_;
    for (size_t i = 0; i < 80; ++i) {
      const uint32_t f = i < 20   ? (b & c) | (~b & d)
                         : i < 40 ? b ^ c ^ d
                         : i < 60 ? (b & c) | (b & d) | (c & d)
                                  : b ^ c ^ d;
      static constexpr std::array<uint32_t, 4> kConstants = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc,
                                                             0xca62c1d6};
      const uint32_t next = std::rotl(a, 5) + f + e + kConstants[i / 20] + w[i];
      e = d;
      d = c;
      c = std::rotl(b, 30);
      b = a;
      a = next;
    }
    const std::array<uint32_t, 5> add = {a, b, c, d, e};
    for (size_t i = 0; i < 5; ++i) state_[i] += add[i];
  }

  std::array<uint32_t, 5> state_ = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
};

constexpr std::array<uint64_t, 80> kSha512Constants = {
    0x428a2f98d728ae22, 0x7137449123ef65cd, 0xb5c0fbcfec4d3b2f, 0xe9b5dba58189dbbc,
    0x3956c25bf348b538, 0x59f111f1b605d019, 0x923f82a4af194f9b, 0xab1c5ed5da6d8118,
    0xd807aa98a3030242, 0x12835b0145706fbe, 0x243185be4ee4b28c, 0x550c7dc3d5ffb4e2,
    0x72be5d74f27b896f, 0x80deb1fe3b1696b1, 0x9bdc06a725c71235, 0xc19bf174cf692694,
    0xe49b69c19ef14ad2, 0xefbe4786384f25e3, 0x0fc19dc68b8cd5b5, 0x240ca1cc77ac9c65,
    0x2de92c6f592b0275, 0x4a7484aa6ea6e483, 0x5cb0a9dcbd41fbd4, 0x76f988da831153b5,
    0x983e5152ee66dfab, 0xa831c66d2db43210, 0xb00327c898fb213f, 0xbf597fc7beef0ee4,
    0xc6e00bf33da88fc2, 0xd5a79147930aa725, 0x06ca6351e003826f, 0x142929670a0e6e70,
    0x27b70a8546d22ffc, 0x2e1b21385c26c926, 0x4d2c6dfc5ac42aed, 0x53380d139d95b3df,
    0x650a73548baf63de, 0x766a0abb3c77b2a8, 0x81c2c92e47edaee6, 0x92722c851482353b,
    0xa2bfe8a14cf10364, 0xa81a664bbc423001, 0xc24b8b70d0f89791, 0xc76c51a30654be30,
    0xd192e819d6ef5218, 0xd69906245565a910, 0xf40e35855771202a, 0x106aa07032bbd1b8,
    0x19a4c116b8d2d0c8, 0x1e376c085141ab53, 0x2748774cdf8eeb99, 0x34b0bcb5e19b48a8,
    0x391c0cb3c5c95a63, 0x4ed8aa4ae3418acb, 0x5b9cca4f7763e373, 0x682e6ff3d6b2b8a3,
    0x748f82ee5defb2fc, 0x78a5636f43172f60, 0x84c87814a1f0ab72, 0x8cc702081a6439ec,
    0x90befffa23631e28, 0xa4506cebde82bde9, 0xbef9a3f7b2c67915, 0xc67178f2e372532b,
    0xca273eceea26619c, 0xd186b8c721c0c207, 0xeada7dd6cde0eb1e, 0xf57d4f7fee6ed178,
    0x06f067aa72176fba, 0x0a637dc5a2c898a6, 0x113f9804bef90dae, 0x1b710b35131c471b,
    0x28db77f523047d84, 0x32caab7b40c72493, 0x3c9ebe0a15c9bebc, 0x431d67c49c100d4c,
    0x4cc5d4becb3e42b6, 0x597f299cfc657e2a, 0x5fcb6fab3ad6faec, 0x6c44198c4a475817};

class Sha512 : public Blocks<128, 16> {
 public:
  Sha512(const std::array<uint64_t, 8>& start, size_t size) : state_(start), size_(size) {}
  std::vector<std::byte> Finish() override {
    Pad();
    std::vector<std::byte> out;
    for (const uint64_t word : state_) PutBig(out, word);
    out.resize(size_);
    return out;
  }

 private:
  void Compress(const std::byte* block) override {
    std::array<uint64_t, 80> w;
    for (size_t i = 0; i < 80; ++i) {
      if (i < 16) {
        w[i] = GetBig<uint64_t>(block + 8 * i);
        continue;
      }
      const uint64_t s0 = std::rotr(w[i - 15], 1) ^ std::rotr(w[i - 15], 8) ^ (w[i - 15] >> 7);
      const uint64_t s1 = std::rotr(w[i - 2], 19) ^ std::rotr(w[i - 2], 61) ^ (w[i - 2] >> 6);
      w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    std::array<uint64_t, 8> v = state_;
    auto& [a, b, c, d, e, f, g, h] = v;
    for (size_t i = 0; i < 80; ++i) {
      const uint64_t s1 = std::rotr(e, 14) ^ std::rotr(e, 18) ^ std::rotr(e, 41);
      const uint64_t t1 = h + s1 + ((e & f) ^ (~e & g)) + kSha512Constants[i] + w[i];
      const uint64_t s0 = std::rotr(a, 28) ^ std::rotr(a, 34) ^ std::rotr(a, 39);
      const uint64_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
      h = g;
      g = f;
      f = e;
      e = d + t1;
      d = c;
      c = b;
      b = a;
      a = t1 + t2;
    }
    for (size_t i = 0; i < 8; ++i) state_[i] += v[i];
  }

  std::array<uint64_t, 8> state_;
  size_t size_;
};

constexpr std::array<uint64_t, 8> kSha512Start = {
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
    0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179};
constexpr std::array<uint64_t, 8> kSha384Start = {
    0xcbbb9d5dc1059ed8, 0x629a292a367cd507, 0x9159015a3070dd17, 0x152fecd8f70e5939,
    0x67332667ffc00b31, 0x8eb44a8768581511, 0xdb0c2e0d64f98fa7, 0x47b5481dbefa4fa4};

}  // namespace

std::unique_ptr<Hash> MakeHash(std::string_view name) {
  if (name == "crc32") return std::make_unique<Crc32>();
  if (name == "sha1") return std::make_unique<Sha1>();
  if (name == "sha256") return std::make_unique<Sha256>();
  if (name == "sha384") return std::make_unique<Sha512>(kSha384Start, 48);
  if (name == "sha512") return std::make_unique<Sha512>(kSha512Start, 64);
  return nullptr;
}

}  // namespace khop::image
