// SPDX-License-Identifier: MIT
// What a failed hop leaves in memory for the boot after the reset: text, in the form of a record of
// Linux's ramoops (Documentation/admin-guide/ramoops.rst, fs/pstore/ram_core.c), so that in a
// ramoops region it comes up as /sys/fs/pstore/dmesg-ramoops-N.
#pragma once

#include <cstdint>

namespace khop::handoff {

struct FailureRecordHeader {
  uint32_t signature;  // kFailureRecordSignature
  uint32_t start;      // where the next byte would go
  uint32_t size;       // of the text that follows
};
static_assert(sizeof(FailureRecordHeader) == 12);

inline constexpr uint32_t kFailureRecordSignature = 0x43474244;  // "DBGC"
// Everything fits: header and three lines.
inline constexpr uint32_t kMinFailureRecord = 512;

// The text: "====SECONDS.000000-D\n", which ramoops asks for (D: not compressed), then the line
// that goes to the console, then "khop: loaded at SECONDS\n".
inline constexpr char kFailureRecordMark[] = "====";
inline constexpr char kFailureRecordTime[] = ".000000-D\n";
inline constexpr char kFailureRecordLoaded[] = "khop: loaded at ";

}  // namespace khop::handoff
