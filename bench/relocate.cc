// SPDX-License-Identifier: MIT
// The benchmark: payloads of several sizes in scattered pages of several sizes, relocated by khop's
// own code and by the two loops that kernels have, each checked and counted. bench/README.md.
#include <cstddef>
#include <cstdint>
#include <span>

#include "bench/layout.h"
#include "bench/loops.h"
#include "bench/payload.h"
#include "bench/platform.h"
#include "core/arm64/instructions.h"
#include "core/relocator/cache.h"
#include "core/relocator/copy.h"
#include "core/relocator/mmu.h"

extern "C" {
// start.S
void BenchMmuOff();
void BenchForgetData();
}

namespace khop::bench {
namespace {

using arm64::Regime;

constexpr uint64_t kSizes[] = {KHOP_BENCH_SIZES};  // MiB
constexpr uint64_t kPages[] = {KHOP_BENCH_PAGES};  // KiB

enum class Loop { kLinux510, kLinux612, kKhopOff, kKhopOffVector, kKhopOn, kKhopOnVector };
constexpr Loop kLoops[] = {Loop::kLinux510,      Loop::kLinux612, Loop::kKhopOff,
                           Loop::kKhopOffVector, Loop::kKhopOn,   Loop::kKhopOnVector};

const char* NameOf(Loop loop) {
  switch (loop) {
    case Loop::kLinux510:
      return "5.10-style";
    case Loop::kLinux612:
      return "6.12-style";
    case Loop::kKhopOff:
      return "khop-off-general";
    case Loop::kKhopOffVector:
      return "khop-off-vector";
    case Loop::kKhopOn:
      return "khop-on-general";
    case Loop::kKhopOnVector:
      break;
  }
  return "khop-on-vector";
}
bool NeedsVectors(Loop loop) { return loop == Loop::kKhopOffVector || loop == Loop::kKhopOnVector; }

// The identity map of everything, for filling and checking: blocks, so that a few tables do.
constexpr uint64_t kIdentityTables = 16;
alignas(kPage) uint64_t identity_tables[kIdentityTables * kPage / 8];
uint64_t scratch;

struct Calibration {
  uint64_t instructions = 0;  // in this many ticks
  uint64_t ticks = 0;
  bool exact = false;  // instructions of every kind take the same number of ticks
};

template <Regime kRegime>
class Bench {
 public:
  Bench(PhysRange memory, unsigned entry_level) : memory_(memory), entry_level_(entry_level) {}

  void Run() {
    const bool tge = relocator::HostOfGuests<kRegime>();
    arm64::WriteSctlr<kRegime>(arm64::SctlrMmuOff(kRegime, tge));
    arm64::Isb();
    const auto pfr0 = arm64::IdAa64Pfr0El1::FromRaw(arm64::ReadIdAa64pfr0El1());
    vectors_ = pfr0.has_adv_simd();
    if (vectors_) relocator::AllowFp<kRegime>();
    sizes_.line = arm64::CtrEl0::FromRaw(arm64::ReadCtrEl0()).dcache_line_size();
    sizes_.zero_block = arm64::DczidEl0::FromRaw(arm64::ReadDczidEl0()).zero_block_size();
    memory_.start = UpTo(memory_.start, kBlock);

    Introduce();
    MakeIdentity();
    Calibrate();
    for (const uint64_t page : kPages) {
      for (const uint64_t size : kSizes) RunCase(size * kMiB, page << 10);
    }
    Print(failures_ == 0 ? "bench: done\n" : "bench: done, with failures\n");
    PowerOff(failures_ == 0 ? 0 : 1);
  }

 private:
  // ---- Switching. What is dirty in the caches at TurnOff besides this program's own data is the
  // caller's affair.
  void TurnOn(Tables tables) {
    const handoff::Translation translation = {.tables = {tables.root, tables.bytes},
                                              .root = tables.root,
                                              .granule_shift = kGeometry.granule_shift(),
                                              .va_bits = kGeometry.va_bits(),
                                              .tables_crc32c = 0,
                                              .pa_bits = 48};
    BenchForgetData();
    relocator::TurnMmuOn<kRegime>(translation);
  }
  void Clean(PhysAddr start, uint64_t size) {
    relocator::ForEachLine<arm64::DcCivac>(start.value, size, sizes_.line);
    arm64::DsbSy();
  }

  void MakeIdentity() {
    if (!relocator::CheckCpu({.tables = {},
                              .root = 0,
                              .granule_shift = kGeometry.granule_shift(),
                              .va_bits = 48,
                              .tables_crc32c = 0,
                              .pa_bits = 32})
             .ok()) {
      Fail("this CPU has no 4K granule");
    }
    // Whole blocks: the rest of the last one is not used.
    identity_size_ = memory_.size / kBlock * kBlock;
    if (memory_.start.value + identity_size_ > kWindow) Fail("memory beyond 128 TiB");
    TableMaker maker(AddressOf(identity_tables), sizeof(identity_tables));
    if (identity_size_ != 0) maker.Map({memory_.start, identity_size_}, Access::kReadWrite);
    identity_ = maker.Done();
  }

