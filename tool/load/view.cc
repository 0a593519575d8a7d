// SPDX-License-Identifier: MIT
// What a plan tells beyond itself: how memory is used, and how long the hop may take.
#include <algorithm>
#include <charconv>

#include "tool/load/load.h"
#include "tool/load/ranges.h"
#include "tool/system/cpus.h"
#include "tool/system/memory_map.h"
#include "tool/system/offline_time.h"
#include "tool/system/page_flags.h"

namespace khop::load {

using system::System;

namespace {

constexpr uint64_t kMostCells = 512;

uint64_t CellSize(uint64_t ram) {
  uint64_t size = uint64_t{64} << 10;
  while (ram / size > kMostCells) size *= 2;
  return size;
}

class Map {
 public:
  Map(report::Plan& plan, const std::vector<PhysRange>& ram) : plan_(plan) {
    plan.map_cell = CellSize(TotalSize(ram));
    for (const PhysRange& range : ram) {
      uint64_t at = AlignDown(range.start.value, plan.map_cell);
      if (!plan.map.empty() && plan.map.back().start == at) at += plan.map_cell;
      for (; at < range.end().value; at += plan.map_cell) plan.map.push_back({.start = at});
    }
    Add(ram, &report::MapCell::ram);
  }

  // Adds the bytes of each range (ascending) to its cells.
  void Add(std::span<const PhysRange> ranges, uint64_t report::MapCell::* count) {
    auto cell = plan_.map.begin();
    for (const PhysRange& range : ranges) {
      while (cell != plan_.map.end() && cell->start + plan_.map_cell <= range.start.value) ++cell;
      for (auto at = cell; at != plan_.map.end() && at->start < range.end().value; ++at) {
        const uint64_t from = std::max(at->start, range.start.value);
        const uint64_t to = std::min(at->start + plan_.map_cell, range.end().value);
        if (to > from) (*at).*count += to - from;
      }
    }
  }

 private:
  report::Plan& plan_;
};

void AddMap(System& system, report::Plan& plan) {
  const auto memory = system::ReadMemoryMap(system);
  if (!memory || memory->ram.empty()) return;
  Map map(plan, memory->ram);
  map.Add(Without(memory->ram, memory->plain), &report::MapCell::reserved);
  const Ranges seen = system::FirstOf(memory->plain, system::kMostPagesSeen);
  const auto runs = system::ReadPageUse(system, seen);
  if (!runs) {
    map.Add(memory->plain, &report::MapCell::unseen);
    return;
  }
  map.Add(Without(memory->plain, seen), &report::MapCell::unseen);
  Ranges free;
  Ranges movable;
  for (const system::PageRun& run : *runs) {
    if (run.use == system::PageUse::kFree) free.push_back(run.range);
    if (run.use == system::PageUse::kMovable) movable.push_back(run.range);
  }
  map.Add(free, &report::MapCell::free);
  map.Add(movable, &report::MapCell::movable);
}

std::optional<uint64_t> Nanoseconds(uint64_t bytes, uint64_t per_second) {
  if (bytes == 0) return 0;
  if (per_second == 0) return std::nullopt;
  return static_cast<uint64_t>(static_cast<double>(bytes) * 1e9 / static_cast<double>(per_second));
}

std::string Rate(uint64_t per_second) {
  return per_second == 0 ? "an unknown speed" : HumanBytes(per_second) + "/s, measured now";
}

void AddCosts(System& system, report::Plan& plan) {
  plan.speeds = system.MeasureSpeeds();
  const system::Speeds& speeds = *plan.speeds;
  const bool mmu = plan.mmu == "on";
  const system::OfflineTime offline = system::EstimateOffline(system::OnlineCpus(system).size());
  plan.costs.push_back({.name = "shutdown",
                        .meaning = offline.text + "; devices come on top",
                        .least = offline.least,
                        .most = offline.most});
  // Before 5.16 the kernel copies with the caches off: a fiftieth of what they make of it.
  const auto control = Nanoseconds(plan.control.size, speeds.copy);
  if (plan.control.size != 0) {
    plan.costs.push_back(
        {.name = "set-up",
         .meaning = "control area of " + HumanBytes(plan.control.size) + " copied and checked",
         .least = control,
         .most = control ? std::optional(*control * 50) : std::nullopt});
  }
  const std::string slow = plan.mmu.empty()
                               ? "by the running kernel"
                               : "with the caches off: far slower than what can be measured here";
  const auto move =
      mmu || plan.bytes_to_move == 0 ? Nanoseconds(plan.bytes_to_move, speeds.copy) : std::nullopt;
  plan.costs.push_back({.name = "move",
                        .meaning = plan.bytes_to_move == 0 ? "everything lies where it will run"
                                   : mmu
                                       ? HumanBytes(plan.bytes_to_move) + " at " + Rate(speeds.copy)
                                       : HumanBytes(plan.bytes_to_move) + " " + slow,
                        .least = move,
                        .most = move});
  const uint64_t digest_speed = plan.digest == "crc32c" ? speeds.crc32c : speeds.sha256;
  const bool early = plan.digest == "early";
  const auto verify = early ? std::optional<uint64_t>(0)
                      : mmu || plan.bytes_to_verify == 0
                          ? Nanoseconds(plan.bytes_to_verify, digest_speed)
                          : std::nullopt;
  plan.costs.push_back(
      {.name = "verify",
       .meaning = early                       ? "done before, by all CPUs"
                  : plan.bytes_to_verify == 0 ? "no digests"
                  : mmu ? HumanBytes(plan.bytes_to_verify) + " at " + Rate(digest_speed)
                        : HumanBytes(plan.bytes_to_verify) + " " + slow,
       .least = verify,
       .most = verify});
  plan.costs.push_back({.name = "kernel-start",
                        .meaning = "the next kernel's own affair",
                        .least = std::nullopt,
                        .most = std::nullopt});
}

}  // namespace

void AddView(System& system, report::Plan& plan) {
  AddMap(system, plan);
  AddCosts(system, plan);
}

}  // namespace khop::load
