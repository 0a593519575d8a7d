// SPDX-License-Identifier: MIT
#include "tool/load/extents.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <memory>
#include <optional>

namespace khop::load {
namespace {

constexpr uint64_t kUnit = 4096;  // the smallest page of any granule
constexpr uint64_t kMaxAddress = uint64_t{1} << 52;

void Put(std::string& text, int64_t value, char end) {
  std::array<char, 20> digits;
  const auto done = std::to_chars(digits.data(), digits.data() + digits.size(), value, 36);
  // 0 is written as nothing.
  if (value != 0) text.append(digits.data(), done.ptr);
  text += end;
}

std::optional<int64_t> Take(std::string_view& text, char end) {
  const size_t size = text.find(end);
  if (size == std::string_view::npos) return std::nullopt;
  int64_t value = 0;
  if (size != 0) {
    const char* const first = std::to_address(text.begin());
    const auto done = std::from_chars(first, first + size, value, 36);
    if (done.ec != std::errc() || done.ptr != first + size) return std::nullopt;
  }
  text.remove_prefix(size + 1);
  return value;
}

int64_t Units(uint64_t from, uint64_t to) {
  return static_cast<int64_t>(to / kUnit) - static_cast<int64_t>(from / kUnit);
}

// Not below 0, and far from any overflow.
std::optional<uint64_t> Moved(uint64_t from, int64_t units) {
  constexpr auto kMaxUnits = static_cast<int64_t>(kMaxAddress / kUnit);
  if (units < -kMaxUnits || units > kMaxUnits) return std::nullopt;
  const int64_t to = static_cast<int64_t>(from / kUnit) + units;
  if (to < 0 || to > kMaxUnits) return std::nullopt;
  return static_cast<uint64_t>(to) * kUnit;
}

}  // namespace

void Append(std::vector<Extent>& extents, const Extent& extent) {
  if (!extents.empty()) {
    Extent& last = extents.back();
    if (last.segment == extent.segment && last.offset + last.size == extent.offset &&
        last.address + last.size == extent.address &&
        last.destination + last.size == extent.destination) {
      last.size += extent.size;
      return;
    }
  }
  extents.push_back(extent);
}

void SortByDestination(std::vector<Extent>& extents) {
  std::ranges::sort(extents, {}, &Extent::destination);
  size_t used = 0;
  for (size_t i = 1; i < extents.size(); ++i) {
    Extent& last = extents[used];
    const Extent& next = extents[i];
    if (last.segment == next.segment && last.offset + last.size == next.offset &&
        last.address + last.size == next.address &&
        last.destination + last.size == next.destination) {
      last.size += next.size;
    } else {
      extents[++used] = next;
    }
  }
  if (!extents.empty()) extents.resize(used + 1);
}

std::vector<PhysRange> Addresses(std::span<const Extent> extents) {
  std::vector<PhysRange> ranges;
  ranges.reserve(extents.size());
  for (const Extent& extent : extents) ranges.push_back({extent.address, extent.size});
  std::ranges::sort(ranges, {}, &PhysRange::start);
  size_t used = 0;
  for (size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[used].end() == ranges[i].start) {
      ranges[used].size += ranges[i].size;
    } else {
      ranges[++used] = ranges[i];
    }
  }
  if (!ranges.empty()) ranges.resize(used + 1);
  ranges.shrink_to_fit();
  return ranges;
}

std::string EncodeExtents(std::span<const Extent> extents) {
  std::string text;
  Extent before;
  for (const Extent& extent : extents) {
    Put(text, static_cast<int64_t>(extent.segment), ',');
    Put(text, Units(before.offset + before.size, extent.offset), ',');
    Put(text, Units(before.address.value + before.size, extent.address.value), ',');
    Put(text, Units(before.destination.value + before.size, extent.destination.value), ',');
    Put(text, static_cast<int64_t>(extent.size / kUnit), ';');
    before = extent;
  }
  return text;
}

Result<std::vector<Extent>> DecodeExtents(std::string_view text) {
  std::vector<Extent> extents;
  Extent before;
  while (!text.empty()) {
    const auto segment = Take(text, ',');
    const auto offset = segment ? Take(text, ',') : segment;
    const auto address = offset ? Take(text, ',') : offset;
    const auto destination = address ? Take(text, ',') : address;
    const auto size = destination ? Take(text, ';') : destination;
    Extent extent;
    const bool whole = size && *size > 0 && *segment >= 0 && *segment < 16;
    const auto bytes = whole ? Moved(0, *size) : std::nullopt;
    const auto start = whole ? Moved(before.offset + before.size, *offset) : std::nullopt;
    const auto phys = whole ? Moved(before.address.value + before.size, *address) : std::nullopt;
    const auto to =
        whole ? Moved(before.destination.value + before.size, *destination) : std::nullopt;
    if (!bytes || !start || !phys || !to) {
      return Fail(ExitCode::kBadState, "the state of khop", "its list of pages is damaged",
                  "run khop unload to start afresh");
    }
    extent = {*start, *bytes, PhysAddr{*phys}, PhysAddr{*to}, static_cast<uint32_t>(*segment)};
    extents.push_back(extent);
    before = extent;
  }
  return extents;
}

}  // namespace khop::load
