// SPDX-License-Identifier: MIT
// The relocator on bare metal: a program for QEMU's `virt` board that builds a hop, lets the real
// blob do it, and looks at the machine where the next kernel would start. The command line says
// what is to be hopped, and what is to be spoiled: words of cases.cmake.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/arm64/instructions.h"
#include "core/digest/crc32c.h"
#include "core/digest/sha256.h"
#include "core/handoff/check.h"
#include "core/handoff/failure_record.h"
#include "core/plan/control_area.h"
#include "core/plan/moves.h"
#include "core/relocator/baremetal/arrival.h"
#include "core/relocator/baremetal/case.h"
#include "core/relocator/baremetal/console.h"
#include "core/relocator/embedded_blob.h"

extern "C" {
// start.S
void ProbeEntry();
[[noreturn]] void EnterBlob(uint64_t address);
[[noreturn]] void EnterVheThenBlob(uint64_t address);
}

namespace khop::baremetal {
namespace {

using handoff::DigestKind;

constinit Built built;
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
  built.stamp_value = arm64::ReadCntvct();
  const uint64_t words[] = {built.stamp_value,
                            Asked("early") ? handoff::EarlyWord(built.stamp_value) : 0};
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
handoff::Move moves[kMaxPages + kMaxPages / 2];
plan::WindowPiece window[kMaxPages + kMaxPages / 2];
plan::MoveList move_list;

void AddDigest(DigestKind kind, uint64_t start, uint64_t size) {
  const size_t each = handoff::DigestSize(kind);
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
  } parts[] = {{"onto-blob", layout.blob},
               {"onto-stack", layout.stack},
               {"onto-handoff", layout.handoff},
               {"onto-tables", layout.tables}};
  for (const auto& part : parts) {
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
  hop.digests = {digests, size_t{digest_count} * handoff::DigestSize(hop.digest_kind)};
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
    built.ordered = {ordered, *count};
  } else {
    TakeApart();
    std::ranges::copy(all, ordered);
    built.ordered = {ordered, all.size()};
  }
  const auto granule_shift = static_cast<unsigned>(std::countr_zero(PageSize()));
  const auto geometry = arm64::PageGeometry::Make(granule_shift, VaBits());
  const auto list = plan::LayOutMoves(built.ordered, Asked("mmu-off") ? nullptr : &*geometry,
                                      kWindow, moves, window);
  if (!list) Fail("LayOutMoves", static_cast<uint64_t>(list.error().code));
  move_list = *list;
  if (Asked("scatter") && !Asked("mmu-off")) Expect(list->moves == 1, "moves", list->moves);
}

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
  CheckArrival(built);
  Print("PASS\n");
  Exit(0);
}

extern "C" [[noreturn]] void HarnessException() {
  khop::baremetal::Print("FAIL exception in the test program\n");
  khop::baremetal::Exit(2);
}

extern "C" [[noreturn]] void HarnessMain() {
  using namespace khop::baremetal;  // NOLINT(google-build-using-namespace)
  ReadCase();
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
  const auto layout = khop::plan::BuildControlArea(
      hop, khop::relocator::Blob(), khop::PhysAddr{kControl}, {At(kControl), 0x20'0000});
  if (!layout) Fail("BuildControlArea", static_cast<uint64_t>(layout.error().code));
  built.layout = *layout;
  Spoil(*layout);
  Print("entering the relocator\n");
  entered_at = khop::arm64::ReadCntvct();
  if (Asked("vhe")) EnterVheThenBlob(kControl);
  EnterBlob(kControl);
}
