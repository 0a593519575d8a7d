// SPDX-License-Identifier: MIT
#include "core/arm64/fake/machine.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cassert>
#include <cstdio>

#include "core/arm64/page_table_walker.h"

namespace khop::arm64::fake {
namespace {

Machine* current = nullptr;

std::string Hex(const char* what, uint64_t value) {
  char text[128];
  snprintf(text, sizeof(text), "%s 0x%llx", what, static_cast<unsigned long long>(value));
  return text;
}

void* Map(void* where, size_t size, int protection, int flags, int fd, off_t offset) {
  void* const at = mmap(where, size, protection, flags, fd, offset);
  assert(at != MAP_FAILED);
  return at;
}

}  // namespace

Machine::Machine(const Config& config)
    : config_(config),
      poc_(config.memory_size),
      cache_(config.memory_size),
      lines_(config.memory_size / config.line_size),
      tcr2_(config.tcr2) {
  assert(current == nullptr);
  fd_ = memfd_create("fake-memory", MFD_CLOEXEC);
  [[maybe_unused]] const int failed = ftruncate(fd_, static_cast<off_t>(config.memory_size));
  assert(fd_ >= 0 && failed == 0);
  constexpr int kReadWrite = PROT_READ | PROT_WRITE;
  // Aligned to 2 MiB, so that page tables over it look as they would on a machine.
  constexpr size_t kAlignment = size_t{2} << 20;
  auto* const reserved = static_cast<std::byte*>(
      Map(nullptr, config.memory_size + kAlignment, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  auto* const aligned =
      reinterpret_cast<std::byte*>(AlignUp(reinterpret_cast<uint64_t>(reserved), kAlignment));
  munmap(reserved, config.memory_size + kAlignment);
  cpu_ = static_cast<std::byte*>(
      Map(aligned, config.memory_size, kReadWrite, MAP_SHARED | MAP_FIXED, fd_, 0));
  raw_ = static_cast<std::byte*>(Map(nullptr, config.memory_size, kReadWrite, MAP_SHARED, fd_, 0));
  window_ = static_cast<std::byte*>(
      Map(nullptr, config.window_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  current = this;
}

Machine::~Machine() {
  munmap(cpu_, config_.memory_size);
  munmap(raw_, config_.memory_size);
  munmap(window_, config_.window_size);
  close(fd_);
  current = nullptr;
}

Machine& Machine::Current() {
  assert(current != nullptr);
  return *current;
}

void Machine::Settle() {
  memcpy(poc_.data(), raw_, config_.memory_size);
  lines_.assign(lines_.size(), Line{});
}

void Machine::PutStaleLines(uint64_t address, uint64_t size, bool dirty, std::byte junk) {
  const size_t first = (address - base()) / config_.line_size;
  const size_t last = (address + size - 1 - base()) / config_.line_size;
  for (size_t index = first; index <= last; ++index) {
    memset(Cached(index), static_cast<int>(junk), config_.line_size);
    lines_[index].valid = true;
    lines_[index].dirty = dirty;
  }
}

void Machine::PutCleanLines(uint64_t address, uint64_t size) {
  const size_t first = (address - base()) / config_.line_size;
  const size_t last = (address + size - 1 - base()) / config_.line_size;
  for (size_t index = first; index <= last; ++index) {
    memcpy(Cached(index), Memory(index), config_.line_size);
    lines_[index].valid = true;
    lines_[index].dirty = false;
  }
}

bool Machine::Count(Operation operation) {
  operations_.push_back(operation);
  return operations_.size() - 1 != suppressed_;
}

// Accounts what the code has written to this line since the last look.
void Machine::SyncLine(size_t index) {
  Line& line = lines_[index];
  const std::byte* const seen = View(index);
  const std::byte* const known = cacheable_ && line.valid ? Cached(index) : Memory(index);
  if (Same(seen, known)) return;
  if (line.pending == Pending::kInvalidate || line.pending == Pending::kCleanInvalidate) {
    Violate(
        Hex("written before its invalidation was complete:", base() + index * config_.line_size));
  }
  if (cacheable_) {
    memcpy(Cached(index), seen, config_.line_size);
    line.valid = line.dirty = true;
  } else {
    memcpy(Memory(index), seen, config_.line_size);
    stores_pending_ = true;
  }
  icache_stale_ = true;
}

void Machine::SyncAll() {
  for (size_t index = 0; index < lines_.size(); ++index) SyncLine(index);
}

// Shows the code what it sees in the present mode.
void Machine::Reload() {
  for (size_t index = 0; index < lines_.size(); ++index) {
    const std::byte* const seen = cacheable_ && lines_[index].valid ? Cached(index) : Memory(index);
    memcpy(View(index), seen, config_.line_size);
  }
}

void Machine::CheckSynchronised(const char* what) {
  if (sctlr_pending_) Violate(std::string("no ISB between the write of SCTLR and ") + what);
  if (fp_pending_) Violate(std::string("no ISB between the FP trap's change and ") + what);
}

void Machine::DataCache(Operation operation, uint64_t address) {
  const size_t index = (address - base()) / config_.line_size;
  if (address < base() || index >= lines_.size()) {
    Violate(Hex("cache maintenance outside memory:", address));
    return;
  }
  CheckSynchronised("cache maintenance");
  SyncLine(index);
  if (!Count(operation)) return;
  Line& line = lines_[index];
  line.pending = operation == Operation::kDcCvac    ? Pending::kClean
                 : operation == Operation::kDcCivac ? Pending::kCleanInvalidate
                                                    : Pending::kInvalidate;
  pending_lines_.push_back(index);
}

void Machine::DcZva(uint64_t address) {
  CheckSynchronised("DC ZVA");
  const uint64_t block = DczidEl0::FromRaw(config_.dczid).zero_block_size();
  if (block == 0) Violate("DC ZVA where DCZID_EL0 prohibits it");
  if (!cacheable_) Violate(Hex("DC ZVA on Device memory:", address));
  if (block == 0 || !cacheable_ || !Count(Operation::kDcZva)) return;
  const uint64_t start = AlignDown(address, block);
  if (delay_zeroing_) {
    delayed_zeroings_.push_back(start);
  } else {
    Zero(start);
  }
}

void Machine::Zero(uint64_t address) {
  const uint64_t block = DczidEl0::FromRaw(config_.dczid).zero_block_size();
  if (address < base() || address + block > base() + config_.memory_size) {
    Violate(Hex("DC ZVA outside memory:", address));
    return;
  }
  const size_t first = (address - base()) / config_.line_size;
  const size_t last = (address + block - 1 - base()) / config_.line_size;
  for (size_t index = first; index <= last; ++index) SyncLine(index);
  memset(reinterpret_cast<void*>(address), 0, block);  // through the tables, as a store
  for (size_t index = first; index <= last; ++index) {
    SyncLine(index);
    // A line that was zero before is dirty all the same.
    memcpy(Cached(index), View(index), config_.line_size);
    lines_[index].valid = lines_[index].dirty = true;
  }
}

void Machine::LineStored() {
  CheckSynchronised("a store of the copy");
  for (const uint64_t address : delayed_zeroings_) Zero(address);
  delayed_zeroings_.clear();
}

std::byte* Machine::VectorLine(size_t index) {
  CheckSynchronised("a use of V registers");
  if (fp_trapped_) Violate("V registers used with their trap on");
  return vectors_ + index * 64;
}

void Machine::CompleteLine(size_t index) {
  SyncLine(index);
  Line& line = lines_[index];
  const bool clean = line.pending != Pending::kInvalidate;
  if (line.valid && line.dirty && clean) {
    memcpy(Memory(index), Cached(index), config_.line_size);
    line.dirty = false;
    icache_stale_ = true;
  }
  if (line.pending != Pending::kClean) line = Line{};
  line.pending = Pending::kNothing;
  const std::byte* const seen = cacheable_ && line.valid ? Cached(index) : Memory(index);
  memcpy(View(index), seen, config_.line_size);
}

void Machine::DsbSy() {
  CheckSynchronised("DSB");
  if (!Count(Operation::kDsbSy)) return;
  SyncAll();
  stores_pending_ = false;
  for (const size_t index : pending_lines_) {
    if (lines_[index].pending != Pending::kNothing) CompleteLine(index);
  }
  pending_lines_.clear();
  if (tlbi_issued_) {
    tlbi_issued_ = false;
    tlb_stale_ = false;
    context_pending_ = true;
  }
  if (icache_issued_) {
    icache_issued_ = false;
    context_pending_ = true;
  }
}

void Machine::Isb() {
  if (!Count(Operation::kIsb)) return;
  registers_pending_ = false;
  context_pending_ = false;
  fp_pending_ = false;
  if (!sctlr_pending_) return;
  sctlr_pending_ = false;
  SwitchTranslation((sctlr_ & SctlrEl1::M::kMask) != 0);
}

void Machine::IcIallu() {
  CheckSynchronised("IC IALLU");
  if (!Count(Operation::kIcIallu)) return;
  SyncAll();
  if (!pending_lines_.empty()) Violate("IC IALLU before the cleaning was complete");
  if (stores_pending_) Violate("IC IALLU before the stores were complete");
  icache_issued_ = true;
  icache_stale_ = false;
}

void Machine::TlbiAll(Regime regime) {
  CheckSynchronised("TLBI");
  if (!Count(Operation::kTlbiAll)) return;
  if (registers_pending_) Violate("TLBI before the translation registers were synchronised");
  // VMALLE1 at EL2 acts on another regime; ALLE2 does not exist at EL1.
  if ((regime == Regime::kEl1) != (config_.regime == Regime::kEl1)) {
    Violate("TLBI of another regime");
    return;
  }
  tlbi_issued_ = true;
}

void Machine::CheckRegime(Regime regime, const char* what) {
  if (regime != config_.regime) Violate(std::string(what) + " by another regime's name");
}

uint64_t Machine::ReadSctlr(Regime regime) {
  CheckRegime(regime, "read of SCTLR");
  CheckSynchronised("a read of SCTLR");
  return sctlr_;
}

void Machine::WriteRegister(Operation which, Regime regime, uint64_t value) {
  CheckRegime(regime, "register written");
  CheckSynchronised("a register write");
  if (!Count(which)) return;
  registers_pending_ = true;
  switch (which) {
    case Operation::kWriteMair:
      mair_ = value;
      return;
    case Operation::kWriteTcr:
      tcr_ = value;
      return;
    case Operation::kWriteTtbr0:
      ttbr0_ = value;
      return;
    case Operation::kWriteTcr2:
      if (config_.id_aa64mmfr3 == 0) Violate("TCR2 written on a CPU without it");
      tcr2_ = value;
      return;
    case Operation::kWriteFpTrap:
      fp_trapped_ = false;
      fp_pending_ = true;
      return;
    case Operation::kWriteSctlr:
      break;
    default:
      assert(false);
  }
  registers_pending_ = false;
  if ((value & SctlrEl1::M::kMask) != 0 && (sctlr_ & SctlrEl1::M::kMask) == 0) {
    if (context_pending_) Violate("MMU on without an ISB after the TLBI");
    if (tlbi_issued_ || tlb_stale_) Violate("MMU on with stale TLB entries");
    if (mair_ != 0x4404ff) Violate(Hex("MMU on with MAIR", mair_));
    if (tcr2_ != 0) Violate(Hex("MMU on with TCR2", tcr2_));
    const uint64_t reserved = config_.regime == Regime::kEl2 ? 0x30c5'0830 : 0x30d0'0800;
    if (value != (reserved | 0x1005)) Violate(Hex("SCTLR", value));
  }
  if (!pending_lines_.empty()) Violate("SCTLR written before the cache maintenance was complete");
  sctlr_ = value;
  sctlr_pending_ = true;
}

void Machine::SwitchTranslation(bool on) {
  SyncAll();
  if (on) ApplyTables();
  cacheable_ = on;
  Reload();
}

// Gives the code under test the access that the tables give, and not more.
void Machine::ApplyTables() {
  const unsigned t0sz = tcr_ & 0x3f;
  const unsigned tg0 = (tcr_ >> 14) & 3;
  const unsigned granule_shift = tg0 == 0 ? 12 : tg0 == 1 ? 16 : 14;
  const uint64_t walk_attributes = (tcr_ >> 8) & 0x3f;  // IRGN0, ORGN0, SH0
  if (walk_attributes != 0x35) Violate(Hex("walks are not cacheable and shareable: TCR", tcr_));
  mprotect(cpu_, config_.memory_size, PROT_NONE);
  // The walker's reads are cacheable: a stale line over the tables is what it would see.
  const auto read = [&](uint64_t address) {
    uint64_t word = 0;
    if (address < base() || address - base() > config_.memory_size - sizeof(word)) {
      Violate(Hex("table outside memory:", address));
      return word;
    }
    const size_t index = (address - base()) / config_.line_size;
    const std::byte* const line = lines_[index].valid ? Cached(index) : Memory(index);
    memcpy(&word, line + (address - base()) % config_.line_size, sizeof(word));
    return word;
  };
  PageTableWalker walker(read, ttbr0_, granule_shift, 64 - t0sz);
  const auto walked = walker.ForEachLeaf([&](const WalkLeaf& leaf) {
    if (leaf.pa < base() || leaf.pa - base() + leaf.size > config_.memory_size) {
      Violate(Hex("maps memory that is not there:", leaf.pa));
      return;
    }
    const int protection = (leaf.attributes.ap & 2) != 0 ? PROT_READ : PROT_READ | PROT_WRITE;
    if (leaf.va == leaf.pa) {
      mprotect(cpu_ + (leaf.pa - base()), leaf.size, protection);
    } else if (leaf.va >= window() && leaf.va - window() + leaf.size <= config_.window_size) {
      Map(reinterpret_cast<void*>(leaf.va), leaf.size, protection, MAP_SHARED | MAP_FIXED, fd_,
          static_cast<off_t>(leaf.pa - base()));
    } else {
      Violate(Hex("maps a virtual address that nothing needs:", leaf.va));
    }
  });
  if (!walked) Violate(Hex("malformed tables at", walked.error().va));
}

void Machine::JumpToKernel() {
  CheckSynchronised("the jump");
  SyncAll();
  // KhopJump: DC CIVAC over the stack, which lies on the host's own; DSB SY; MMU off; ISB.
  for (const size_t index : pending_lines_) CompleteLine(index);
  pending_lines_.clear();
  icache_issued_ = false;
  mprotect(cpu_, config_.memory_size, PROT_READ | PROT_WRITE);
  for (size_t index = 0; index < lines_.size(); ++index) {
    const uint64_t address = base() + index * config_.line_size;
    if (lines_[index].valid && lines_[index].dirty) {
      Violate(Hex("dirty at the jump:", address));
    } else if (lines_[index].valid && !Same(Cached(index), Memory(index))) {
      Violate(Hex("stale at the jump:", address));
    }
  }
  if (icache_stale_) Violate("I-cache not invalidated after the last write");
  cacheable_ = false;
  Reload();
}

std::span<const std::byte> Machine::AtPoc(uint64_t address, uint64_t size) const {
  return std::span(poc_).subspan(address - base(), size);
}

}  // namespace khop::arm64::fake
