// SPDX-License-Identifier: MIT
// For tests: small memories written as text, and random ones.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <string_view>
#include <vector>

#include "core/base/addr.h"
#include "core/plan/assignment.h"
#include "core/plan/checker.h"

namespace khop::plan {

inline constexpr uint64_t kPage = 4096;

constexpr PhysAddr PageAt(uint64_t number) { return {number * kPage}; }

// The pages of `map` that are not '.', as ranges.
inline std::vector<PhysRange> Pages(std::string_view map, uint64_t first = 0) {
  std::vector<PhysRange> ranges;
  for (size_t i = 0; i < map.size(); ++i) {
    if (map[i] == '.') continue;
    if (!ranges.empty() && ranges.back().end() == PageAt(first + i)) {
      ranges.back().size += kPage;
    } else {
      ranges.push_back({PageAt(first + i), kPage});
    }
  }
  return ranges;
}

// The pages whose bits are set in `mask`.
inline std::vector<PhysRange> PagesOf(uint64_t mask, uint64_t first = 0) {
  std::string map;
  for (; mask != 0; mask >>= 1) map += (mask & 1) != 0 ? '#' : '.';
  return Pages(map, first);
}

// What of `ranges` lies outside of `holes`; both ascending and disjoint.
inline std::vector<PhysRange> Without(const std::vector<PhysRange>& ranges,
                                      const std::vector<PhysRange>& holes) {
  std::vector<PhysRange> rest;
  for (PhysRange range : ranges) {
    for (const PhysRange& hole : holes) {
      if (!hole.Overlaps(range)) continue;
      if (range.start < hole.start) rest.push_back({range.start, hole.start - range.start});
      const PhysAddr start = std::min(hole.end(), range.end());
      range = {start, range.end() - start};
    }
    if (!range.empty()) rest.push_back(range);
  }
  return rest;
}

// `count` single pages in random order within an area four times as large.
inline std::vector<PhysAddr> ScatteredPages(size_t count, uint64_t first, std::mt19937_64& random) {
  std::vector<uint64_t> numbers(count * 4);
  std::iota(numbers.begin(), numbers.end(), first);
  std::ranges::shuffle(numbers, random);
  std::vector<PhysAddr> pages(count);
  for (size_t i = 0; i < count; ++i) pages[i] = PageAt(numbers[i]);
  return pages;
}

inline std::vector<PhysRange> Sorted(const std::vector<PhysAddr>& pages) {
  std::vector<PhysAddr> sorted = pages;
  std::ranges::sort(sorted);
  std::vector<PhysRange> ranges;
  for (const PhysAddr page : sorted) {
    if (!ranges.empty() && ranges.back().end() == page) {
      ranges.back().size += kPage;
    } else {
      ranges.push_back({page, kPage});
    }
  }
  return ranges;
}

// ReplayMoves() with memory enough.
inline std::expected<void, Error> Replay(std::span<const Piece> before,
                                         std::span<const Piece> moves,
                                         std::span<const PhysRange> writable) {
  size_t pages = 0;
  for (const Piece& piece : before) pages += piece.size / kPage * 2;
  for (const Piece& piece : moves) pages += piece.size / kPage * 2;
  std::vector<ModelRun> runs(2 * (before.size() + moves.size()));
  std::vector<uint32_t> numbers(pages);
  return ReplayMoves(before, moves, writable, kPage, runs, numbers);
}

}  // namespace khop::plan
