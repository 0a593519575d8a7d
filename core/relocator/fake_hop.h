// SPDX-License-Identifier: MIT
// A whole hop on the model of the machine: arena, payload, control area, run, verdict. For tests.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "core/arm64/fake/machine.h"
#include "core/digest/crc32c.h"
#include "core/digest/sha256.h"
#include "core/handoff/check.h"
#include "core/plan/control_area.h"
#include "core/relocator/hop.h"

namespace khop::relocator {

struct FakeHopOptions {
  arm64::fake::Config machine = {};
  bool mmu = true;
  handoff::DigestKind digest_kind = handoff::DigestKind::kSha256;
  bool timeline = true;
  // Pages of the payload that lie elsewhere and are moved into place; the rest is in place.
  std::vector<size_t> moved_pages = {1, 3};
  // The kernel's pages lie one page too high, all but the last one in one run: one move onto its
  // own source, and one from elsewhere. moved_pages must then be empty.
  bool shifted = false;
  uint32_t flags = handoff::kLinuxImage;
  uint64_t early_word = 0;      // behind the stamp
  uint64_t entry_ticks = 500;   // when the relocator starts
  uint32_t told_line_size = 0;  // to the hand-off; 0: the machine's
};

// The memory of the machine: arena with kernel and dtb, pages to move from, control area.
class FakeHop {
 public:
  static constexpr uint64_t kPage = 4096;
  static constexpr uint64_t kKernelPages = 6;
  static constexpr uint64_t kArena = 16 * kPage;  // offset of the kernel in memory
  static constexpr uint64_t kDtb = kArena + kKernelPages * kPage;
  static constexpr uint32_t kDtbSize = 1000;
  static constexpr uint32_t kTimelineOffset = 500;
  static constexpr uint64_t kStamp = kDtb + kPage - 16;
  static constexpr uint64_t kStampValue = 321;
  static constexpr uint64_t kSources = 40 * kPage;  // scattered: every other page from here, down
  static constexpr uint64_t kControl = 64 * kPage;
  static constexpr std::byte kJunk{0xa5};

  explicit FakeHop(const FakeHopOptions& options)
      : options_(options), machine_(std::make_unique<arm64::fake::Machine>(options.machine)) {
    FillPayload();
    BuildControl();
    machine_->Settle();
    PutAdversary();
  }

  arm64::fake::Machine& machine() { return *machine_; }
  const arm64::fake::Machine& machine() const { return *machine_; }
  std::span<std::byte> control() { return machine_->memory().subspan(kControl, layout_.size); }
  const plan::ControlAreaLayout& layout() const { return layout_; }
  uint64_t Address(uint64_t offset) const { return machine_->base() + offset; }
  handoff::Header& header() {
    return *reinterpret_cast<handoff::Header*>(control().data() + layout_.handoff);
  }
  // After a test changed fields: makes the checksums right again, so that the field itself is
  // what is found.
  void Reseal() {
    const handoff::View view(control().data() + layout_.handoff);
    header().body_crc32c = handoff::BodyChecksum(view, digest::DigestFeatures::Scalar());
    header().header_crc32c = handoff::HeaderChecksum(header(), digest::DigestFeatures::Scalar());
    machine_->Settle();
  }

  // Runs the hop as far as the jump; `violations` gets everything that is wrong in the end.
  HopFailure Run() {
    const Placement placement = {
        .blob = {PhysAddr{Address(kControl)}, 4096},
        .stack = {PhysAddr{Address(kControl) + layout_.stack}, kMinStackSize},
        .handoff = PhysAddr{Address(kControl) + layout_.handoff}};
    HopFailure failure;
    switch (options_.machine.regime) {
      case arm64::Regime::kEl1:
        failure = RunHop<arm64::Regime::kEl1>(placement, options_.entry_ticks, &jump_);
        break;
      case arm64::Regime::kEl2:
        failure = RunHop<arm64::Regime::kEl2>(placement, options_.entry_ticks, &jump_);
        break;
      case arm64::Regime::kEl2Host:
        failure = RunHop<arm64::Regime::kEl2Host>(placement, options_.entry_ticks, &jump_);
        break;
    }
    if (failure.ok()) machine_->JumpToKernel();
    return failure;
  }
  const Jump& jump() const { return jump_; }

