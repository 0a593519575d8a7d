// SPDX-License-Identifier: MIT
// The moves: the one part of the hop whose cost grows with the payload.
//
// Why the loop is as it is
// ------------------------
// One linear loop over one virtual range; whichever pages are behind it is the tables' affair. Per
// block of lines: all loads, then for each line DC ZVA and its stores, then the cleaning of lines
// written a while ago.
//
// - Loads first: a core that executes in order stops at the first use of what is not there yet.
// With
//   all loads of the block before the first store, the misses of its lines overlap on such a core
//   too, where no prefetcher is counted upon.
// - PRFM kPrefetchAhead bytes ahead, once per line: hardware prefetchers follow physical addresses
//   and end at a page; the pages here are scattered, so that each would start with misses. The
//   distance is about latency times bandwidth: 100 ns at 10 GB/s. It names virtual addresses, so it
//   goes through the window into the next page. Beyond the end of the window nothing is mapped, and
//   a prefetch never faults. The source is read once: "strm".
// - DC ZVA before the stores of a line: the line is made in the cache, where a store that misses
//   would first fetch it from memory only to overwrite all of it. Cores may notice such streams by
//   themselves, late and not all of them; DC ZVA is architecture. It costs one instruction a line.
// - Cleaning inside the loop, kCleanLag bytes behind the stores. A pass at the end over more than
//   the caches hold would look up every line a second time, when most have been written back
//   already in the order of evictions. Here each line is found in the first-level cache, its write
//   to memory overlaps with the reads of what follows, and memory sees two ascending streams. The
//   lag lets the stores of a line leave the store buffer before its line is cleaned.
// - CIVAC, not CVAC: nothing reads the line again while it could still be in the first-level cache,
//   the source's lines can have its place; and on some Cortex-A53 cleaning without invalidating can
//   go wrong, so that Linux uses CIVAC for it there (errata 819472, 824069, 826319, 827319).
// - One DSB, the caller's, completes all of it. A barrier per page would have the core wait for
//   memory once per page with nothing to do.
//
// With the MMU off all memory is Device memory: no DC ZVA (a fault), no prefetch, no line to clean;
// the loads and stores are the same code.
//
// Overlap
// -------
// A destination may overlap its own source at a lower address; both are multiples of
// kMoveAlignment, so at least 4096 bytes lie between the two. The loop writes, zeroes included,
// only within the block that it has just loaded: a block of DC ZVA larger than that is not used. So
// what is not read yet is never written, and even a move onto itself would be harmless.
#pragma once

#include <cstdint>
#include <span>
#include <type_traits>
#include <utility>

#include "core/arm64/instructions.h"
#include "core/handoff/handoff.h"
#include "core/relocator/cache.h"

