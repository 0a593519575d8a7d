// SPDX-License-Identifier: MIT
#include "core/relocator/baremetal/arrival.h"

#include <cstring>

#include "core/arm64/page_table_walker.h"
#include "core/handoff/handoff.h"
#include "core/relocator/baremetal/console.h"

extern "C" {
// What ProbeEntry found: x0..x3, DAIF, CurrentEL, SCTLR, TTBR0, TCR.
struct ProbeRegisters {
  uint64_t x[4];
  uint64_t daif, current_el, sctlr, ttbr0, tcr;
};
ProbeRegisters probe_registers;
}

namespace khop::baremetal {
namespace {

using handoff::TimelineSlot;

uint64_t Slot(TimelineSlot slot) {
  uint64_t value = 0;
  const std::byte* const at =
      At(kDtb + kTimelineOffset + uint64_t{static_cast<uint32_t>(slot)} * 8);
  for (int i = 0; i < 8; ++i) value = value << 8 | static_cast<uint64_t>(at[i]);
  return value;
}

void CheckPayload() {
  for (uint64_t offset = 80; offset < kKernelSize; offset += 8) {
    uint64_t word = 0;
    memcpy(&word, At(kKernel + offset), 8);
    if (word != PayloadWord(offset)) Fail("payload differs at", offset);
  }
  for (const uint64_t guard : kGuards) {
    for (uint64_t offset = 0; offset < kPage; ++offset) {
      Expect(*At(guard + offset) == std::byte{0x5a}, "guard page", guard + offset);
    }
  }
}

// By the pieces, not by what was made of them.
uint64_t MovedBytes(const Built& built) {
  uint64_t bytes = 0;
  for (const plan::Piece& piece : built.ordered) bytes += piece.in_place() ? 0 : piece.size;
  return bytes;
}

void CheckTimeline(const Built& built) {
  const bool mmu = !Asked("mmu-off");
  Expect(Slot(TimelineSlot::kVersion) == handoff::kTimelineVersion, "timeline version",
         Slot(TimelineSlot::kVersion));
  Expect(Slot(TimelineSlot::kReboot) == built.stamp_value, "stamp", Slot(TimelineSlot::kReboot));
  // SCTLR.M, C and I while moving and verifying.
  Expect((Slot(TimelineSlot::kSctlr) & 0x1005) == (mmu ? 0x1005U : 0U), "SCTLR during the work",
         Slot(TimelineSlot::kSctlr));
  Expect(Slot(TimelineSlot::kBytesMoved) == MovedBytes(built), "bytes moved",
         Slot(TimelineSlot::kBytesMoved));
  Expect(Slot(TimelineSlot::kBytesVerified) == (NothingVerified() ? 0 : kKernelSize + kDtbSize),
         "bytes verified", Slot(TimelineSlot::kBytesVerified));
  const uint64_t by_cpu = NothingVerified() || Asked("scalar") || Asked("old-cpu") ? 0 : 1;
  const uint64_t early = Asked("early") ? 1 : 0;
  Expect(Slot(TimelineSlot::kDigest) ==
             (static_cast<uint64_t>(AskedKind()) | by_cpu << 8 | early << 9),
         "digest", Slot(TimelineSlot::kDigest));
  const uint64_t level = Asked("vhe") ? 0x102 : Asked("el2") ? 2 : 1;
  Expect(Slot(TimelineSlot::kExceptionLevel) == level, "exception level",
         Slot(TimelineSlot::kExceptionLevel));
  Expect(Slot(TimelineSlot::kEntry) <= Slot(TimelineSlot::kMmuOn) &&
             Slot(TimelineSlot::kMmuOn) <= Slot(TimelineSlot::kMoved) &&
             Slot(TimelineSlot::kMoved) <= Slot(TimelineSlot::kVerified) &&
             Slot(TimelineSlot::kVerified) <= Slot(TimelineSlot::kJump),
         "order of the timeline", Slot(TimelineSlot::kJump));
}

// booting.rst, "Call the kernel image".
void CheckRegisters() {
  const ProbeRegisters& r = probe_registers;
  Expect(r.x[0] == kDtb, "x0", r.x[0]);
  Expect(r.x[1] == 0 && r.x[2] == 0 && r.x[3] == 0, "x1..x3", r.x[1] | r.x[2] | r.x[3]);
  Expect((r.daif & 0x3c0) == 0x3c0, "DAIF", r.daif);
  Expect((r.sctlr & 0x1005) == 0, "SCTLR.M, C and I", r.sctlr);
  Expect((r.sctlr & (1U << 25)) == 0, "SCTLR.EE", r.sctlr);
  Expect((r.current_el >> 2 & 3) == (Asked("el2") || Asked("vhe") ? 2U : 1U), "CurrentEL",
         r.current_el);
}

// The live tables: TTBR0_ELx and TCR_ELx as the relocator left them, walked without a line of the
// code that built them. `expected` says for a virtual page what it must map to, or ~0.
uint64_t ExpectedTarget(uint64_t va, const Built& built) {
  if (va >= kKernel && va < kKernel + kArenaSize) return va;
  if (va >= kControl && va < kControl + built.layout.tables) return va;
  if (Asked("permute") && va >= kSpare && va < kSpare + PageSize()) return va;
  // One contiguous virtual range, in the order in which pages are moved.
  uint64_t start = kWindow;
  for (const plan::Piece& piece : built.ordered) {
    if (piece.in_place()) continue;
    if (va >= start && va - start < piece.size) return piece.source.value + (va - start);
    start += piece.size;
  }
  return ~uint64_t{0};
}

void CheckLiveTables(const Built& built) {
  const plan::ControlAreaLayout& layout = built.layout;
  const ProbeRegisters& r = probe_registers;
  const uint64_t tg0 = r.tcr >> 14 & 3;
  const unsigned granule_shift = tg0 == 0 ? 12 : tg0 == 1 ? 16 : 14;
  const unsigned va_bits = 64 - static_cast<unsigned>(r.tcr & 0x3f);
  Expect(r.ttbr0 == kControl + layout.tables, "TTBR0", r.ttbr0);
  uint64_t mapped = 0;
  uint64_t tables = 0;
  bool block_in_window = false;
  const auto read = [](uint64_t pa) {
    uint64_t word = 0;
    memcpy(&word, At(pa), 8);
    return word;
  };
  arm64::PageTableWalker walker(read, r.ttbr0, granule_shift, va_bits);
  const auto walked = walker.ForEachEntry(
      [&](int, uint64_t, uint64_t pa) {
        ++tables;
        Expect(pa >= kControl + layout.tables && pa < kControl + layout.size, "table page", pa);
      },
      [&](const arm64::WalkLeaf& leaf) {
        for (uint64_t offset = 0; offset < leaf.size; offset += kPage) {
          Expect(ExpectedTarget(leaf.va + offset, built) == leaf.pa + offset, "mapping of",
                 leaf.va + offset);
        }
        mapped += leaf.size;
        if (leaf.va >= kWindow && leaf.size == 0x20'0000) block_in_window = true;
      });
  Expect(walked.has_value(), "malformed tables", r.ttbr0);
  const uint64_t wanted =
      kArenaSize + layout.tables + MovedBytes(built) + (Asked("permute") ? PageSize() : 0);
  Expect(mapped == wanted, "bytes mapped", mapped);
  Expect(tables << granule_shift == layout.table_bytes, "table pages", tables);
  if (Asked("block") && granule_shift == 12) Expect(block_in_window, "2 MiB block", mapped);
  if (Asked("scatter")) {
    // payload/512, and for the tables of each of: kernel, control area, window, a table per level.
    const uint64_t limit = (kKernelSize / 512) + (uint64_t{12} << granule_shift);
    Expect(layout.table_bytes <= limit, "bytes of tables", layout.table_bytes);
  }
}

}  // namespace

void CheckArrival(const Built& built) {
  CheckRegisters();
  CheckPayload();
  CheckTimeline(built);
  if (!Asked("mmu-off")) CheckLiveTables(built);
}

}  // namespace khop::baremetal