  // Everything wrong after a Run() that succeeded: what the machine saw, and what lies at the point
  // of coherency where the next kernel will read it.
  std::vector<std::string> Problems() {
    std::vector<std::string> problems = machine_->violations();
    const auto kernel = machine_->AtPoc(Address(kArena), kernel_.size());
    if (memcmp(kernel.data(), kernel_.data(), kernel_.size()) != 0) {
      problems.emplace_back("the kernel at the point of coherency is not the one that was loaded");
    }
    const auto dtb = machine_->AtPoc(Address(kDtb), kDtbSize);
    const size_t after = kTimelineOffset + handoff::kTimelineSize;
    if (memcmp(dtb.data(), dtb_.data(), kTimelineOffset) != 0 ||
        memcmp(dtb.data() + after, dtb_.data() + after, kDtbSize - after) != 0) {
      problems.emplace_back("the device tree changed beyond its timeline");
    }
    if (options_.timeline && Slot(handoff::TimelineSlot::kVersion) != handoff::kTimelineVersion) {
      problems.emplace_back("the timeline is not at the point of coherency");
    }
    if (options_.digest_kind == handoff::DigestKind::kSha256 &&
        options_.machine.id_aa64isar0 != 0 && machine_->fp_trapped()) {
      problems.emplace_back("SHA2 instructions with FP trapped");
    }
    return problems;
  }

  // A slot of the timeline as the next kernel finds it.
  uint64_t Slot(handoff::TimelineSlot slot) const {
    const uint64_t at = kDtb + kTimelineOffset + uint64_t{static_cast<uint32_t>(slot)} * 8;
    uint64_t value = 0;
    for (const std::byte b : machine_->AtPoc(Address(at), 8)) {
      value = value << 8 | static_cast<uint64_t>(b);
    }
    return value;
  }

 private:
  // A stretch of the kernel that is moved: where in the kernel, from where in memory.
  struct Piece {
    uint64_t offset, source, size;
  };
  std::vector<Piece> Pieces() const {
    constexpr uint64_t kRun = (kKernelPages - 1) * kPage;
    if (options_.shifted) return {{0, kArena + kPage, kRun}, {kRun, SourceOffset(0), kPage}};
    std::vector<Piece> pieces;
    pieces.reserve(options_.moved_pages.size());
    for (size_t i = 0; i < options_.moved_pages.size(); ++i) {
      pieces.push_back({options_.moved_pages[i] * kPage, SourceOffset(i), kPage});
    }
    return pieces;
  }
  uint64_t SourceOffset(size_t move) const { return kSources - 2 * move * kPage; }

  void FillPayload() {
    kernel_.resize(kKernelPages * kPage);
    for (size_t i = 0; i < kernel_.size(); ++i) {
      kernel_[i] = static_cast<std::byte>(i * 7 + i / 256);
    }
    memcpy(&kernel_[56], "ARM\x64", 4);
    dtb_.assign(kDtbSize, std::byte{0x33});
    memcpy(dtb_.data(), "\xd0\x0d\xfe\xed", 4);
    memset(&dtb_[kTimelineOffset], 0, handoff::kTimelineSize);
    memcpy(machine_->memory().data() + kArena, kernel_.data(), kernel_.size());
    memcpy(machine_->memory().data() + kDtb, dtb_.data(), dtb_.size());
    const uint64_t words[] = {kStampValue, options_.early_word};
    memcpy(machine_->memory().data() + kStamp, words, sizeof(words));
    for (const Piece& piece : Pieces()) {
      memset(machine_->memory().data() + kArena + piece.offset, 0, piece.size);
    }
    for (const Piece& piece : Pieces()) {
      memcpy(machine_->memory().data() + piece.source, &kernel_[piece.offset], piece.size);
    }
  }