namespace khop::relocator {

inline constexpr uint64_t kCopyLine = 64;  // of the load and store functions, not of the cache
inline constexpr uint64_t kCopyBlock = 4 * kCopyLine;
inline constexpr unsigned kPrefetchAhead = 1024;
inline constexpr uint64_t kCleanLag = 1024;
static_assert(handoff::kMoveAlignment % kCopyBlock == 0 && kCleanLag % kCopyBlock == 0);

struct CacheSizes {
  uint64_t line;        // smallest data cache line of any CPU: a power of two, 16 to 2048
  uint64_t zero_block;  // of DC ZVA: a power of two, 0 where it is prohibited
};

// What the bytes go through. kLines are loaded before the first of them is stored.
struct GeneralRegisters {
  static constexpr unsigned kLines = 2;
  template <unsigned kIndex>
  void Load(uint64_t& from) {
    line[kIndex] = arm64::LoadGeneralLine(from);
  }
  template <unsigned kIndex>
  void Store(uint64_t& to) {
    arm64::StoreGeneralLine(line[kIndex], to);
  }
  arm64::GeneralLine line[kLines];
};

// A quarter of the instructions for the loads and stores themselves: 64 bytes each instead of 16.
// The registers exist (ID_AA64PFR0_EL1.AdvSIMD) and do not trap.
struct VectorRegisters {
  static constexpr unsigned kLines = 4;
  template <unsigned kIndex>
  void Load(uint64_t& from) {
    arm64::LoadVectorLine<kIndex>(from);
  }
  template <unsigned kIndex>
  void Store(uint64_t& to) {
    arm64::StoreVectorLine<kIndex>(to);
  }
};

namespace copy_internal {

// Sizes known when compiled leave nothing of the loops over them.
using Fixed0 = std::integral_constant<uint64_t, 0>;
using Fixed64 = std::integral_constant<uint64_t, 64>;

template <unsigned kIndex, typename Registers, typename ZeroBlock>
[[gnu::always_inline]] inline void StoreOne(Registers& registers, uint64_t& to, ZeroBlock zero) {
  if (zero != 0 && zero <= kCopyLine) {
    uint64_t at = to;
#pragma GCC unroll 1
    do {
      arm64::DcZva(at);
      at += zero;
    } while (at != to + kCopyLine);
  } else if (zero != 0 && (to & (zero - 1)) == 0) {
    arm64::DcZva(to);
  }
  registers.template Store<kIndex>(to);
}

template <typename Registers, bool kPrefetch, typename ZeroBlock>
[[gnu::always_inline]] inline void CopyBlock(uint64_t& to, uint64_t& from, ZeroBlock zero) {
  const auto load = [&]<unsigned kIndex>(Registers& registers) __attribute__((always_inline)) {
    if constexpr (kPrefetch) arm64::PrefetchOnce<kPrefetchAhead>(from);
    registers.template Load<kIndex>(from);
  };
#pragma GCC unroll 4
  for (unsigned done = 0; done < kCopyBlock / kCopyLine; done += Registers::kLines) {
    Registers registers;
    [&]<unsigned... kIndex>(std::integer_sequence<unsigned, kIndex...>)
        __attribute__((always_inline)) {
          (load.template operator()<kIndex>(registers), ...);
          (StoreOne<kIndex>(registers, to, zero), ...);
        }(std::make_integer_sequence<unsigned, Registers::kLines>());
  }
}

template <typename Registers, typename Line, typename ZeroBlock>
[[gnu::noinline]] void CopyCached(uint64_t to, uint64_t from, uint64_t size, Line line,
                                  ZeroBlock zero) {
  const uint64_t end = to + size;
  const uint64_t lag = line < kCleanLag ? kCleanLag : uint64_t{line};
  uint64_t clean = to;
  for (const uint64_t lagged = to + lag; to != lagged;) {
    CopyBlock<Registers, true>(to, from, zero);
  }
  while (to != end) {
    CopyBlock<Registers, true>(to, from, zero);
    if constexpr (std::is_same_v<Line, Fixed64>) {
#pragma GCC unroll 4
      for (uint64_t i = 0; i < kCopyBlock; i += line, clean += line) arm64::DcCivac(clean);
    } else {
      for (; to - clean > lag; clean += line) arm64::DcCivac(clean);
    }
  }
  ForEachLine<arm64::DcCivac>(clean, end - clean, line);
}

template <typename Registers>
[[gnu::noinline]] void CopyUncached(uint64_t to, uint64_t from, uint64_t size) {
  for (const uint64_t end = to + size; to != end;) {
    CopyBlock<Registers, false>(to, from, Fixed0{});
  }
}

}  // namespace copy_internal

// Carries out `moves` in their order and returns the number of bytes. With `mmu` what was written
// is on its way to the point of coherency, and there after the caller's DSB. Without, it is in
// memory after that DSB: the destinations are invalidated before they are written, because a dirty
// line of an earlier owner, written back later, would overwrite what was moved; and never cleaned
// afterwards. The sources are at the point of coherency in that case.
template <typename Registers>
uint64_t RunMoves(std::span<const handoff::Move> moves, bool mmu, CacheSizes sizes) {
  using copy_internal::Fixed64;
  uint64_t bytes = 0;
  if (!mmu) {
    for (const handoff::Move& move : moves) {
      ForEachLine<arm64::DcIvac>(move.destination, move.size, sizes.line);
    }
    if (!moves.empty()) arm64::DsbSy();
  }
  if (sizes.zero_block > Registers::kLines * kCopyLine) sizes.zero_block = 0;
  const bool usual = sizes.line == 64 && sizes.zero_block == 64;  // of nearly every core
  for (const handoff::Move& move : moves) {
    const uint64_t to = move.destination;
    if (!mmu) {
      copy_internal::CopyUncached<Registers>(to, move.source, move.size);
    } else if (usual) {
      copy_internal::CopyCached<Registers>(to, move.source, move.size, Fixed64{}, Fixed64{});
    } else {
      copy_internal::CopyCached<Registers>(to, move.source, move.size, sizes.line,
                                           sizes.zero_block);
    }
    bytes += move.size;
  }
  return bytes;
}

}  // namespace khop::relocator
