// SPDX-License-Identifier: MIT
// A model of one PE with its caches, for running the relocator's C++ on any host. Emulators model
// no caches, so only here does a missing clean, invalidate or barrier show.
//
// Memory is real host memory at its own address ("physical" = host address), so that the code under
// test runs unchanged. The model keeps beside it, per line, what is at the point of coherency and
// what is in the cache; every operation first finds out, by comparing, what the code has written
// since, and accounts it to the cache or to memory as the MMU is on or off. When the MMU comes on
// the tables are walked, by the independent walker: the code then has just the access that they
// give (a fault is a real SIGSEGV), and virtual windows are real mappings.
//
// It is pessimistic: stale lines are put where the test wants them and are always seen; nothing
// happens by itself before its barrier.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "core/arm64/regime.h"

namespace khop::arm64::fake {

enum class Operation : uint8_t {
  kDsbSy,
  kIsb,
  kDcCvac,
  kDcCivac,
  kDcIvac,
  kDcZva,
  kIcIallu,
  kTlbiAll,
  kWriteSctlr,
  kWriteTcr,
  kWriteMair,
  kWriteTtbr0,
  kWriteTcr2,
  kWriteFpTrap,
};

struct Config {
  size_t memory_size = size_t{1} << 20;  // a multiple of the host's page size
  size_t window_size = size_t{1} << 20;  // of virtual addresses for the tables' windows
  Regime regime = Regime::kEl1;
  uint64_t line_size = 64;
  uint64_t id_aa64mmfr0 = 0x0000'0005;  // PARange 48 bits; 4K and 64K granules
  uint64_t id_aa64mmfr3 = 0;
  uint64_t id_aa64isar0 = 0;
  uint64_t id_aa64pfr0 = 0;  // FP and Advanced SIMD
  uint64_t dczid = 4;        // DC ZVA is allowed and zeroes 64 bytes
  uint64_t tcr2 = 0;         // as the last kernel left it
};

class Machine {
 public:
  explicit Machine(const Config& config);
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  // The machine that the functions of instructions.h act on.
  static Machine& Current();

  // --- Set-up, before the run.
  uint64_t base() const { return reinterpret_cast<uint64_t>(cpu_); }
  uint64_t window() const { return reinterpret_cast<uint64_t>(window_); }
  // What the CPU sees of the memory, writable whatever the tables say.
  std::span<std::byte> memory() { return {raw_, config_.memory_size}; }
  // Takes the memory's present contents as being at the point of coherency, caches empty.
  void Settle();
  // Puts lines full of `junk` over [address, address + size) into the cache, memory unchanged.
  void PutStaleLines(uint64_t address, uint64_t size, bool dirty, std::byte junk);
  // Puts clean copies of the memory into the cache, as speculation may do at any time.
  void PutCleanLines(uint64_t address, uint64_t size);
  // The `index`th operation of the run (DC operations, barriers, register writes) does nothing.
  void SuppressOperation(size_t index) { suppressed_ = index; }
  // From here on every DC ZVA comes late: after the next store of a line.
  void DelayZeroing() { delay_zeroing_ = true; }

  // --- After the run.
  // What KhopJump does: the jump itself. Afterwards the verdict is in violations().
  void JumpToKernel();
  // Everything that went wrong, one line each; a clean run leaves none.
  const std::vector<std::string>& violations() const { return violations_; }
  // What is at the point of coherency at a physical address.
  std::span<const std::byte> AtPoc(uint64_t address, uint64_t size) const;
  size_t operation_count() const { return operations_.size(); }
  Operation operation(size_t index) const { return operations_[index]; }
  uint64_t sctlr() const { return sctlr_; }
  bool fp_trapped() const { return fp_trapped_; }

  // --- What instructions.h calls.
  void DsbSy();
  void Isb();
  void DataCache(Operation operation, uint64_t address);
  void DcZva(uint64_t address);
  // After each line that a copy stored.
  void LineStored();
  // V registers 4 * index to 4 * index + 3.
  std::byte* VectorLine(size_t index);
  void IcIallu();
  void TlbiAll(Regime regime);
  uint64_t ReadSctlr(Regime regime);
  void WriteRegister(Operation which, Regime regime, uint64_t value);
  uint64_t ReadCntvct() { return counter_ += 16; }
  uint64_t ReadCurrentEl() const { return config_.regime == Regime::kEl1 ? 1U << 2 : 2U << 2; }
  uint64_t ReadHcrEl2() const {
    return config_.regime == Regime::kEl2Host ? HcrEl2::E2H::kMask | HcrEl2::TGE::kMask : 0;
  }
  const Config& config() const { return config_; }

 private:
  enum class Pending : uint8_t { kNothing, kClean, kCleanInvalidate, kInvalidate };
  struct Line {
    bool valid = false;
    bool dirty = false;
    Pending pending = Pending::kNothing;
  };

  // False if this operation is the suppressed one.
  bool Count(Operation operation);
  void Violate(std::string what) { violations_.push_back(std::move(what)); }
  void SyncLine(size_t index);
  void SyncAll();
  void Reload();
  void CompleteLine(size_t index);
  void Zero(uint64_t address);
  void SwitchTranslation(bool on);
  void ApplyTables();
  void CheckRegime(Regime regime, const char* what);
  // With SCTLR or the FP trap written and not yet synchronised, only an ISB makes sense.
  void CheckSynchronised(const char* what);
  std::byte* View(size_t index) const { return raw_ + index * config_.line_size; }
  std::byte* Cached(size_t index) { return cache_.data() + index * config_.line_size; }
  std::byte* Memory(size_t index) { return poc_.data() + index * config_.line_size; }
  bool Same(const std::byte* a, const std::byte* b) const {
    return memcmp(a, b, config_.line_size) == 0;
  }

  Config config_;
  int fd_ = -1;
  std::byte* cpu_ = nullptr;     // the code's view, protected as the tables say
  std::byte* raw_ = nullptr;     // the same pages, always writable
  std::byte* window_ = nullptr;  // reserved addresses for virtual windows
  std::vector<std::byte> poc_;
  std::vector<std::byte> cache_;
  std::vector<Line> lines_;
  std::vector<size_t> pending_lines_;

  uint64_t counter_ = 1000;
  uint64_t sctlr_ = 0;
  uint64_t tcr_ = 0, mair_ = 0, ttbr0_ = 0, tcr2_ = 0;
  bool cacheable_ = false;          // the state that accesses see
  bool sctlr_pending_ = false;      // SCTLR written, no ISB since
  bool registers_pending_ = false;  // another translation register written, no ISB since
  bool stores_pending_ = false;     // stores past the caches that no DSB followed
  bool tlb_stale_ = true;
  bool tlbi_issued_ = false;      // no DSB since
  bool context_pending_ = false;  // a completed TLBI or IC that no ISB followed
  bool icache_stale_ = true;
  bool icache_issued_ = false;
  bool fp_trapped_ = true;
  bool fp_pending_ = false;  // no ISB since the trap was lifted
  size_t suppressed_ = SIZE_MAX;
  bool delay_zeroing_ = false;
  std::vector<uint64_t> delayed_zeroings_;
  std::byte vectors_[4 * 64] = {};
  std::vector<Operation> operations_;
  std::vector<std::string> violations_;
};

}  // namespace khop::arm64::fake
