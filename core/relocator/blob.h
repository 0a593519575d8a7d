// SPDX-License-Identifier: MIT
// The relocator as its users see it: one position-independent blob. Its first bytes are this
// header. The loader copies the blob to where it will run, fills in `parameters` and has the
// running kernel jump to the blob's first byte (MMU off, x0..x3 ignored, DAIF masked).
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace khop::relocator {

inline constexpr uint32_t kBlobMagic = 0x4252484b;  // "KHRB", little-endian
inline constexpr uint32_t kBlobVersion = 2;

enum class UartKind : uint8_t { kNone = 0, kPl011 = 1, k8250 = 2 };
enum class PsciConduit : uint8_t { kNone = 0, kSmc = 1, kHvc = 2 };

// What the relocator needs when it cannot go on. Here and not in the hand-off, so that a hand-off
// it does not understand can still be reported.
struct LastWords {
  uint64_t uart_base;  // physical; 0 with kNone
  UartKind uart_kind;
  uint8_t uart_reg_shift;  // register n is at base + (n << shift); 8250 only
  uint8_t uart_io_width;   // bytes of one access: 1, 2 or 4
  PsciConduit conduit;
  uint32_t record_size = 0;  // bytes, at least handoff::kMinFailureRecord; 0 without a record
  uint64_t record_base = 0;  // physical: where the failure record goes, handoff/failure_record.h
  uint64_t loaded_at = 0;    // seconds since 1970: tells the record of one hop from that of another
  uint32_t check;            // LastWordsCheck() of the rest
  uint32_t reserved = 0;
};

// Detects a damaged block without a digest: the words, mixed so that a flip of any bit shows.
constexpr uint32_t LastWordsCheck(const LastWords& w) {
  const uint64_t packed = static_cast<uint64_t>(w.uart_kind) |
                          static_cast<uint64_t>(w.uart_reg_shift) << 8 |
                          static_cast<uint64_t>(w.uart_io_width) << 16 |
                          static_cast<uint64_t>(w.conduit) << 24 | uint64_t{0x6b686f70} << 32;
  uint64_t x = w.uart_base ^ (packed << 7 | packed >> 57);
  for (const uint64_t word : {w.record_base, uint64_t{w.record_size}, w.loaded_at}) {
    x = (x << 9 | x >> 55) ^ word;
  }
  return static_cast<uint32_t>(x ^ (x >> 32));
}

// Filled in by the loader. Offsets are bytes from the blob's first byte.
struct BlobParameters {
  LastWords last_words;
  uint64_t handoff_offset;
  uint64_t stack_offset;  // multiple of the granule, at most 64 KiB; the stack's lowest byte
  uint64_t stack_size;    // at least kMinStackSize, a multiple of 64
};

struct BlobHeader {
  uint32_t branch;  // to the first instruction proper
  uint32_t magic;
  uint32_t version;
  uint32_t size;  // of the blob, bytes: all of it code and constants, nothing is ever written
  BlobParameters parameters;
};

inline constexpr uint64_t kMinStackSize = 8192;
// Every blob is smaller (relocator.ld), so that entry.S knows how far its stack can be.
inline constexpr uint64_t kBlobLimit = 0x1'0000;

// entry.S uses these numbers.
static_assert(sizeof(LastWords) == 40 && sizeof(BlobParameters) == 64 && sizeof(BlobHeader) == 80);
static_assert(offsetof(BlobHeader, parameters) == 16);
static_assert(offsetof(BlobHeader, parameters.handoff_offset) == 56);
static_assert(offsetof(BlobHeader, parameters.stack_offset) == 64);
static_assert(offsetof(BlobHeader, parameters.stack_size) == 72);

}  // namespace khop::relocator
