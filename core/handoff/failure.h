// SPDX-License-Identifier: MIT
// Why a hop ended in a reset. The numbers are printed on the console and never reused.
#pragma once

#include <cstdint>

namespace khop {

enum class FailureCode : uint32_t {
  kNone = 0,
  // The hand-off's header.
  kMagic,
  kVersion,
  kHeaderSize,
  kTotalSize,
  kHeaderChecksum,
  kSelfAddress,
  kControlRange,
  kFlags,
  kDigestKind,
  kCacheLine,
  // Translation.
  kTables,
  kGranule,
  kAddressSize,
  kTablesChecksum,
  // The hand-off's body.
  kArrays,
  kBodyChecksum,
  kArena,
  kMove,
  kMoveOutside,
  kMoveOntoControl,
  kVerifyRange,
  kEntry,
  kDeviceTree,
  kStamp,
  kTimeline,
  // The payload.
  kDigest,
  kNotAKernel,
  kNotADeviceTree,
  // The machine.
  kException,
  kStack,
  kCount,
};

struct HopFailure {
  FailureCode code = FailureCode::kNone;
  uint64_t value = 0;  // an address or a field's value, see FailureText
  constexpr bool ok() const { return code == FailureCode::kNone; }
};

// One short line per code, without the value. Arrays of characters, not of pointers: the relocator
// is position-independent and has no dynamic relocations.
inline constexpr char kFailureText[][44] = {
    "no failure",
    "hand-off has no magic, found",
    "hand-off version not understood:",
    "hand-off header size is wrong:",
    "hand-off total size is wrong:",
    "hand-off header checksum is wrong:",
    "hand-off is not where it says:",
    "control range is wrong at",
    "hand-off flags not understood:",
    "digest kind not understood:",
    "cache line size is wrong:",
    "page tables lie outside the control range:",
    "CPU lacks the page-table granule 2^",
    "CPU lacks the address size, bits:",
    "page-table checksum is wrong:",
    "hand-off array is out of bounds at",
    "hand-off body checksum is wrong:",
    "arena is not sorted and disjoint at",
    "move is not aligned or wraps at",
    "move goes outside the arena at",
    "move goes onto the relocator's memory at",
    "range to verify is wrong at",
    "entry lies outside the arena:",
    "device tree lies outside the arena:",
    "stamp lies outside the arena:",
    "timeline lies outside the device tree:",
    "payload digest does not match at",
    "no kernel image at",
    "no device tree at",
    "exception, ESR",
    "stack is wrong:",
};
static_assert(sizeof(kFailureText) / sizeof(kFailureText[0]) ==
              static_cast<uint32_t>(FailureCode::kCount));

constexpr const char* FailureText(FailureCode code) {
  const auto index = static_cast<uint32_t>(code);
  return kFailureText[index < static_cast<uint32_t>(FailureCode::kCount) ? index : 0];
}

}  // namespace khop
