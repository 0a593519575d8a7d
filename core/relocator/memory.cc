// SPDX-License-Identifier: MIT
// The four functions that a freestanding compiler may call. Words where both sides are aligned,
// else bytes: with the MMU off an unaligned access faults.
#include <cstddef>
#include <cstdint>

namespace {

constexpr bool WordAligned(const void* a, const void* b) {
  return ((reinterpret_cast<uintptr_t>(a) | reinterpret_cast<uintptr_t>(b)) & 7) == 0;
}

}  // namespace

extern "C" {

void* memcpy(void* destination, const void* source, size_t size) {
  auto* to = static_cast<unsigned char*>(destination);
  const auto* from = static_cast<const unsigned char*>(source);
  if (WordAligned(to, from)) {
    for (; size >= 8; size -= 8, to += 8, from += 8) {
      *reinterpret_cast<uint64_t*>(to) = *reinterpret_cast<const uint64_t*>(from);
    }
  }
  while (size-- != 0) *to++ = *from++;
  return destination;
}

void* memmove(void* destination, const void* source, size_t size) {
  auto* to = static_cast<unsigned char*>(destination);
  const auto* from = static_cast<const unsigned char*>(source);
  if (to <= from || to >= from + size) return memcpy(destination, source, size);
  while (size-- != 0) to[size] = from[size];
  return destination;
}

void* memset(void* destination, int value, size_t size) {
  auto* to = static_cast<unsigned char*>(destination);
  const auto byte = static_cast<unsigned char>(value);
  if (WordAligned(to, to)) {
    for (; size >= 8; size -= 8, to += 8) {
      *reinterpret_cast<uint64_t*>(to) = byte * uint64_t{0x0101'0101'0101'0101};
    }
  }
  while (size-- != 0) *to++ = byte;
  return destination;
}

int memcmp(const void* left, const void* right, size_t size) {
  const auto* a = static_cast<const unsigned char*>(left);
  const auto* b = static_cast<const unsigned char*>(right);
  for (; size != 0; --size, ++a, ++b) {
    if (*a != *b) return *a < *b ? -1 : 1;
  }
  return 0;
}

}  // extern "C"
