// SPDX-License-Identifier: MIT
// /chosen/khop,timeline in a flattened device tree (Devicetree Specification 0.4, chapter 5).
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "core/base/addr.h"
#include "core/handoff/handoff.h"
#include "module/relocation.h"

namespace khop::module {
namespace {

constexpr char kName[] = "khop,timeline";
constexpr uint32_t kHeaderSize = 40;
constexpr uint32_t kBegin = 1, kEnd = 2, kProperty = 3, kNop = 4, kLast = 9;

uint32_t Load(const std::byte* at) {
  uint32_t value;
  memcpy(&value, at, sizeof(value));
  return __builtin_bswap32(value);
}
void Store(std::byte* at, uint32_t value) {
  value = __builtin_bswap32(value);
  memcpy(at, &value, sizeof(value));
}

// Fields of the header: total size and where the blocks are.
struct Blocks {
  uint32_t total, structure, structure_size, strings, strings_size;
};

bool ReadHeader(std::span<const std::byte> tree, Blocks* out) {
  if (tree.size() < kHeaderSize || Load(tree.data()) != 0xd00dfeed) return false;
  const std::byte* const at = tree.data();
  *out = {Load(at + 4), Load(at + 8), Load(at + 36), Load(at + 12), Load(at + 32)};
  const uint32_t version = Load(at + 20);
  const uint32_t reservations = Load(at + 16);
  return version == 17 && out->total <= tree.size() && out->total >= kHeaderSize &&
         out->structure % 4 == 0 && out->structure >= kHeaderSize && out->structure <= out->total &&
         out->structure_size <= out->total - out->structure && out->strings >= kHeaderSize &&
         out->strings <= out->total && out->strings_size <= out->total - out->strings &&
         reservations >= kHeaderSize;
}

// Length of the string at `at`, or more than `size` leaves room for.
uint32_t LengthOf(const std::byte* bytes, uint32_t at, uint32_t size) {
  uint32_t end = at;
  while (end < size && bytes[end] != std::byte{0}) ++end;
  return end < size ? end - at : size;
}

bool Is(const std::byte* bytes, uint32_t at, uint32_t size, const char* name, size_t length) {
  return at < size && size - at > length && memcmp(bytes + at, name, length + 1) == 0;
}

struct Found {
  uint32_t chosen_end = 0;   // offset of the token that ends /chosen; 0: there is no such node
  uint32_t first_child = 0;  // offset behind the last property of /chosen
  uint32_t timeline = 0;     // offset of the property's value; 0: there is none of the right size
  bool other = false;        // there is one of another size
};

// Offsets are from the start of the tree.
bool Search(std::span<const std::byte> tree, const Blocks& blocks, Found* found) {
  const std::byte* const structure = tree.data() + blocks.structure;
  const std::byte* const strings = tree.data() + blocks.strings;
  const uint32_t size = blocks.structure_size;
  uint32_t depth = 0;
  bool in_chosen = false;
  for (uint32_t at = 0; size - at >= 4 && at <= size;) {
    const uint32_t token = Load(structure + at);
    at += 4;
    if (token == kNop) continue;
    if (token == kLast) return depth == 0;
    if (token == kBegin) {
      if (in_chosen && depth == 2 && found->first_child == 0) {
        found->first_child = blocks.structure + at - 4;
      }
      const uint32_t length = LengthOf(structure, at, size);
      if (length >= size - at) return false;
      if (++depth == 2 && found->chosen_end == 0 && Is(structure, at, size, "chosen", 6)) {
        in_chosen = true;
      }
      at = static_cast<uint32_t>(AlignUp(at + length + 1, 4));
    } else if (token == kEnd) {
      if (depth == 0) return false;
      if (in_chosen && depth == 2) {
        in_chosen = false;
        found->chosen_end = blocks.structure + at - 4;
        if (found->first_child == 0) found->first_child = found->chosen_end;
      }
      --depth;
    } else if (token == kProperty && depth != 0 && size - at >= 8) {
      const uint32_t length = Load(structure + at);
      const uint32_t name = Load(structure + at + 4);
      at += 8;
      if (length > size - at || name >= blocks.strings_size) return false;
      if (in_chosen && depth == 2 &&
          Is(strings, name, blocks.strings_size, kName, sizeof(kName) - 1)) {
        found->other = length != handoff::kTimelineSize;
        if (!found->other) found->timeline = blocks.structure + at;
      }
      at = static_cast<uint32_t>(AlignUp(at + length, 4));
    } else {
      return false;
    }
  }
  return false;
}

// Moves the bytes from `at` to the end of the tree up by `size`, and all that the header says of
// what lies there.
void MakeRoom(std::byte* tree, Blocks* blocks, uint32_t at, uint32_t size) {
  memmove(tree + at + size, tree + at, blocks->total - at);
  memset(tree + at, 0, size);
  for (const uint32_t field : {8U, 12U, 16U}) {
    const uint32_t offset = Load(tree + field);
    if (offset >= at) Store(tree + field, offset + size);
  }
  blocks->total += size;
  Store(tree + 4, blocks->total);
  blocks->structure = Load(tree + 8);
  blocks->strings = Load(tree + 12);
}

}  // namespace
}  // namespace khop::module

