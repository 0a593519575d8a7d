// SPDX-License-Identifier: MIT
// Bit flips, one after the other, on bare metal: builds a hop, flips one bit of it, lets the blob
// try, and goes on with the next one after the reset, as QEMU's memory outlives that. Each flip is
// announced on the UART, so that the relocator's line (or its lack) follows; flips.cmake counts
// them.
//
// What is flipped: some bits of the payload, chosen by chance; every bit of the hand-off, of the
// page tables' entries that are not zero and of what the loader fills in in the blob's header.
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/arm64/instructions.h"
#include "core/digest/crc32c.h"
#include "core/digest/sha256.h"
#include "core/plan/control_area.h"
#include "core/plan/moves.h"
#include "core/relocator/baremetal/console.h"
#include "core/relocator/embedded_blob.h"

extern "C" {
// start.S
void ProbeEntry();
[[noreturn]] void EnterBlob(uint64_t address);
[[noreturn]] void ResetMachine();
// What start.S writes to.
uint64_t probe_registers[9];
}

namespace khop::baremetal {
namespace {

using handoff::DigestKind;

constexpr uint64_t kProgress = 0x4300'0000;
constexpr uint64_t kControl = 0x4400'0000;
constexpr uint64_t kControlSize = 0x20'0000;
constexpr uint64_t kKernel = 0x4600'0000;
constexpr uint64_t kKernelSize = 0x21'0000;  // two pieces, the second one short
constexpr uint64_t kInitrd = 0x4640'0000;
constexpr uint64_t kInitrdSize = 0x8'1234;
constexpr uint64_t kDtb = 0x4660'0000;
constexpr uint32_t kDtbSize = 4096;
constexpr uint32_t kTimelineOffset = 1500;
constexpr uint64_t kArenaSize = 0x80'0000;
constexpr uint64_t kSources = 0x4900'0000;  // page n of a moved kernel: every third, downwards
constexpr uint64_t kWindow = 0x2'0000'0000;
constexpr uint64_t kPage = 4096;
constexpr uint64_t kPages = kKernelSize / kPage;
constexpr uint64_t kUart = 0x0900'0000;
constexpr uint32_t kPayloadFlips = 150;  // of each part

constexpr uint32_t kDigests = 4;

// What outlives a reset.
struct Progress {
  uint64_t magic;
  uint64_t next;
  std::byte digests[kDigests * handoff::kMaxDigestSize];
};
constexpr uint64_t kProgressMagic = 0x7370'696c'662d'6f6b;

char command_line[256];
bool with_moves;
bool with_mmu;
DigestKind kind;

std::byte* At(uint64_t address) { return reinterpret_cast<std::byte*>(address); }
Progress& TheProgress() { return *reinterpret_cast<Progress*>(kProgress); }

bool Asked(const char* word) {
  size_t length = 0;
  while (word[length] != '\0') ++length;
  for (const char* at = command_line; *at != '\0'; ++at) {
    if (memcmp(at, word, length) == 0) return true;
  }
  return false;
}

void Say(const char* text) {
  for (; *text != '\0'; ++text) arm64::MmioWrite32(kUart, static_cast<uint8_t>(*text));
}

void SayHex(uint64_t value) {
  char text[] = "0x00000000";
  for (int i = 9; i >= 2; --i, value >>= 4) text[i] = "0123456789abcdef"[value & 0xf];
  Say(text);
}

uint64_t PayloadWord(uint64_t offset) { return (offset + 1) * 0x9e37'79b9'7f4a'7c15; }
uint64_t SourceOf(uint64_t page) { return kSources - 3 * (page + 1) * kPage; }

void WriteDtb() {
  memset(At(kDtb), 0, kDtbSize);
  memcpy(At(kDtb), "\xd0\x0d\xfe\xed", 4);
  for (uint64_t offset = kTimelineOffset + handoff::kTimelineSize; offset < kDtbSize; ++offset) {
    At(kDtb)[offset] = static_cast<std::byte>(offset * 7);
  }
}

// Once: what a flip changes is flipped back.
void WritePayload() {
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
  for (uint64_t offset = 0; offset < kInitrdSize; offset += 4) {
    const auto word = static_cast<uint32_t>(PayloadWord(offset) >> 32);
    memcpy(At(kInitrd + offset), &word, 4);
  }
  for (uint64_t page = 0; with_moves && page < kPages; ++page) {
    memcpy(At(SourceOf(page)), At(kKernel + page * kPage), kPage);
  }
}

std::byte* AddDigest(std::byte* to, uint64_t start, uint64_t size) {
  for (uint64_t offset = 0; offset < size; offset += handoff::kPieceSize) {
    const uint64_t left = size - offset;
    const std::span<const std::byte> piece(At(start + offset),
                                           left < handoff::kPieceSize ? left : handoff::kPieceSize);
    if (kind == DigestKind::kSha256) {
      const auto digest = digest::Sha256Of(piece, digest::DigestFeatures::Scalar());
      memcpy(to, digest.data(), digest.size());
    } else {
      const uint32_t sum = digest::Crc32c(piece, digest::DigestFeatures::Scalar());
      memcpy(to, &sum, sizeof(sum));
    }
    to += handoff::DigestSize(kind);
  }
  return to;
}

constexpr handoff::VerifyRange kVerify[] = {
    {kKernel, kKernelSize, 0, 0}, {kInitrd, kInitrdSize, 2, 0}, {kDtb, kDtbSize, 3, 0}};
constexpr handoff::Range kArena[] = {{kKernel, kArenaSize}};
plan::Piece pieces[kPages];
handoff::Move moves[kPages];
plan::WindowPiece window[kPages];

plan::ControlAreaLayout Build() {
  plan::Hop hop;
  hop.entry = {kKernel};
  hop.dtb = {kDtb};
  hop.dtb_size = kDtbSize;
  hop.timeline_offset = kTimelineOffset;
  hop.arena = kArena;
  hop.verify = kVerify;
  hop.digest_kind = kind;
  hop.digests = {TheProgress().digests, size_t{kDigests} * handoff::DigestSize(kind)};
  hop.flags = handoff::kLinuxImage;
  hop.mmu = with_mmu;
  hop.pa_bits = 40;
  hop.granule_shift = 12;
  hop.va_bits = 48;
  hop.last_words = {.uart_base = kUart,
                    .uart_kind = relocator::UartKind::kPl011,
                    .uart_reg_shift = 0,
                    .uart_io_width = 4,
                    .conduit = relocator::PsciConduit::kHvc,
                    .check = 0};
  if (with_moves) {
    for (uint64_t page = 0; page < kPages; ++page) {
      pieces[page] = {PhysAddr{SourceOf(page)}, PhysAddr{kKernel + page * kPage}, kPage};
    }
    const auto geometry = arm64::PageGeometry::Make(12, 48);
    const auto list =
        plan::LayOutMoves(pieces, with_mmu ? &*geometry : nullptr, kWindow, moves, window);
    if (!list) Fail("LayOutMoves", static_cast<uint64_t>(list.error().code));
    hop.moves = {moves, list->moves};
    hop.window = {window, list->windows};
  }
  const auto layout = plan::BuildControlArea(hop, relocator::Blob(), PhysAddr{kControl},
                                             {At(kControl), kControlSize});
  if (!layout) Fail("BuildControlArea", static_cast<uint64_t>(layout.error().code));
  return *layout;
}

// Walks over all that is to be flipped until number `wanted`.
class Chooser {
 public:
  explicit Chooser(uint64_t wanted) : left_(wanted) {}

  struct Flip {
    const char* part = nullptr;
    uint64_t address = 0;
    uint64_t offset = 0;
    uint32_t bit = 0;
  };

  bool found() const { return flip_.part != nullptr; }
  const Flip& flip() const { return flip_; }

  void EachBit(const char* part, uint64_t start, uint64_t size, uint64_t from) {
    if (found()) return;
    if (left_ >= size * 8) {
      left_ -= size * 8;
      return;
    }
    Take(part, start + left_ / 8, from, left_ % 8);
  }
  // Some, each time others.
  void Some(const char* part, uint64_t start, uint64_t size, uint64_t from) {
    if (found()) return;
    if (left_ >= kPayloadFlips) {
      left_ -= kPayloadFlips;
      return;
    }
    const uint64_t random = PayloadWord(left_ * 8 + start) >> 20;
    // The first and the last byte too.
    const uint64_t offset = left_ == 0 ? 0 : left_ == 1 || size == 0 ? size - 1 : random % size;
    Take(part, start + offset, from, random >> 40 & 7);
  }

 private:
  void Take(const char* part, uint64_t address, uint64_t from, uint64_t bit) {
    flip_ = {part, address, address - from, static_cast<uint32_t>(bit)};
  }

  uint64_t left_;
  Flip flip_;
};

Chooser::Flip Choose(uint64_t number, const plan::ControlAreaLayout& layout) {
  Chooser chooser(number);
  if (with_moves) {
    chooser.Some("kernel", SourceOf(kPages - 1), kPage, SourceOf(kPages - 1));
    chooser.Some("kernel", SourceOf(0), kPage, SourceOf(0));
  } else {
    chooser.Some("kernel", kKernel, kKernelSize, kKernel);
  }
  chooser.Some("initrd", kInitrd, kInitrdSize, kInitrd);
  chooser.Some("dtb", kDtb, kDtbSize, kDtb);
  const uint64_t handoff = kControl + layout.handoff;
  uint32_t total_size = 0;
  memcpy(&total_size, At(handoff + offsetof(handoff::Header, total_size)), sizeof(total_size));
  if (with_moves) {
    // Its own lists; the rest is as without moves.
    chooser.Some("handoff", handoff + sizeof(handoff::Header), total_size - sizeof(handoff::Header),
                 handoff);
  } else {
    chooser.EachBit("handoff", handoff, total_size, handoff);
  }
  const uint64_t tables = kControl + layout.tables;
  for (uint64_t word = 0; word < layout.table_bytes && !chooser.found(); word += 8) {
    uint64_t entry = 0;
    memcpy(&entry, At(tables + word), 8);
    // Of the many alike, those of moved pages, some.
    if (entry != 0 && (!with_moves || word % 1000 == 0)) {
      chooser.EachBit("tables", tables + word, 8, tables);
    }
  }
  if (with_mmu) chooser.Some("tables", tables, layout.table_bytes, tables);
  if (!with_moves) {
    chooser.EachBit("parameters", kControl + offsetof(relocator::BlobHeader, parameters),
                    sizeof(relocator::BlobParameters), kControl);
  }
  return chooser.flip();
}

void CheckPayload() {
  for (uint64_t offset = 80; offset < kKernelSize; offset += 8) {
    uint64_t word = 0;
    memcpy(&word, At(kKernel + offset), 8);
    if (word != PayloadWord(offset)) Fail("payload differs at", offset);
  }
}

}  // namespace
}  // namespace khop::baremetal

// The hop came off: the flip escaped, harmlessly at least.
extern "C" [[noreturn]] void ProbeMain() {
  using namespace khop::baremetal;  // NOLINT(google-build-using-namespace)
  ReadCommandLine(command_line, sizeof(command_line));
  with_moves = Asked("moves");
  CheckPayload();
  Say("started, whole\n");
  ResetMachine();
}

extern "C" [[noreturn]] void HarnessException() {
  khop::baremetal::Say("started, and an exception\n");
  ResetMachine();
}

extern "C" [[noreturn]] void HarnessMain() {
  using namespace khop::baremetal;  // NOLINT(google-build-using-namespace)
  ReadCommandLine(command_line, sizeof(command_line));
  with_moves = Asked("moves");
  with_mmu = !Asked("mmu-off");
  kind = Asked("crc32c") ? DigestKind::kCrc32c : DigestKind::kSha256;
  Progress& progress = TheProgress();
  WriteDtb();
  if (progress.magic != kProgressMagic) {
    progress = {};
    WritePayload();
    std::byte* to = AddDigest(progress.digests, kKernel, kKernelSize);
    to = AddDigest(to, kInitrd, kInitrdSize);
    AddDigest(to, kDtb, kDtbSize);
    progress.magic = kProgressMagic;
  } else {
    const auto last = Choose(progress.next - 1, Build());
    // In the control area it has been built anew.
    const bool built = last.address >= kControl && last.address < kControl + kControlSize;
    const bool tree = last.address >= kDtb && last.address < kDtb + kDtbSize;
    if (!built && !tree) *At(last.address) ^= std::byte{1} << last.bit;
  }
  const auto flip = Choose(progress.next, Build());
  // A stack elsewhere may have been written to anywhere.
  if (flip.part != nullptr && flip.part[0] == 'p') WritePayload();
  if (flip.part == nullptr) {
    Say("done\n");
    Exit(0);
  }
  ++progress.next;
  *At(flip.address) ^= std::byte{1} << flip.bit;
  Say("flip ");
  Say(flip.part);
  Say(" ");
  SayHex(flip.offset);
  Say(".");
  const char bit[] = {static_cast<char>('0' + flip.bit), '\n', '\0'};
  Say(bit);
  EnterBlob(kControl);
}