  void AddDigest(uint64_t start, std::span<const std::byte> bytes) {
    verify_.push_back({.start = start,
                       .size = bytes.size(),
                       .first_digest = static_cast<uint32_t>(verify_.size()),
                       .reserved = 0});
    if (options_.digest_kind == handoff::DigestKind::kSha256) {
      const auto digest = digest::Sha256Of(bytes, digest::DigestFeatures::Scalar());
      digests_.insert(digests_.end(), digest.begin(), digest.end());
    } else {
      const uint32_t sum = digest::Crc32c(bytes, digest::DigestFeatures::Scalar());
      const auto* const raw = reinterpret_cast<const std::byte*>(&sum);
      digests_.insert(digests_.end(), raw, raw + sizeof(sum));
    }
  }

  void BuildControl() {
    BlobHeader blob_header = {};
    blob_header.magic = kBlobMagic;
    blob_header.version = kBlobVersion;
    blob_header.size = 4096;
    std::vector<std::byte> blob(4096);
    memcpy(blob.data(), &blob_header, sizeof(blob_header));

    const std::vector<handoff::Range> arena = {{Address(kArena), (kKernelPages + 1) * kPage}};
    std::vector<handoff::Move> moves;
    std::vector<plan::WindowPiece> window;
    uint64_t virt = machine_->window();
    for (const Piece& piece : Pieces()) {
      const uint64_t phys = Address(piece.source);
      if (options_.mmu) window.push_back({VirtAddr{virt}, PhysAddr{phys}, piece.size});
      moves.push_back({.source = options_.mmu ? virt : phys,
                       .destination = Address(kArena + piece.offset),
                       .size = piece.size});
      virt += piece.size;
    }
    if (options_.digest_kind != handoff::DigestKind::kNone) {
      AddDigest(Address(kArena), kernel_);
      AddDigest(Address(kDtb), dtb_);
    }
    const plan::Hop hop = {
        .entry = PhysAddr{Address(kArena)},
        .dtb = PhysAddr{Address(kDtb)},
        .dtb_size = kDtbSize,
        .timeline_offset = options_.timeline ? kTimelineOffset : 0,
        .stamp = PhysAddr{Address(kStamp)},
        .arena = arena,
        .moves = moves,
        .window = window,
        .verify = verify_,
        .digests = digests_,
        .digest_kind = options_.digest_kind,
        .flags = options_.flags,
        .mmu = options_.mmu,
        .cache_line_size = options_.told_line_size != 0
                               ? options_.told_line_size
                               : static_cast<uint32_t>(options_.machine.line_size)};
    const auto built = plan::BuildControlArea(hop, blob, PhysAddr{Address(kControl)},
                                              machine_->memory().subspan(kControl));
    if (!built) abort();  // the tests' own options are legal
    layout_ = *built;
  }

  // The worst that the caches may hold when the relocator starts: dirty lines of an earlier owner
  // over every destination of a move, clean copies of everything that the loader cleaned.
  void PutAdversary() {
    machine_->PutCleanLines(Address(kArena), (kKernelPages + 1) * kPage);
    machine_->PutCleanLines(Address(kControl), AlignUp(layout_.size, kPage));
    for (const size_t page : options_.moved_pages) {
      machine_->PutStaleLines(Address(kArena + page * kPage), kPage, page % 2 == 1, kJunk);
    }
  }

  FakeHopOptions options_;
  std::unique_ptr<arm64::fake::Machine> machine_;
  std::vector<std::byte> kernel_;
  std::vector<std::byte> dtb_;
  std::vector<handoff::VerifyRange> verify_;
  std::vector<std::byte> digests_;
  plan::ControlAreaLayout layout_;
  Jump jump_;
};

}  // namespace khop::relocator
