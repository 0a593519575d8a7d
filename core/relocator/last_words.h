// SPDX-License-Identifier: MIT
// The line on the console before a reset. Runs with the MMU off, so that every address is physical
// and every access to the UART is Device-nGnRnE.
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

// Prints "khop: <text> <value>; resetting" if `words` name a console. Every wait is bounded: a UART
// that never drains costs the line, not the reset.
void PrintLastWords(const LastWords& words, HopFailure failure, ExceptionState exception);

}  // namespace khop::relocator