  void Introduce() {
    Print("bench: entered at EL");
    PrintNumber(entry_level_);
    Print(", runs at EL");
    PrintNumber(kRegime == Regime::kEl1 ? 1 : 2);
    Print(kRegime == Regime::kEl2Host ? " (VHE)" : "");
    Print("; cache line ");
    PrintNumber(sizes_.line);
    Print(", DC ZVA ");
    PrintNumber(sizes_.zero_block);
    Print(" bytes; ");
    PrintNumber(memory_.size / kMiB);
    Print(" MiB free; counter ");
    PrintNumber(arm64::ReadCntfrqEl0());
    Print(" Hz; vector registers: ");
    Print(vectors_ ? "yes\n" : "no\n");
  }

  // Ticks for a known number of instructions, of the cheapest kind and of dear ones. On hardware
  // the two differ manyfold. Where time is made of instructions they do not, and ticks are
  // instructions.
  void Calibrate() {
    constexpr uint64_t kCheap = uint64_t{1} << 16;
    constexpr uint64_t kMixed = uint64_t{1} << 14;
    constexpr uint64_t kInstructions = kCheap * kAdditionsInstructions;
    static_assert(kInstructions == kMixed * kMixedInstructions);
    TurnOn(identity_);
    BenchCountAdditions(64);
    BenchCountMixed(64, &scratch);
    // Several times: by chance the two may agree once.
    uint64_t cheap = 0, mixed = 0, least = ~uint64_t{0}, most = 0;
    for (int round = 0; round < 4; ++round) {
      const uint64_t start = arm64::ReadCntvct();
      BenchCountAdditions(kCheap);
      const uint64_t middle = arm64::ReadCntvct();
      BenchCountMixed(kMixed, &scratch);
      cheap = middle - start;
      mixed = arm64::ReadCntvct() - middle;
      for (const uint64_t ticks : {cheap, mixed}) {
        least = ticks < least ? ticks : least;
        most = ticks > most ? ticks : most;
      }
    }
    BenchMmuOff();
    calibration_ = {.instructions = kInstructions, .ticks = cheap, .exact = false};
    // At least 1000 ticks, or one tick more or less would be above the one per cent that is
    // allowed.
    calibration_.exact = least >= 1000 && (most - least) * 100 <= least;
    Print("bench: 1000 instructions take ");
    PrintRatio(cheap * 1000, kInstructions);
    Print(" ticks, or, of dearer ones, ");
    PrintRatio(mixed * 1000, kInstructions);
    Print(calibration_.exact ? ": ticks count instructions\n" : "\n");
    // A whole number of instructions a tick, as under QEMU's -icount: not off by a tick's share.
    if (cheap != 0) {
      const uint64_t per_tick = (kInstructions + cheap / 2) / cheap;
      const uint64_t whole = per_tick * cheap;
      const uint64_t off = whole > kInstructions ? whole - kInstructions : kInstructions - whole;
      if (off * 1000 <= kInstructions) calibration_.instructions = whole;
    }
    calibration_.exact = calibration_.exact || KHOP_BENCH_INSTRUCTIONS;
  }

  void RunCase(uint64_t size, uint64_t page) {
    const Layout layout = LayOut(memory_.start, size, page);
    PrintCase(size, page);
    if (layout.end > memory_.start.value + identity_size_) {
      Print(" skipped: needs ");
      PrintNumber((layout.end - memory_.start.value) / kMiB + 1);
      Print(" MiB of memory\n");
      return;
    }
    Print("\n");
    const ScatteredPages pages(layout.sources, size, page);
    // What earlier owners left in the caches.
    Clean(memory_.start, layout.end - memory_.start.value);
    TurnOn(identity_);
    FillPages(pages, page);
    MakeList(layout, pages);
    const uint64_t moves = MakeMoves(layout, pages);
    const Tables khop = MakeKhopTables(layout, pages);
    const Tables linear = MakeLinearTables(layout, pages);
    Clean(memory_.start, layout.end - memory_.start.value);
    BenchMmuOff();
    uint64_t ticks[std::size(kLoops)] = {};
    for (const Loop loop : kLoops) {
      if (NeedsVectors(loop) && !vectors_) continue;
      TurnOn(identity_);
      Poison({layout.destination.value - kPage}, layout.size + 2 * kPage);
      // Nothing of either side is in the caches, as after a load long ago.
      Clean(memory_.start, layout.end - memory_.start.value);
      BenchMmuOff();
      ticks[static_cast<size_t>(loop)] = RunLoop(loop, layout, moves, khop, linear);
      TurnOn(identity_);
      const bool right = Arrived(layout);
      BenchMmuOff();
      if (!right) ++failures_;
      const uint64_t tables = loop == Loop::kLinux612                                ? linear.bytes
                              : loop == Loop::kKhopOn || loop == Loop::kKhopOnVector ? khop.bytes
                                                                                     : 0;
      PrintResult(loop, layout, tables, ticks, right);
    }
  }

