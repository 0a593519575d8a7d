// SPDX-License-Identifier: MIT
// The loops that khop is compared with, and those that calibrate the counter (loops.S).
#pragma once

#include <cstdint>

extern "C" {

// Relocates as Linux does it, from the list that it builds: entries of a page's address and a flag
// in its low bits (below), each page of entries ending in an indirection to the next. `line` is the
// cache line size. 4096-byte pages; addresses are the same with the MMU on and off.
//
// Linux 5.10, MMU off: per page, DC IVAC over the destination, DSB SY, then the copy.
void BenchRelocate510(const uint64_t* list, uint64_t line);
// Linux 6.12, MMU on: per page, the copy, then DC CIVAC over the destination and DSB SY.
void BenchRelocate612(const uint64_t* list, uint64_t line);

// Executes 2 * count instructions: subtractions and branches, the cheapest there are.
void BenchCountAdditions(uint64_t count);
// Executes 8 * count instructions: divisions that wait for each other, loads and stores, a barrier.
// `scratch` is a word to load and store.
void BenchCountMixed(uint64_t count, uint64_t* scratch);
}

namespace khop::bench {

inline constexpr uint64_t kAdditionsInstructions = 2;  // each
inline constexpr uint64_t kMixedInstructions = 8;

// What an entry of the list is.
inline constexpr uint64_t kListDestination = 1;  // the next source goes here
inline constexpr uint64_t kListIndirection = 2;  // the list goes on there
inline constexpr uint64_t kListDone = 4;
inline constexpr uint64_t kListSource = 8;

}  // namespace khop::bench
