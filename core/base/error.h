// SPDX-License-Identifier: MIT
// The error type of core/: a code that a caller can switch on and one number that says where.
#pragma once

#include <cstdint>

namespace khop {

enum class ErrorCode : uint8_t {
  kOutOfMemory,      // the caller's memory is too small; value: bytes or entries that were there
  kNotAligned,       // value: the offending address or size
  kOutOfRange,       // value: the offending address
  kOverlap,          // value: start of the overlapping range
  kInvalidArgument,  // value: the offending argument
  kWrongContent,     // value: the address that does not hold what it should
};

struct Error {
  ErrorCode code;
  uint64_t value = 0;
  friend constexpr bool operator==(const Error&, const Error&) = default;
};

}  // namespace khop