  uint64_t RunLoop(Loop loop, const Layout& layout, uint64_t moves, Tables khop, Tables linear) {
    using relocator::GeneralRegisters;
    using relocator::RunMoves;
    using relocator::VectorRegisters;
    const Move window = {
        .source = kWindow, .destination = layout.destination.value, .size = layout.size};
    const std::span<const Move> linear_move(&window, 1);
    const std::span<const Move> physical(At<const Move>(layout.moves), moves);
    const auto* const list = At<const uint64_t>(layout.list);
    switch (loop) {
      case Loop::kLinux510:
        return Time([&] { BenchRelocate510(list, sizes_.line); });
      case Loop::kLinux612:
        return TimeWith(linear, [&] { BenchRelocate612(list, sizes_.line); });
      case Loop::kKhopOff:
        return Time([&] { RunMoves<GeneralRegisters>(physical, false, sizes_); });
      case Loop::kKhopOffVector:
        return Time([&] { RunMoves<VectorRegisters>(physical, false, sizes_); });
      case Loop::kKhopOn:
        return TimeWith(khop, [&] { RunMoves<GeneralRegisters>(linear_move, true, sizes_); });
      case Loop::kKhopOnVector:
        break;
    }
    return TimeWith(khop, [&] { RunMoves<VectorRegisters>(linear_move, true, sizes_); });
  }

  // From before the first move to when the last byte is at the point of coherency.
  template <typename Work>
  uint64_t Time(Work work) {
    const uint64_t start = arm64::ReadCntvct();
    work();
    arm64::DsbSy();
    return arm64::ReadCntvct() - start;
  }
  template <typename Work>
  uint64_t TimeWith(Tables tables, Work work) {
    TurnOn(tables);
    const uint64_t ticks = Time(work);
    BenchMmuOff();
    return ticks;
  }

  static void PrintCase(uint64_t size, uint64_t page) {
    Print("case ");
    PrintNumber(size / kMiB);
    Print(" MiB in pages of ");
    PrintNumber(page >> 10);
    Print(" KiB:");
  }
  void PrintResult(Loop loop, const Layout& layout, uint64_t tables, const uint64_t* ticks,
                   bool right) {
    const uint64_t own = ticks[static_cast<size_t>(loop)];
    Print("  ");
    Print(NameOf(loop));
    Print(" bytes=");
    PrintNumber(layout.size);
    Print(" tables=");
    PrintNumber(tables);
    Print(" ticks=");
    PrintNumber(own);
    if (calibration_.exact && calibration_.ticks != 0) {
      const uint64_t instructions = own * calibration_.instructions / calibration_.ticks;
      Print(" instructions=");
      PrintNumber(instructions);
      Print(" per-byte=");
      PrintRatio(instructions, layout.size);
    }
    Print(" of-5.10=");
    PrintRatio(own, ticks[static_cast<size_t>(Loop::kLinux510)]);
    Print(" of-6.12=");
    PrintRatio(own, ticks[static_cast<size_t>(Loop::kLinux612)]);
    Print(right ? " ok\n" : " FAIL: the bytes did not arrive\n");
  }

  PhysRange memory_;
  uint64_t identity_size_ = 0;
  unsigned entry_level_;
  bool vectors_ = false;
  relocator::CacheSizes sizes_ = {};
  Tables identity_;
  Calibration calibration_;
  unsigned failures_ = 0;
};

}  // namespace
}  // namespace khop::bench

// Called by start.S at EL1 or EL2 with the MMU off.
extern "C" [[noreturn]] void BenchMain(uint64_t tree, uint64_t entry_level) {
  using khop::arm64::CurrentEl;
  using khop::arm64::HcrEl2;
  using khop::arm64::Regime;
  using khop::bench::Bench;
  khop::bench::FindPlatform(
      tree, {{reinterpret_cast<uint64_t>(_start)}, static_cast<uint64_t>(bench_end - _start)});
  const khop::PhysRange memory = khop::bench::FreeMemory();
  const auto level = static_cast<unsigned>(entry_level);
  const auto current_el = CurrentEl::FromRaw(khop::arm64::ReadCurrentEl());
  const bool at_el2 = current_el.Get<CurrentEl::EL>() == 2;
  const auto hcr = HcrEl2::FromRaw(at_el2 ? khop::arm64::ReadHcrEl2() : 0);
  switch (khop::arm64::RegimeOf(current_el, hcr)) {
    case Regime::kEl1:
      Bench<Regime::kEl1>(memory, level).Run();
      break;
    case Regime::kEl2:
      Bench<Regime::kEl2>(memory, level).Run();
      break;
    case Regime::kEl2Host:
      Bench<Regime::kEl2Host>(memory, level).Run();
      break;
  }
  khop::bench::PowerOff(1);
}

// Called by start.S with the MMU off, on a fresh stack.
extern "C" [[noreturn]] void BenchException(uint64_t esr, uint64_t elr, uint64_t far) {
  using khop::bench::Print;
  using khop::bench::PrintNumber;
  Print("\nFAIL exception: ESR ");
  PrintNumber(esr);
  Print(", offset in the program ");
  PrintNumber(elr - reinterpret_cast<uint64_t>(_start));
  Print(", FAR ");
  PrintNumber(far);
  Print("\n");
  khop::bench::PowerOff(1);
}
