// SPDX-License-Identifier: MIT
// The record in memory and the line on the console before a reset. Runs with the MMU off, so that
// every address is physical and every access is Device-nGnRnE.
#pragma once

#include <cstdint>

#include "core/handoff/failure.h"
#include "core/relocator/blob.h"

namespace khop::relocator {

// What an exception adds to its FailureCode: HopFailure::value is ESR_ELx.
struct ExceptionState {
  uint64_t elr = 0;
  uint64_t far = 0;
};

// Writes the failure record if `words` name a place for it (no line of which is dirty in a cache),
// and prints "khop: <text> <value>; resetting" if they name a console. Every wait is bounded: a
// UART that never drains costs the line, not the reset.
void LeaveLastWords(const LastWords& words, HopFailure failure, ExceptionState exception);

}  // namespace khop::relocator
