// SPDX-License-Identifier: MIT
// A fake machine for the gather route's tests, and what has to be true of a hop on it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tool/load/load.h"
#include "tool/load/replay_hop.h"
#include "tool/load/test_machine.h"

namespace khop::load {

inline constexpr uint64_t kTestPage = 4096;
inline constexpr uint64_t kSlab = uint64_t{1} << 7;  // in page_flags: the kernel's
inline constexpr uint64_t kTestImageSize = 300'000;
inline constexpr uint64_t kTestImageMemory = 420'000;

// 32 MiB of RAM, a small payload, base pages in any order; no huge page can be had.
struct GatherMachine : TestMachine {
  explicit GatherMachine(uint32_t seed = 1, uint64_t pages = 400);
  LoadOptions Options(Route route = Route::kGather) const;
  Result<report::Plan> Load(const LoadOptions& options) {
    return load::Load(system, options, NoProgress);
  }
};

const report::Segment& FindSegment(const report::Plan& plan, std::string_view name);

// The first page of a part's place that is not khop's.
uint64_t UnownedPage(const GatherMachine& machine, const report::Segment& part);

// The pages that khop holds and has not cleaned to the point of coherency, all of them.
std::vector<uint64_t> NotCleaned(GatherMachine& machine);

// The payload is where the plan says, whole, after the hop.
void ExpectHop(GatherMachine& machine, const report::Plan& plan, const std::string& where = "");

}  // namespace khop::load
