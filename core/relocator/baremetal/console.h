// SPDX-License-Identifier: MIT
// Output and exit of a bare-metal test program under QEMU: Arm semihosting (the specification's
// SYS_WRITE0, SYS_GET_CMDLINE and SYS_EXIT_EXTENDED).
#pragma once

#include <cstdint>

extern "C" uint64_t SemihostingCall(uint64_t operation, const void* parameters);

namespace khop::baremetal {

inline void Print(const char* text) { SemihostingCall(0x04, text); }

inline void PrintHex(uint64_t value) {
  char text[19] = "0x0000000000000000";
  for (int i = 17; i >= 2; --i, value >>= 4) text[i] = "0123456789abcdef"[value & 0xf];
  Print(text);
}

// Ends QEMU with this exit status.
[[noreturn]] inline void Exit(uint64_t status) {
  const uint64_t parameters[2] = {0x20026 /* ADP_Stopped_ApplicationExit */, status};
  SemihostingCall(0x20, parameters);
  for (;;) {
  }
}

// Prints why and ends with status 1.
[[noreturn]] inline void Fail(const char* what, uint64_t value) {
  Print("FAIL ");
  Print(what);
  Print(" ");
  PrintHex(value);
  Print("\n");
  Exit(1);
}

inline void Expect(bool condition, const char* what, uint64_t value) {
  if (!condition) Fail(what, value);
}

// The command line that QEMU was given for the program.
inline void ReadCommandLine(char* buffer, uint64_t size) {
  const uint64_t parameters[2] = {reinterpret_cast<uint64_t>(buffer), size};
  if (SemihostingCall(0x15, parameters) != 0) Fail("no command line", 0);
}

}  // namespace khop::baremetal
