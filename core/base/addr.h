// SPDX-License-Identifier: MIT
// Physical and virtual addresses as distinct types, and half-open ranges of physical memory.
#pragma once

#include <compare>
#include <cstdint>

namespace khop {

// A physical address. Never dereferenced directly: what it may be accessed through depends on
// the translation regime, so turning it into a pointer is an explicit act of its user.
struct PhysAddr {
  uint64_t value = 0;
  friend constexpr auto operator<=>(PhysAddr, PhysAddr) = default;
};

// A virtual address of the relocator's own translation regime.
struct VirtAddr {
  uint64_t value = 0;
  friend constexpr auto operator<=>(VirtAddr, VirtAddr) = default;
};

constexpr PhysAddr operator+(PhysAddr a, uint64_t bytes) { return {a.value + bytes}; }
constexpr VirtAddr operator+(VirtAddr a, uint64_t bytes) { return {a.value + bytes}; }
constexpr uint64_t operator-(PhysAddr a, PhysAddr b) { return a.value - b.value; }
constexpr uint64_t operator-(VirtAddr a, VirtAddr b) { return a.value - b.value; }

constexpr bool IsPowerOfTwo(uint64_t v) { return v != 0 && (v & (v - 1)) == 0; }
// `alignment` is a power of two.
constexpr uint64_t AlignDown(uint64_t v, uint64_t alignment) { return v & ~(alignment - 1); }
// `alignment` is a power of two; the caller knows that v + alignment does not wrap.
constexpr uint64_t AlignUp(uint64_t v, uint64_t alignment) {
  return AlignDown(v + alignment - 1, alignment);
}
constexpr bool IsAligned(uint64_t v, uint64_t alignment) { return (v & (alignment - 1)) == 0; }

// [start, start + size). An empty range has size 0. start + size never wraps in a valid range.
struct PhysRange {
  PhysAddr start;
  uint64_t size = 0;

  constexpr PhysAddr end() const { return start + size; }
  constexpr bool empty() const { return size == 0; }
  // False if start + size wraps around 2^64.
  constexpr bool valid() const { return start.value + size >= start.value; }
  constexpr bool Contains(PhysAddr a) const { return a >= start && a.value - start.value < size; }
  constexpr bool Contains(PhysRange r) const {
    return r.start >= start && r.size <= size && r.start.value - start.value <= size - r.size;
  }
  constexpr bool Overlaps(PhysRange r) const {
    return !empty() && !r.empty() && start < r.end() && r.start < end();
  }
  friend constexpr bool operator==(PhysRange, PhysRange) = default;
};

}  // namespace khop
