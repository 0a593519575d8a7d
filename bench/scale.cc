// SPDX-License-Identifier: MIT
// How planner and table builder grow with the payload: scattered pages of 4 KiB, the worst case,
// from 1 MiB on. Ends with status 1 if any of them grows faster than N log N.
//   scale [MiB of the largest payload] [options of Google Benchmark]
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <numeric>
#include <random>
#include <vector>

#include "core/arm64/page_table_builder.h"
#include "core/plan/assignment.h"
#include "core/plan/moves.h"

namespace khop::bench {
namespace {

constexpr uint64_t kPage = 4096;
constexpr uint64_t kPagesPerMiB = 256;
constexpr PhysAddr kPayload{uint64_t{1} << 40};  // where it goes; its pages lie elsewhere
constexpr PhysAddr kPages{uint64_t{1} << 41};

void Must(bool ok, benchmark::State& state) {
  if (!ok) state.SkipWithError("the planner refused");
}

std::vector<uint64_t> Shuffled(uint64_t count) {
  std::vector<uint64_t> order(count);
  std::iota(order.begin(), order.end(), uint64_t{0});
  std::ranges::shuffle(order, std::mt19937_64(1));
  return order;
}

// Every page of the payload lies where another one goes: chains and cycles.
void OrderMoves(benchmark::State& state) {
  const uint64_t count = static_cast<uint64_t>(state.range(0)) * kPagesPerMiB;
  std::vector<plan::Piece> pieces;
  for (const uint64_t from : Shuffled(count)) {
    pieces.push_back({kPayload + from * kPage, kPayload + pieces.size() * kPage, kPage});
  }
  std::vector<plan::Piece> scratch(2 * count);
  std::vector<plan::Piece> ordered(count + count / 2 + 1);
  for (auto _ : state) {
    const auto used = plan::OrderMoves(pieces, kPage, {kPages, kPage}, scratch, ordered);
    Must(used.has_value(), state);
  }
  state.SetComplexityN(static_cast<int64_t>(count));
}

// Every second page of the destination is owned; for the others there are single spare pages.
void AssignPages(benchmark::State& state) {
  const uint64_t count = static_cast<uint64_t>(state.range(0)) * kPagesPerMiB;
  const PhysRange destination{kPayload, count * kPage};
  std::vector<PhysRange> owned;
  std::vector<PhysRange> spare;
  for (uint64_t i = 0; i < count; i += 2) {
    owned.push_back({kPayload + i * kPage, kPage});
    spare.push_back({kPages + 2 * i * kPage, kPage});
  }
  std::vector<PhysRange> scratch(plan::kScratchPerRange * (1 + owned.size() + spare.size()));
  std::vector<plan::Piece> pieces(2 * count);
  for (auto _ : state) {
    const auto used = plan::AssignPages({&destination, 1}, owned, spare, kPage, scratch, pieces);
    Must(used.has_value(), state);
  }
  state.SetComplexityN(static_cast<int64_t>(count));
}

// The window through which the moves read: one descriptor for each page.
void BuildTables(benchmark::State& state) {
  const uint64_t count = static_cast<uint64_t>(state.range(0)) * kPagesPerMiB;
  constexpr auto kGeometry = arm64::PageGeometry::Static(12, 48);
  constexpr uint64_t kWindow = uint64_t{1} << 46;
  std::vector<uint64_t> memory((count / 512 + 16 + count / 262144) * kPage / sizeof(uint64_t));
  for (auto _ : state) {
    auto builder = arm64::PageTableBuilder::Make(kGeometry, memory, PhysAddr{uint64_t{1} << 30});
    bool ok = builder.has_value();
    for (uint64_t i = 0; ok && i < count; ++i) {
      ok = builder
               ->Map({.virt = {kWindow + i * kPage},
                      .phys = kPages + 2 * i * kPage,
                      .size = kPage,
                      .access = arm64::Access::kReadOnly})
               .has_value();
    }
    Must(ok, state);
  }
  state.SetComplexityN(static_cast<int64_t>(count));
}

// Prints as ever, and remembers what grows too fast.
class Judge : public benchmark::ConsoleReporter {
 public:
  void ReportRuns(const std::vector<Run>& runs) override {
    ConsoleReporter::ReportRuns(runs);
    for (const Run& run : runs) {
      if (run.error_occurred) failed_ = true;
      if (!run.report_big_o) continue;
      ++fitted_;
      switch (run.complexity) {
        case benchmark::o1:
        case benchmark::oLogN:
        case benchmark::oN:
        case benchmark::oNLogN:
          break;
        default:
          std::cerr << "FAIL: " << run.benchmark_name() << " grows faster than N log N\n";
          failed_ = true;
      }
    }
  }
  bool passed() const { return !failed_ && fitted_ == 3; }

 private:
  bool failed_ = false;
  int fitted_ = 0;
};

}  // namespace
}  // namespace khop::bench

int main(int argc, char** argv) {
  using namespace khop::bench;  // NOLINT(google-build-using-namespace)
  const int64_t largest = argc > 1 ? std::atoll(argv[1]) : 64;
  if (largest < 16) {
    std::cerr << "usage: scale MIB, at least 16\n";
    return 2;
  }
  const auto add = [&](const char* name, void (*what)(benchmark::State&)) {
    benchmark::RegisterBenchmark(name, what)
        ->RangeMultiplier(2)
        ->Range(1, largest)
        ->Complexity(benchmark::oAuto)
        ->Unit(benchmark::kMillisecond);
  };
  add("OrderMoves", OrderMoves);
  add("AssignPages", AssignPages);
  add("BuildTables", BuildTables);
  argc -= 1, argv += 1;
  benchmark::Initialize(&argc, argv);
  Judge judge;
  benchmark::RunSpecifiedBenchmarks(&judge);
  return judge.passed() ? 0 : 1;
}
