// SPDX-License-Identifier: MIT
// Known answers for the digests, for the host tests and for the arm64 program. Test-only.
#pragma once

#include <sys/auxv.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "core/digest/features.h"

namespace khop::digest::vectors {

struct Sha256Vector {
  std::string_view message;  // `repeat` times
  size_t repeat;
  std::string_view digest;  // hexadecimal
};

// FIPS 180-4 examples and NIST CAVP short messages.
inline constexpr Sha256Vector kSha256[] = {
    {"", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqr"
     "lmnopqrsmnopqrstnopqrstu",
     1, "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"},
    {"\xd3", 1, "28969cdfa74a12c82f3bad960b0b000aca2ac329deea5c2328ebc6f2ba9802c1"},
    {"\x11\xaf", 1, "5ca7133fa735326081558ac312c620eeca9970d1e70a4b95533d956f072d1f98"},
    {"a", 1'000'000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
};

struct Crc32cVector {
  std::array<uint8_t, 48> bytes;
  size_t size;
  uint32_t crc;
};

constexpr std::array<uint8_t, 48> Filled(uint8_t first, int step, size_t size) {
  std::array<uint8_t, 48> bytes{};
  for (size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<uint8_t>(first + step * static_cast<int>(i));
  }
  return bytes;
}

// RFC 3720 appendix B.4 (32 bytes of 0, of ones, ascending, descending; an iSCSI SCSI Read command)
// and the check value of the CRC catalogues, "123456789".
inline constexpr Crc32cVector kCrc32c[] = {
    {Filled(0, 0, 32), 32, 0x8a9136aa},
    {Filled(0xff, 0, 32), 32, 0x62a8ab43},
    {Filled(0, 1, 32), 32, 0x46dd794e},
    {Filled(31, -1, 32), 32, 0x113fdb5c},
    {{0x01, 0xc0, 0, 0,    0, 0, 0, 0,    0,    0, 0, 0, 0, 0, 0, 0, 0x14, 0, 0, 0, 0, 0, 4, 0,
      0,    0,    0, 0x14, 0, 0, 0, 0x18, 0x28, 0, 0, 0, 0, 0, 0, 0, 2,    0, 0, 0, 0, 0, 0, 0},
     48,
     0xd9963a56},
    {Filled('1', 1, 9), 9, 0xe3069283},
    {{}, 0, 0},
};

// What this CPU can run. Elsewhere than on arm64 everything may be asked for: the scalar forms take
// over.
inline DigestFeatures AllOfThisCpu() {
#if defined(__aarch64__)
  return DigestFeatures::FromHwcap(getauxval(AT_HWCAP));
#else
  return {.sha2 = true, .crc32 = true, .simd = true};
#endif
}

// Pseudo-random bytes, the same everywhere (xorshift64*).
inline std::vector<std::byte> RandomBytes(size_t size, uint64_t seed) {
  std::vector<std::byte> bytes(size);
  uint64_t x = seed * 2 + 1;
  for (std::byte& byte : bytes) {
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    byte = static_cast<std::byte>(x * 0x2545f4914f6cdd1d >> 56);
  }
  return bytes;
}

// The lengths that every form is tried on: all small ones, and some around larger blocks.
inline std::vector<size_t> Lengths() {
  std::vector<size_t> lengths;
  for (size_t i = 0; i <= 300; ++i) {
    lengths.push_back(i);
  }
  for (const size_t i : {1000U, 4095U, 4096U, 4097U, 65'535U, 65'600U, 1'000'003U}) {
    lengths.push_back(i);
  }
  return lengths;
}

// SHA-256 over the SHA-256 digests of RandomBytes(n, n) for n in Lengths(), one after the other,
// and CRC-32C over their big-endian CRC-32Cs. The host test computes both with other
// implementations (OpenSSL; CRC bit by bit) and compares; the arm64 program has them from here.
inline constexpr std::string_view kSha256OfAll =
    "20f567204c2d908d8690821d2ed975a6489d3f74f5aee24f595050c321e595f2";
inline constexpr uint32_t kCrc32cOfAll = 0x507225ee;

}  // namespace khop::digest::vectors
