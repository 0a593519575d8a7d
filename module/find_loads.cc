// SPDX-License-Identifier: MIT
// Which words a function reads, from its instructions. Only so can a module learn where
// `kexec_image` is on a kernel whose symbol table has no data (CONFIG_KALLSYMS_ALL is off in
// Debian's).
#include <algorithm>
#include <cstring>

#include "module/relocation.h"

namespace {

// Sign-extends the `bits` low bits of `value`.
int64_t SignExtend(uint64_t value, int bits) {
  return static_cast<int64_t>(value << (64 - bits)) >> (64 - bits);
}

}  // namespace

// A linear pass in the order of the code: what ADRP, and ADD (immediate) after it, leave in a
// register holds until the register is written by another one of these, or a call may have changed
// it. Where a register is written by anything else the result is wrong, so that the caller asks two
// functions that share the one word they both read.
size_t khop_find_loads(const uint32_t* code, size_t count, uint64_t at, uint64_t* addresses,
                       size_t capacity) {
  uint64_t value[32];
  bool known[32] = {};
  size_t found = 0;
  for (size_t i = 0; i < count; ++i) {
    const uint32_t instruction = code[i];
    const uint32_t rd = instruction & 31;
    const uint32_t rn = instruction >> 5 & 31;
    const uint64_t immediate12 = instruction >> 10 & 0xfff;
    if ((instruction & 0x9f000000) == 0x90000000) {  // ADRP Xd, page
      const uint64_t immediate = (instruction >> 5 & 0x7ffff) << 2 | (instruction >> 29 & 3);
      const uint64_t pc = (at + 4 * i) & ~uint64_t{0xfff};
      value[rd] = pc + static_cast<uint64_t>(SignExtend(immediate, 21)) * 4096;
      known[rd] = rd != 31;
    } else if ((instruction & 0xffc00000) == 0x91000000) {  // ADD Xd, Xn, #imm
      value[rd] = known[rn] ? value[rn] + immediate12 : 0;
      known[rd] = known[rn] && rd != 31;
    } else if ((instruction & 0xffc00000) == 0xf9400000) {  // LDR Xt, [Xn, #imm]
      const uint64_t address = known[rn] ? value[rn] + 8 * immediate12 : 0;
      if (known[rn] && std::find(addresses, addresses + found, address) == addresses + found) {
        if (found == capacity) return found;
        addresses[found++] = address;
      }
      known[rd] = false;
    } else if ((instruction & 0xfc000000) == 0x94000000 ||  // BL
               (instruction & 0xfffffc1f) == 0xd63f0000) {  // BLR
      std::fill(known, known + 19, false);
      known[30] = false;
    }
  }
  return found;
}
