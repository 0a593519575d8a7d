// SPDX-License-Identifier: MIT
// The control area: relocator blob, its stack, the hand-off and the page tables, in this order in
// one run of physical memory. With kexec_load it is the only segment; it must be disjoint from the
// payload and from every destination.
#pragma once

#include <cstddef>
#include <cstdint>
#include <expected>
#include <span>

#include "core/base/addr.h"
#include "core/base/error.h"
#include "core/handoff/handoff.h"
#include "core/plan/moves.h"
#include "core/relocator/blob.h"

namespace khop::plan {

// Everything the relocator is to do. Spans are the caller's and only read.
struct Hop {
  PhysAddr entry;  // first byte of the next kernel's Image
  PhysAddr dtb;    // 8-byte aligned, within the arena
  uint32_t dtb_size = 0;
  uint32_t timeline_offset = 0;           // within the dtb; 0: no timeline
  PhysAddr stamp;                         // a 64-bit word in the arena; 0: none
  std::span<const handoff::Range> arena;  // memory the hop may write, verify and enter;
                                          // granule-aligned, disjoint
  std::span<const handoff::Move> moves;
  std::span<const WindowPiece> window;           // empty with the MMU off
  std::span<const handoff::VerifyRange> verify;  // within the arena
  std::span<const std::byte> digests;
  handoff::DigestKind digest_kind = handoff::DigestKind::kSha256;
  uint32_t flags = 0;  // handoff::Flags
  bool mmu = true;
  uint32_t granule_shift = 12;  // the running kernel's page size: proved to work
  uint32_t va_bits = 48;
  uint32_t pa_bits = 48;                 // 48, or fewer if all of RAM lies below
  uint32_t cache_line_size = 64;         // from the sanitised CTR_EL0.DminLine
  relocator::LastWords last_words = {};  // `check` is filled in by BuildControlArea
};

struct ControlAreaLayout {
  uint64_t blob = 0;  // offsets from the start of the area, bytes
  uint64_t stack = 0;
  uint64_t handoff = 0;
  uint64_t tables = 0;
  uint64_t size = 0;         // of the whole area; a multiple of the granule
  uint64_t table_bytes = 0;  // an upper bound before building, exact afterwards
};

// What the control area for `hop` needs. The tables' share is an upper bound.
// Errors: kInvalidArgument if the blob is not one or the geometry is not legal.
std::expected<ControlAreaLayout, Error> LayOutControlArea(const Hop& hop,
                                                          std::span<const std::byte> blob);

// Writes the area into `memory` (at least LayOutControlArea().size bytes, 8-byte aligned), which
// will be at physical address `base` (granule-aligned) when the relocator runs, and checks the
// result with the relocator's own checks. Returns the final layout. On error `memory` is garbage.
std::expected<ControlAreaLayout, Error> BuildControlArea(const Hop& hop,
                                                         std::span<const std::byte> blob,
                                                         PhysAddr base,
                                                         std::span<std::byte> memory);

}  // namespace khop::plan
