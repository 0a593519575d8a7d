// SPDX-License-Identifier: MIT
// The relocator on bare metal: a program for QEMU's `virt` board that builds a hop, lets the real
// blob do it, and looks at the machine where the next kernel would start. The command line says
// what is to be hopped, and what is to be spoiled: words of cases.h.
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/arm64/instructions.h"
#include "core/arm64/page_table_walker.h"
#include "core/digest/crc32c.h"
#include "core/digest/sha256.h"
#include "core/handoff/check.h"
#include "core/handoff/failure_record.h"
#include "core/plan/control_area.h"
#include "core/plan/moves.h"
#include "core/relocator/baremetal/console.h"

extern "C" {
// start.S
void ProbeEntry();
[[noreturn]] void EnterBlob(uint64_t address);
[[noreturn]] void EnterVheThenBlob(uint64_t address);
// The blob, from embedded_blob.S.
extern const std::byte khop_embedded_blob[];
extern const std::byte khop_embedded_blob_end[];

// What ProbeEntry found: x0..x3, DAIF, CurrentEL, SCTLR, TTBR0, TCR.
struct ProbeRegisters {
  uint64_t x[4];
  uint64_t daif, current_el, sctlr, ttbr0, tcr;
};
ProbeRegisters probe_registers;
}

namespace khop::baremetal {
namespace {

using handoff::DigestKind;
using handoff::TimelineSlot;

// QEMU virt: RAM from 1 GiB on. The program itself is at 0x40400000.
constexpr uint64_t kControl = 0x4400'0000;
constexpr uint64_t kKernel = 0x4600'0000;
constexpr uint64_t kKernelSize = 0x28'0000;  // two pieces, the second one short
constexpr uint64_t kDtb = 0x4630'0000;
constexpr uint32_t kDtbSize = 4096;
constexpr uint32_t kTimelineOffset = 1500;
constexpr uint64_t kStamp = kDtb + 8192;
constexpr uint64_t kArenaSize = 0x40'0000;
// Pages that nobody may write: around every destination.
constexpr uint64_t kGuards[] = {kKernel - 4096, kKernel + kKernelSize, kDtb - 4096, kDtb + 4096,
                                kKernel + kArenaSize};
constexpr uint64_t kSources = 0x4800'0000;  // page n of a moved payload: every third, downwards
constexpr uint64_t kFarSources = 0x1'8000'0000;  // more than 4 GiB away: needs -m 6G
constexpr uint64_t kBlock = 0x4a00'0000;         // 2 MiB in one piece
constexpr uint64_t kSpare = 0x4c00'0000;
constexpr uint64_t kWindow = 0x2'0000'0000;  // beyond all of the board's memory
constexpr uint64_t kPage = 4096;             // the smallest
constexpr uint64_t kMaxPages = kKernelSize / kPage;
constexpr uint64_t kUart = 0x0900'0000;
constexpr uint64_t kRecord = 0x4d00'0000;

char command_line[256];

// Whether `word` is one of the blank-separated words of the command line.
bool Asked(const char* word) {
  size_t length = 0;
  while (word[length] != '\0') ++length;
  for (const char* at = command_line; *at != '\0';) {
    size_t n = 0;
    while (at[n] != '\0' && at[n] != ' ') ++n;
    if (n == length && memcmp(at, word, n) == 0) return true;
    at += n;
    while (*at == ' ') ++at;
  }
  return false;
}

std::byte* At(uint64_t address) { return reinterpret_cast<std::byte*>(address); }

// The payload's content at `offset`: the same on every run.
uint64_t PayloadWord(uint64_t offset) { return (offset + 1) * 0x9e37'79b9'7f4a'7c15; }

// Everything is planned in pages of the granule, as the loader does.
uint64_t PageSize() { return Asked("64k") ? 0x1'0000 : Asked("16k") ? 0x4000 : kPage; }
uint64_t KernelPages() { return kKernelSize / PageSize(); }

// Where page `n` of the kernel waits.
uint64_t SourceOf(uint64_t n) {
  return (Asked("far") ? kFarSources : kSources) - 3 * (n + 1) * PageSize();
}

unsigned VaBits() { return Asked("va39") ? 39 : Asked("va42") ? 42 : 48; }

// Whether anything is to be moved, and what: all of the kernel, its first 2 MiB as one block, or
// every seventh page (the first, with the entry, among them); or the pages lie at their
// destinations, but in another order.
bool AnyMoves() { return Asked("moves") || Asked("scatter") || Asked("block") || Asked("permute"); }
bool IsMoved(uint64_t n) { return !Asked("moves") || n % 7 == 0; }

uint64_t stamp_value = 0;
uint64_t entered_at = 0;  // CNTVCT_EL0

void WriteKernel() {
  for (uint64_t offset = 0; offset < kKernelSize; offset += 8) {
    const uint64_t word = PayloadWord(offset);
    memcpy(At(kKernel + offset), &word, 8);
  }
  // code0: b .+64. At 64: ldr x16, .+8; br x16; .quad ProbeEntry.
  constexpr uint32_t kCode[] = {0x1400'0010};
  constexpr uint32_t kJump[] = {0x5800'0050, 0xd61f'0200};
  memcpy(At(kKernel), kCode, sizeof(kCode));
  memcpy(At(kKernel + 56), "ARM\x64", 4);
  memcpy(At(kKernel + 64), kJump, sizeof(kJump));
  const auto probe = reinterpret_cast<uint64_t>(&ProbeEntry);
  memcpy(At(kKernel + 72), &probe, sizeof(probe));
  memset(At(kDtb), 0, kDtbSize);
  memcpy(At(kDtb), "\xd0\x0d\xfe\xed", 4);
  // As khop exec leaves it: the moment, and whether it has verified the payload then.
  stamp_value = arm64::ReadCntvct();
  const uint64_t words[] = {stamp_value, Asked("early") ? handoff::EarlyWord(stamp_value) : 0};
  memcpy(At(kStamp), words, sizeof(words));
  for (const uint64_t guard : kGuards) memset(At(guard), 0x5a, kPage);
}

// The digest of every piece is computed with the scalar form here and checked with whatever the
// relocator chooses.
handoff::VerifyRange verify[2];
std::byte digests[3 * handoff::kMaxDigestSize];
uint32_t digest_count = 0;

plan::Piece pieces[kMaxPages];       // where every page of the kernel is
plan::Piece scratch[2 * kMaxPages];  // of OrderMoves
plan::Piece ordered[kMaxPages + kMaxPages / 2];
size_t ordered_count = 0;
handoff::Move moves[kMaxPages + kMaxPages / 2];
plan::WindowPiece window[kMaxPages + kMaxPages / 2];
plan::MoveList move_list;

void AddDigest(DigestKind kind, uint64_t start, uint64_t size) {
  const uint32_t each = handoff::DigestSize(kind);
  for (uint64_t offset = 0; offset < size; offset += handoff::kPieceSize) {
    const uint64_t left = size - offset;
    const std::span<const std::byte> piece(At(start + offset),
                                           left < handoff::kPieceSize ? left : handoff::kPieceSize);
    std::byte* const to = digests + each * digest_count++;
    if (kind == DigestKind::kSha256) {
      const auto digest = digest::Sha256Of(piece, digest::DigestFeatures::Scalar());
      memcpy(to, digest.data(), digest.size());
    } else {
      const uint32_t sum = digest::Crc32c(piece, digest::DigestFeatures::Scalar());
      memcpy(to, &sum, sizeof(sum));
    }
  }
}

DigestKind AskedKind() {
  if (Asked("none")) return DigestKind::kNone;
  return Asked("crc32c") ? DigestKind::kCrc32c : DigestKind::kSha256;
}

bool NothingVerified() { return AskedKind() == DigestKind::kNone || Asked("early"); }

// Spoils the built control area as the command line says, checksums made right again where the
// field's own check is what is tested.
void Spoil(const plan::ControlAreaLayout& layout) {
  auto& header = *reinterpret_cast<handoff::Header*>(kControl + layout.handoff);
  const handoff::View view(At(kControl + layout.handoff));
  const auto scalar = digest::DigestFeatures::Scalar();
  const auto reseal = [&] {
    header.body_crc32c = handoff::BodyChecksum(view, scalar);
    header.header_crc32c = handoff::HeaderChecksum(header, scalar);
  };
  if (Asked("bad-magic")) header.magic ^= 1;
  if (Asked("bad-version")) header.version_major = 9, reseal();
  if (Asked("bad-header")) header.entry ^= 4;
  if (Asked("bad-body")) *At(kControl + layout.handoff + sizeof(header)) ^= std::byte{1};
  if (Asked("bad-tables")) *At(kControl + layout.tables + 9) ^= std::byte{1};
  if (Asked("bad-entry")) header.entry = kControl, reseal();
  if (Asked("bad-move")) {
    auto* const move =
        reinterpret_cast<handoff::Move*>(kControl + layout.handoff + header.moves.offset);
    move->destination = kControl;
    reseal();
  }
  // An arena that has the control area in it lets no move go there all the same.
  const struct {
    const char* word;
    uint64_t offset;
  } kParts[] = {{"onto-blob", layout.blob},
                {"onto-stack", layout.stack},
                {"onto-handoff", layout.handoff},
                {"onto-tables", layout.tables}};
  for (const auto& part : kParts) {
    if (!Asked(part.word)) continue;
    auto* const range =
        reinterpret_cast<handoff::Range*>(kControl + layout.handoff + header.arena.offset);
    range->size += range->start - kControl;
    range->start = kControl;
    auto* const move =
        reinterpret_cast<handoff::Move*>(kControl + layout.handoff + header.moves.offset);
    move->destination = kControl + part.offset;
    reseal();
  }
  // A source that the tables do not map.
  if (Asked("exception")) {
    auto* const move =
        reinterpret_cast<handoff::Move*>(kControl + layout.handoff + header.moves.offset);
    move->source = kWindow + (uint64_t{2} << 30);
    reseal();
  }
  if (Asked("flip-kernel")) *At(kKernel + 0x20'1234) ^= std::byte{4};
  if (Asked("flip-dtb")) *At(kDtb + 600) ^= std::byte{4};
  if (Asked("no-kernel")) *At(kKernel + 56) = std::byte{0};
  if (Asked("no-stack")) {
    auto& blob = *reinterpret_cast<relocator::BlobHeader*>(kControl);
    blob.parameters.stack_size = 0;
  }
  // A console that is not there: the access faults, and the reset must still come.
  if (Asked("bad-uart")) {
    auto& words = reinterpret_cast<relocator::BlobHeader*>(kControl)->parameters.last_words;
    words.uart_base = 0x7'0000'0000;
    words.check = LastWordsCheck(words);
  }
}

// After the reset of a hop that failed: its record, and the end.
void ReadRecord() {
  handoff::FailureRecordHeader header;
  memcpy(&header, At(kRecord), sizeof(header));
  if (header.signature != handoff::kFailureRecordSignature) return;
  Expect(header.start == header.size && header.size < handoff::kMinFailureRecord, "record's size",
         header.size);
  char text[handoff::kMinFailureRecord];
  memcpy(text, At(kRecord + sizeof(header)), header.size);
  text[header.size] = '\0';
  Print("after the reset: ");
  Print(text);
  Exit(0);
}

handoff::Range arena[2] = {{kKernel, kArenaSize}, {kSpare, 0}};

plan::Hop MakeHop() {
  plan::Hop hop;
  hop.entry = {kKernel};
  hop.dtb = {kDtb};
  hop.dtb_size = kDtbSize;
  hop.timeline_offset = kTimelineOffset;
  hop.stamp = {kStamp};
  arena[1].size = PageSize();
  hop.arena = {arena, Asked("permute") ? 2U : 1U};
  hop.verify = {verify, AskedKind() == DigestKind::kNone ? 0U : 2U};
  hop.digest_kind = AskedKind();
  hop.digests = {digests, digest_count * handoff::DigestSize(hop.digest_kind)};
  hop.flags = handoff::kLinuxImage | (Asked("scalar") ? handoff::kForceScalarDigest : 0U) |
              (Asked("old-cpu") ? handoff::kNoDigestInstructions : 0U) |
              (Asked("early") || Asked("not-early") ? handoff::kVerifyEarly : 0U);
  hop.mmu = !Asked("mmu-off");
  hop.pa_bits = 40;
  hop.granule_shift = static_cast<uint32_t>(std::countr_zero(PageSize()));
  hop.va_bits = VaBits();
  hop.last_words = {
      .uart_base = kUart,
      .uart_kind = relocator::UartKind::kPl011,
      .uart_reg_shift = 0,
      .uart_io_width = 4,
      .conduit = Asked("smc") ? relocator::PsciConduit::kSmc : relocator::PsciConduit::kHvc,
      .record_size = Asked("record") ? handoff::kMinFailureRecord : 0,
      .record_base = Asked("record") ? kRecord : 0,
      .loaded_at = 1'764'000'000,
      .check = 0,
      .reserved = 0};
  hop.moves = {moves, move_list.moves};
  hop.window = {window, move_list.windows};
  return hop;
}

// Takes every page that is to be moved out of its place; afterwards the payload is whole only if
// the moves are made.
void TakeApart() {
  const uint64_t size = PageSize();
  for (uint64_t n = 0; n < KernelPages(); ++n) {
    const uint64_t at = kKernel + n * size;
    const bool in_block = Asked("block") && n * size < 0x20'0000;
    const uint64_t source = in_block ? kBlock + n * size : IsMoved(n) ? SourceOf(n) : at;
    pieces[n] = {PhysAddr{source}, PhysAddr{at}, size};
    if (source == at) continue;
    memcpy(At(source), At(at), size);
    memset(At(at), 0, size);
  }
}

// Changes the order of the pages within the kernel's destination: chains, and cycles.
void Permute() {
  TakeApart();
  const uint64_t size = PageSize();
  uint64_t seed = 1;
  for (uint64_t n = KernelPages() - 1; n > 0; --n) {
    seed = seed * 6364136223846793005 + 1442695040888963407;
    const uint64_t other = (seed >> 33) % (n + 1);
    const plan::Piece piece = pieces[n];
    pieces[n] = pieces[other];
    pieces[other] = piece;
  }
  for (uint64_t n = 0; n < KernelPages(); ++n) {
    const uint64_t here = kKernel + n * size;
    memcpy(At(here), At(pieces[n].source.value), size);
    pieces[n].source = PhysAddr{here};
  }
}

void PlanMoves() {
  if (!AnyMoves()) return;
  const std::span<plan::Piece> all(pieces, KernelPages());
  if (Asked("permute")) {
    Permute();
    const auto count = plan::OrderMoves(all, PageSize(), {{kSpare}, PageSize()}, scratch, ordered);
    if (!count) Fail("OrderMoves", static_cast<uint64_t>(count.error().code));
    ordered_count = *count;
  } else {
    TakeApart();
    for (const plan::Piece& piece : all) ordered[ordered_count++] = piece;
  }
  const auto granule_shift = static_cast<unsigned>(std::countr_zero(PageSize()));
  const auto geometry = arm64::PageGeometry::Make(granule_shift, VaBits());
  const auto list = plan::LayOutMoves(
      {ordered, ordered_count}, Asked("mmu-off") ? nullptr : &*geometry, kWindow, moves, window);
  if (!list) Fail("LayOutMoves", static_cast<uint64_t>(list.error().code));
  move_list = *list;
  if (Asked("scatter") && !Asked("mmu-off")) Expect(list->moves == 1, "moves", list->moves);
}

uint64_t Slot(TimelineSlot slot) {
  uint64_t value = 0;
  const std::byte* const at = At(kDtb + kTimelineOffset + static_cast<uint32_t>(slot) * 8);
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
uint64_t MovedBytes() {
  uint64_t bytes = 0;
  for (size_t i = 0; i < ordered_count; ++i) bytes += ordered[i].in_place() ? 0 : ordered[i].size;
  return bytes;
}

void CheckTimeline() {
  const bool mmu = !Asked("mmu-off");
  Expect(Slot(TimelineSlot::kVersion) == handoff::kTimelineVersion, "timeline version",
         Slot(TimelineSlot::kVersion));
  Expect(Slot(TimelineSlot::kReboot) == stamp_value, "stamp", Slot(TimelineSlot::kReboot));
  // SCTLR.M, C and I while moving and verifying.
  Expect((Slot(TimelineSlot::kSctlr) & 0x1005) == (mmu ? 0x1005U : 0U), "SCTLR during the work",
         Slot(TimelineSlot::kSctlr));
  Expect(Slot(TimelineSlot::kBytesMoved) == MovedBytes(), "bytes moved",
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
uint64_t ExpectedTarget(uint64_t va, const plan::ControlAreaLayout& layout) {
  if (va >= kKernel && va < kKernel + kArenaSize) return va;
  if (va >= kControl && va < kControl + layout.tables) return va;
  if (Asked("permute") && va >= kSpare && va < kSpare + PageSize()) return va;
  // One contiguous virtual range, in the order in which pages are moved.
  uint64_t start = kWindow;
  for (size_t i = 0; i < ordered_count; ++i) {
    if (ordered[i].in_place()) continue;
    if (va >= start && va - start < ordered[i].size) {
      return ordered[i].source.value + (va - start);
    }
    start += ordered[i].size;
  }
  return ~uint64_t{0};
}

void CheckLiveTables(const plan::ControlAreaLayout& layout) {
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
          Expect(ExpectedTarget(leaf.va + offset, layout) == leaf.pa + offset, "mapping of",
                 leaf.va + offset);
        }
        mapped += leaf.size;
        if (leaf.va >= kWindow && leaf.size == 0x20'0000) block_in_window = true;
      });
  Expect(walked.has_value(), "malformed tables", r.ttbr0);
  const uint64_t wanted =
      kArenaSize + layout.tables + MovedBytes() + (Asked("permute") ? PageSize() : 0);
  Expect(mapped == wanted, "bytes mapped", mapped);
  Expect(tables << granule_shift == layout.table_bytes, "table pages", tables);
  if (Asked("block") && granule_shift == 12) Expect(block_in_window, "2 MiB block", mapped);
  if (Asked("scatter")) {
    // payload/512, and for the tables of each of: kernel, control area, window, a table per level.
    const uint64_t limit = (kKernelSize / 512) + (uint64_t{12} << granule_shift);
    Expect(layout.table_bytes <= limit, "bytes of tables", layout.table_bytes);
  }
}

plan::ControlAreaLayout built_layout;

}  // namespace
}  // namespace khop::baremetal

extern "C" [[noreturn]] void ProbeMain() {
  using namespace khop::baremetal;  // NOLINT(google-build-using-namespace)
  const uint64_t ticks = khop::arm64::ReadCntvct() - entered_at;
  Print("probe: started\n");
  if (Asked("count")) {
    // The whole relocator, from the kernel's last instruction to the next one's first.
    Print("ticks from end to end: ");
    PrintHex(ticks);
    Print("\n");
  }
  CheckRegisters();
  CheckPayload();
  CheckTimeline();
  if (!Asked("mmu-off")) CheckLiveTables(built_layout);
  Print("PASS\n");
  Exit(0);
}

extern "C" [[noreturn]] void HarnessException() {
  khop::baremetal::Print("FAIL exception in the test program\n");
  khop::baremetal::Exit(2);
}

extern "C" [[noreturn]] void HarnessMain() {
  using namespace khop::baremetal;  // NOLINT(google-build-using-namespace)
  ReadCommandLine(command_line, sizeof(command_line));
  if (Asked("record")) ReadRecord();
  WriteKernel();
  if (AskedKind() != khop::handoff::DigestKind::kNone) {
    verify[0] = {.start = kKernel, .size = kKernelSize, .first_digest = 0, .reserved = 0};
    AddDigest(AskedKind(), kKernel, kKernelSize);
    verify[1] = {.start = kDtb, .size = kDtbSize, .first_digest = digest_count, .reserved = 0};
    AddDigest(AskedKind(), kDtb, kDtbSize);
  }
  PlanMoves();
  const khop::plan::Hop hop = MakeHop();
  const std::span<const std::byte> blob(khop_embedded_blob, khop_embedded_blob_end);
  const auto layout =
      khop::plan::BuildControlArea(hop, blob, khop::PhysAddr{kControl}, {At(kControl), 0x20'0000});
  if (!layout) Fail("BuildControlArea", static_cast<uint64_t>(layout.error().code));
  built_layout = *layout;
  Spoil(*layout);
  Print("entering the relocator\n");
  entered_at = khop::arm64::ReadCntvct();
  if (Asked("vhe")) EnterVheThenBlob(kControl);
  EnterBlob(kControl);
}