using khop::module::Blocks;
using khop::module::Found;

khop_status khop_timeline_find(const void* tree, size_t size, uint32_t* offset) {
  const std::span<const std::byte> bytes(static_cast<const std::byte*>(tree), size);
  Blocks blocks;
  Found found;
  if (!khop::module::ReadHeader(bytes, &blocks) || !khop::module::Search(bytes, blocks, &found)) {
    return {KHOP_INVALID_ARGUMENT, size};
  }
  *offset = found.timeline;
  return {KHOP_OK, 0};
}

khop_status khop_timeline_add(void* tree, size_t size, uint32_t* offset) {
  auto* const bytes = static_cast<std::byte*>(tree);
  Blocks blocks;
  Found found;
  if (!khop::module::ReadHeader({bytes, size}, &blocks) ||
      !khop::module::Search({bytes, size}, blocks, &found) || found.chosen_end == 0 ||
      found.other || found.timeline != 0) {
    return {KHOP_INVALID_ARGUMENT, size};
  }
  constexpr uint32_t kPropertySize = 12 + khop::handoff::kTimelineSize;
  // Whole words, so that whatever follows the strings keeps its alignment.
  constexpr uint32_t kStringSize = 16;
  static_assert(kStringSize >= sizeof(khop::module::kName) && kStringSize % 8 == 0 &&
                kPropertySize % 4 == 0);
  // A reservation block behind the structure has to stay at a multiple of 8.
  constexpr uint32_t kNeeded = static_cast<uint32_t>(khop::AlignUp(kPropertySize, 8));
  if (size - blocks.total < kNeeded + kStringSize) {
    return {KHOP_OUT_OF_MEMORY, kNeeded + kStringSize - (size - blocks.total)};
  }
  const uint32_t name = blocks.strings_size;
  khop::module::MakeRoom(bytes, &blocks, blocks.strings + blocks.strings_size, kStringSize);
  const uint32_t strings_end = blocks.strings + name;
  memcpy(bytes + strings_end, khop::module::kName, sizeof(khop::module::kName));
  khop::module::Store(bytes + 32, name + kStringSize);

  Found moved;
  blocks.strings_size = name + kStringSize;
  if (!khop::module::Search({bytes, size}, blocks, &moved)) return {KHOP_INVALID_ARGUMENT, size};
  const uint32_t at = moved.first_child;
  khop::module::MakeRoom(bytes, &blocks, at, kNeeded);
  khop::module::Store(bytes + 36, blocks.structure_size + kNeeded);
  std::byte* property = bytes + at;
  static_assert(kNeeded - kPropertySize == 4);
  khop::module::Store(property, khop::module::kNop);
  property += 4;
  khop::module::Store(property, khop::module::kProperty);
  khop::module::Store(property + 4, khop::handoff::kTimelineSize);
  khop::module::Store(property + 8, name);
  *offset = at + 4 + 12;
  return {KHOP_OK, 0};
}
