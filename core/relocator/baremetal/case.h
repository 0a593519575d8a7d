// SPDX-License-Identifier: MIT
// One hop of the harness: where everything lies, what the command line asks for (words of
// cases.cmake), and what was built.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/handoff/handoff.h"
#include "core/plan/control_area.h"
#include "core/plan/moves.h"

namespace khop::baremetal {

// QEMU virt: RAM from 1 GiB on. The program itself is at 0x40400000.
inline constexpr uint64_t kControl = 0x4400'0000;
inline constexpr uint64_t kKernel = 0x4600'0000;
inline constexpr uint64_t kKernelSize = 0x28'0000;  // two pieces, the second one short
inline constexpr uint64_t kDtb = 0x4630'0000;
inline constexpr uint32_t kDtbSize = 4096;
inline constexpr uint32_t kTimelineOffset = 1500;
inline constexpr uint64_t kStamp = kDtb + 8192;
inline constexpr uint64_t kArenaSize = 0x40'0000;
// Pages that nobody may write: around every destination.
inline constexpr uint64_t kGuards[] = {kKernel - 4096, kKernel + kKernelSize, kDtb - 4096,
                                       kDtb + 4096, kKernel + kArenaSize};
inline constexpr uint64_t kSources =
    0x4800'0000;  // page n of a moved payload: every third, downwards
inline constexpr uint64_t kFarSources = 0x1'8000'0000;  // more than 4 GiB away: needs -m 6G
inline constexpr uint64_t kBlock = 0x4a00'0000;         // 2 MiB in one piece
inline constexpr uint64_t kSpare = 0x4c00'0000;
inline constexpr uint64_t kWindow = 0x2'0000'0000;  // beyond all of the board's memory
inline constexpr uint64_t kPage = 4096;             // the smallest
inline constexpr uint64_t kMaxPages = kKernelSize / kPage;
inline constexpr uint64_t kUart = 0x0900'0000;
inline constexpr uint64_t kRecord = 0x4d00'0000;

inline std::byte* At(uint64_t address) { return reinterpret_cast<std::byte*>(address); }

// The payload's content at `offset`: the same on every run.
inline uint64_t PayloadWord(uint64_t offset) { return (offset + 1) * 0x9e37'79b9'7f4a'7c15; }

// Reads the command line. All of the following only after it.
void ReadCase();
// Whether `word` is one of the blank-separated words of the command line.
bool Asked(const char* word);

// Everything is planned in pages of the granule, as the loader does.
uint64_t PageSize();
uint64_t KernelPages();
unsigned VaBits();
// Where page `n` of the kernel waits.
uint64_t SourceOf(uint64_t n);
// Whether anything is to be moved, and what: all of the kernel, its first 2 MiB as one block, or
// every seventh page (the first, with the entry, among them); or the pages lie at their
// destinations, but in another order.
bool AnyMoves();
bool IsMoved(uint64_t n);
handoff::DigestKind AskedKind();
bool NothingVerified();

// What was built, for the checks where the next kernel starts.
struct Built {
  uint64_t stamp_value = 0;              // CNTVCT_EL0
  std::span<const plan::Piece> ordered;  // where every page was, in the order of the moves
  plan::ControlAreaLayout layout;
};

}  // namespace khop::baremetal
