// SPDX-License-Identifier: MIT
// What the digests cost, in instructions: khop's forms and, on the same emulated CPU, OpenSSL's own
// code for arm64 (its object from libcrypto.a). A bare-metal program for QEMU with time made of
// instructions; bench/digest.cmake runs it.
#include <array>
#include <cstddef>
#include <cstdint>

#include "core/arm64/instructions.h"
#include "core/digest/crc32c.h"
#include "core/digest/sha256_pieces.h"
#include "core/relocator/baremetal/console.h"
#include "core/relocator/mmu.h"

extern "C" {
// OpenSSL: crypto/sha/asm/sha512-armv8.pl, crypto/arm_arch.h.
void sha256_block_data_order(uint32_t* state, const void* data, size_t blocks);
unsigned OPENSSL_armcap_P = 0;
// Of start.S, which is made for another program.
uint64_t probe_registers[9];
[[noreturn]] void ProbeMain() { khop::baremetal::Exit(2); }
[[noreturn]] void HarnessException() {
  khop::baremetal::Print("FAIL exception\n");
  khop::baremetal::Exit(2);
}
}

namespace khop::bench {
namespace {

using baremetal::Exit;
using baremetal::Expect;
using baremetal::Print;
using baremetal::PrintHex;
using digest::DigestFeatures;
using digest::Sha256Digest;

constexpr uint64_t kData = 0x4800'0000;  // QEMU virt: RAM, beyond this program
constexpr uint64_t kPiece = uint64_t{2} << 20;
constexpr uint64_t kPieces = 4;
constexpr unsigned kArmv7Neon = 1U << 0;
constexpr unsigned kArmv8Sha256 = 1U << 4;

std::span<const std::byte> Piece(uint64_t index) {
  return {reinterpret_cast<const std::byte*>(kData + index * kPiece), kPiece};
}

template <typename Work>
void Count(const char* name, Work work) {
  const uint64_t start = arm64::ReadCntvct();
  work();
  const uint64_t ticks = arm64::ReadCntvct() - start;
  Print(name);
  Print(" bytes=");
  PrintHex(kPieces * kPiece);
  Print(" ticks=");
  PrintHex(ticks);
  Print("\n");
}

Sha256Digest of_khop[kPieces];

void CountSha256(const char* name, DigestFeatures features) {
  Count(name, [&] {
    uint64_t given = 0;
    digest::Sha256OfEach(
        features,
        [&]() -> digest::Sha256Message {
          if (given == kPieces) return {};
          ++given;
          return {Piece(given - 1), given - 1, true};
        },
        [&](uint64_t index, const Sha256Digest& digest) {
          of_khop[index] = digest;
          return true;
        });
  });
}

// The whole pieces without the padding, whose block is nothing beside them.
void CountOpenSsl(const char* name, unsigned capabilities) {
  OPENSSL_armcap_P = capabilities;
  Count(name, [&] {
    for (uint64_t i = 0; i < kPieces; ++i) {
      alignas(16) std::array<uint32_t, 8> state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                                   0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
      sha256_block_data_order(state.data(), Piece(i).data(), kPiece / 64);
      alignas(16) std::byte last[64] = {std::byte{0x80}};
      for (int byte = 0; byte < 8; ++byte) {
        last[56 + byte] = static_cast<std::byte>(kPiece * 8 >> (56 - 8 * byte) & 0xff);
      }
      sha256_block_data_order(state.data(), last, 1);
      for (size_t word = 0; word < state.size(); ++word) {
        for (size_t byte = 0; byte < 4; ++byte) {
          const auto expected = static_cast<std::byte>(state[word] >> (24 - 8 * byte) & 0xff);
          Expect(of_khop[i][4 * word + byte] == expected, "digest", i);
        }
      }
    }
  });
}

uint32_t sums[2];

void CountCrc32c(const char* name, DigestFeatures features, uint32_t* sum) {
  Count(name, [&] {
    *sum = 0;
    for (uint64_t i = 0; i < kPieces; ++i) *sum = *sum * 31 + digest::Crc32c(Piece(i), features);
  });
}

void Run() {
  relocator::AllowFp<arm64::Regime::kEl1>();
  auto* const words = reinterpret_cast<uint64_t*>(kData);
  for (uint64_t i = 0; i < kPieces * kPiece / 8; ++i) words[i] = (i + 1) * 0x9e37'79b9'7f4a'7c15;
  const DigestFeatures all = {.sha2 = true, .crc32 = true, .simd = true};
  CountSha256("sha256-scalar", DigestFeatures::Scalar());
  CountOpenSsl("openssl-scalar", 0);
  CountSha256("sha256-simd", all.WithoutInstructions());
  CountOpenSsl("openssl-neon", kArmv7Neon);
  CountSha256("sha256-sha2", all);
  CountOpenSsl("openssl-sha2", kArmv7Neon | kArmv8Sha256);
  CountCrc32c("crc32c-scalar", DigestFeatures::Scalar(), &sums[0]);
  CountCrc32c("crc32c-crc32", all, &sums[1]);
  Expect(sums[0] == sums[1], "CRC-32C", sums[1]);
  Print("digests: done\n");
  Exit(0);
}

}  // namespace
}  // namespace khop::bench

extern "C" [[noreturn]] void HarnessMain() {
  khop::bench::Run();
  khop::baremetal::Exit(1);
}
