// SPDX-License-Identifier: MIT
// The hand-off: the contract in memory between the loader, which builds the block whole, and the
// relocator, which only reads it. All fields are little-endian; arrays are named by their offset
// from the start of the block, never by pointers. docs/handoff.md tells it in prose.
#pragma once

#include <cstddef>
#include <cstdint>

namespace khop::handoff {

// "khopHOP1" read as a little-endian number.
inline constexpr uint64_t kMagic = 0x31504f48'706f686b;
// A relocator refuses another major version; a higher minor version only adds what it may ignore.
inline constexpr uint16_t kVersionMajor = 1;
inline constexpr uint16_t kVersionMinor = 0;

// Digests are taken over pieces of this many bytes; the last piece of a range may be shorter.
inline constexpr uint64_t kPieceSize = uint64_t{2} << 20;
// Moves start, end and arrive on multiples of this: a whole number of cache lines of any core.
inline constexpr uint64_t kMoveAlignment = 4096;

enum class DigestKind : uint32_t { kNone = 0, kSha256 = 1, kCrc32c = 2 };
inline constexpr uint32_t kMaxDigestSize = 32;
// Bytes of one digest in the digest array; 0 for kNone and for kinds not known.
constexpr uint32_t DigestSize(DigestKind kind) {
  switch (kind) {
    case DigestKind::kSha256:
      return 32;
    case DigestKind::kCrc32c:
      return 4;
    case DigestKind::kNone:
      break;
  }
  return 0;
}

enum Flags : uint32_t {
  // Take the scalar digests even if the CPU has instructions for them.
  kForceScalarDigest = 1U << 0,
  // The entry is a Linux arm64 Image: refuse to jump if its header is not there (booting.rst).
  kLinuxImage = 1U << 1,
  // As on a CPU without instructions for digests: the vector registers may still be used.
  kNoDigestInstructions = 1U << 2,
  // The payload is verified before reboot(2) where it can be: the word behind the stamp says
  // whether
  // it was (EarlyWord). If not, the relocator verifies it as ever. Only with a stamp and SHA-256.
  kVerifyEarly = 1U << 3,
  // The entry is something else (a purgatory) that gets x0 = 0; the dtb, if one is named, is only
  // where the timeline goes.
  kPlainEntry = 1U << 4,
};
inline constexpr uint32_t kKnownFlags =
    kForceScalarDigest | kLinuxImage | kNoDigestInstructions | kVerifyEarly | kPlainEntry;

// What stands behind the stamp once the payload has been verified at this time: neither a stamp nor
// zeros, and of no use with another stamp.
constexpr uint64_t EarlyWord(uint64_t stamp) {
  return stamp == 0 ? 0 : stamp ^ 0x796c7261'65706f68;  // "hopearly", little-endian
}
// It counts for so long: one that a hop which never came has left is not believed later on.
inline constexpr uint64_t kEarlySeconds = 300;

struct Range {
  uint64_t start;
  uint64_t size;
};

// `count` elements at `offset` bytes from the start of the block.
struct Array {
  uint32_t offset;
  uint32_t count;
};

// Stage 1 translation. User space cannot know the exception level that the relocator will start
// at, so this names the geometry and not TCR itself; the relocator computes TCR for its own level.
// All zero: run with the MMU off.
struct Translation {
  Range tables;            // all table pages, physical
  uint64_t root;           // physical address of the first-level table, within `tables`
  uint32_t granule_shift;  // 12, 14 or 16
  uint32_t va_bits;        // 64 - T0SZ
  uint32_t tables_crc32c;  // over all of `tables`
  uint32_t pa_bits;        // no output address has a bit at or above this
};

// `size` bytes from `source` to the physical address `destination`. `source` is a virtual address
// of the tables with the MMU on, a physical one with it off. Multiples of kMoveAlignment.
struct Move {
  uint64_t source;
  uint64_t destination;
  uint64_t size;
};

// [start, start + size), split into pieces of kPieceSize; their digests stand one after the other
// in the digest array from element `first_digest` on.
struct VerifyRange {
  uint64_t start;
  uint64_t size;
  uint32_t first_digest;
  uint32_t reserved;  // 0
};

struct Header {
  uint64_t magic;
  uint16_t version_major;
  uint16_t version_minor;
  uint32_t header_size;    // sizeof(Header) of the writer
  uint32_t total_size;     // of the block
  uint32_t header_crc32c;  // over header_size bytes, this field taken as 0
  uint32_t body_crc32c;    // over [header_size, total_size)
  uint32_t flags;
  uint64_t self;  // physical address of this block
  Range control;  // relocator, stack, hand-off and tables: never a destination
  Translation translation;
  uint64_t entry;  // physical address to jump to
  uint64_t dtb;    // physical address of the next kernel's device tree, 8-byte aligned
  uint32_t dtb_size;
  uint32_t digest_kind;      // DigestKind
  Array arena;               // of Range: all that may be written, verified or jumped to
  Array moves;               // of Move, in the order of execution
  Array verify;              // of VerifyRange, checked after the moves
  Array digests;             // of DigestSize(digest_kind) bytes
  uint64_t stamp;            // physical address of a word with CNTVCT before reboot(2), or 0;
                             // with kVerifyEarly a second word follows
  uint32_t timeline_offset;  // of the timeline's kTimelineSize bytes within the dtb, or 0
  uint32_t cache_line_size;  // smallest data cache line of any CPU, bytes: a power of two, 16..2048
};

static_assert(sizeof(Range) == 16 && sizeof(Array) == 8 && sizeof(Translation) == 40);
static_assert(sizeof(Move) == 24 && offsetof(Move, destination) == 8 && offsetof(Move, size) == 16);
static_assert(sizeof(VerifyRange) == 24 && offsetof(VerifyRange, first_digest) == 16);
static_assert(offsetof(Translation, root) == 16 && offsetof(Translation, granule_shift) == 24);
static_assert(offsetof(Translation, va_bits) == 28 && offsetof(Translation, tables_crc32c) == 32);
static_assert(offsetof(Translation, pa_bits) == 36);
static_assert(offsetof(Header, version_major) == 8 && offsetof(Header, version_minor) == 10);
static_assert(offsetof(Header, header_size) == 12 && offsetof(Header, total_size) == 16);
static_assert(offsetof(Header, header_crc32c) == 20 && offsetof(Header, body_crc32c) == 24);
static_assert(offsetof(Header, flags) == 28 && offsetof(Header, self) == 32);
static_assert(offsetof(Header, control) == 40 && offsetof(Header, translation) == 56);
static_assert(offsetof(Header, entry) == 96 && offsetof(Header, dtb) == 104);
static_assert(offsetof(Header, dtb_size) == 112 && offsetof(Header, digest_kind) == 116);
static_assert(offsetof(Header, arena) == 120 && offsetof(Header, moves) == 128);
static_assert(offsetof(Header, verify) == 136 && offsetof(Header, digests) == 144);
static_assert(offsetof(Header, stamp) == 152 && offsetof(Header, timeline_offset) == 160);
static_assert(offsetof(Header, cache_line_size) == 164 && sizeof(Header) == 168);

// The timeline: big-endian 64-bit words (as the device tree has it) in /chosen/khop,timeline. The
// loader reserves it, filled with zeros; the relocator fills it in after the dtb was verified.
// Times are CNTVCT_EL0 values.
enum class TimelineSlot : uint32_t {
  kVersion = 0,     // kTimelineVersion once filled in
  kFrequency,       // CNTFRQ_EL0
  kReboot,          // the loader's stamp before reboot(2), 0 if there was none
  kEntry,           // the relocator's first instructions
  kMmuOn,           // translation on (or the point where it would be)
  kMoved,           // moves done
  kVerified,        // digests done
  kJump,            // last reading before the jump
  kSctlr,           // SCTLR_ELx as read while moving and verifying
  kExceptionLevel,  // CurrentEL.EL in bits 1:0, HCR_EL2.E2H in bit 8
  kBytesMoved,
  kBytesVerified,
  kDigest,      // DigestKind in bits 7:0; bit 8: with the CPU's instructions; bit 9: verified
                // before reboot(2), and not again
  kCount = 16,  // the rest reads 0
};
inline constexpr uint64_t kTimelineVersion = 1;
inline constexpr uint32_t kTimelineSize = static_cast<uint32_t>(TimelineSlot::kCount) * 8;

}  // namespace khop::handoff
