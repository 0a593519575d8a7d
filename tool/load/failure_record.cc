// SPDX-License-Identifier: MIT
#include "tool/load/failure_record.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>

#include "core/handoff/failure_record.h"
#include "tool/devicetree/machine.h"

namespace khop::load {

using devicetree::Tree;
using handoff::kMinFailureRecord;
using report::FailedHop;
using system::System;

namespace {

constexpr const char* kRamoops = "ramoops";
constexpr const char* kParameters = "/sys/module/ramoops/parameters/";
// systemd-pstore.service moves records away at boot (systemd's pstore.conf(5)).
constexpr std::array<const char*, 2> kPstore = {"/sys/fs/pstore", "/var/lib/systemd/pstore"};
constexpr const char* kPstoreName = "dmesg-ramoops-";
constexpr const char* kLinePrefix = "khop: ";
constexpr const char* kLineEnd = "; resetting";

// The region of ramoops as the module tells it, whatever told the module: the device tree, its
// parameters or reserve_mem=. Its first part holds the records of crashes (fs/pstore/ram.c).
std::optional<RecordPlace> FromModule(System& system, std::vector<std::string>& notes) {
  const auto parameter = [&](const char* name) {
    return system::ReadNumber(system, std::string(kParameters) + name).value_or(0);
  };
  const uint64_t base = parameter("mem_address");
  const uint64_t record = parameter("record_size");
  if (base == 0 || record < kMinFailureRecord) return std::nullopt;
  if (parameter("ecc") != 0) {
    notes.emplace_back("ramoops keeps ECC data here: a failed hop leaves no record in it");
    return std::nullopt;
  }
  const uint64_t others =
      parameter("console_size") + parameter("ftrace_size") + parameter("pmsg_size");
  if (record + others > parameter("mem_size")) return std::nullopt;
  return RecordPlace{{{base}, kMinFailureRecord}, kRamoops};
}

// The same by the device tree's node, while its driver is not there
// (Documentation/devicetree/bindings/reserved-memory/ramoops.yaml).
bool FirstRecordFits(const Tree& tree, size_t node, uint64_t size) {
  const uint64_t record = tree.FindCell(node, "record-size").value_or(0);
  uint64_t others = 0;
  for (const char* other : {"console-size", "ftrace-size", "pmsg-size"}) {
    others += tree.FindCell(node, other).value_or(0);
  }
  return record >= kMinFailureRecord && record + others <= size &&
         tree.FindCell(node, "ecc-size").value_or(0) == 0;
}

// Regions of /reserved-memory with this `compatible` that `accept` takes.
template <typename Accept>
std::vector<RecordPlace> FromTree(const Tree& tree, const char* compatible, Accept accept) {
  std::vector<RecordPlace> places;
  const auto parent = tree.FindChild(0, "reserved-memory");
  for (size_t i = 0; parent && i < tree.nodes().size(); ++i) {
    if (tree.nodes()[i].parent != *parent || !tree.IsEnabled(i) ||
        !tree.ListHas(i, "compatible", compatible)) {
      continue;
    }
    const auto reg = devicetree::TranslateReg(tree, i);
    if (!reg || reg->empty() || !accept(i, reg->front().size)) continue;
    places.push_back({{reg->front().start, kMinFailureRecord}, tree.PathOf(i)});
  }
  return places;
}

std::vector<RecordPlace> OwnRegions(const Tree& tree) {
  return FromTree(tree, kRecordCompatible, [&](size_t node, uint64_t size) {
    return size >= kMinFailureRecord && tree.Find(node, "no-map").has_value();
  });
}

// The text of a record, if it is one of khop's.
std::optional<FailedHop> Parse(std::string_view text, std::string source) {
  if (!text.starts_with(kLinePrefix)) return std::nullopt;
  text.remove_prefix(strlen(kLinePrefix));
  const size_t end = text.find(kLineEnd);
  if (end == std::string_view::npos) return std::nullopt;
  FailedHop failed{
      .reason = Printable(text.substr(0, end)), .loaded_at = {}, .source = std::move(source)};
  const size_t loaded = text.find(handoff::kFailureRecordLoaded);
  if (loaded != std::string_view::npos) {
    text.remove_prefix(loaded + strlen(handoff::kFailureRecordLoaded));
    uint64_t seconds = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), seconds).ec == std::errc()) {
      failed.loaded_at = Utc(seconds);
    }
  }
  return failed;
}

// systemd-pstore makes a directory for each boot.
void ReadPstore(System& system, const std::string& directory, int depth,
                std::vector<FailedHop>& found, std::vector<std::string>& notes) {
  const auto names = system.ListDirectory(directory);
  if (!names) return;
  for (const std::string& name : *names) {
    std::string path = directory;
    path.append("/").append(name);
    if (depth > 0) ReadPstore(system, path, depth - 1, found, notes);
    if (!name.starts_with(kPstoreName)) continue;
    const auto text = system::ReadFile(system, path);
    if (!text) {
      notes.push_back(path + " cannot be read: " + Describe(text.error()));
      continue;
    }
    if (auto failed = Parse(*text, path)) found.push_back(*std::move(failed));
  }
}

std::optional<FailedHop> ReadRegion(System& system, const RecordPlace& place,
                                    std::vector<std::string>& notes) {
  std::array<std::byte, kMinFailureRecord> bytes;
  if (const auto read = system.ReadDeviceMemory(place.range.start, bytes); !read) {
    notes.push_back(place.source + " cannot be read: " + Describe(read.error()));
    return std::nullopt;
  }
  handoff::FailureRecordHeader header;
  memcpy(&header, bytes.data(), sizeof(header));
  std::array<char, kMinFailureRecord - sizeof(header)> text;
  memcpy(text.data(), bytes.data() + sizeof(header), text.size());
  if (header.signature != handoff::kFailureRecordSignature || header.size > text.size()) {
    return std::nullopt;
  }
  // pstore would have taken the first line off.
  const std::string_view all(text.data(), header.size);
  const size_t line = all.find('\n');
  if (!all.starts_with(handoff::kFailureRecordMark) || line == std::string_view::npos) {
    return std::nullopt;
  }
  return Parse(all.substr(line + 1), place.source);
}

}  // namespace

std::optional<RecordPlace> FindRecordPlace(System& system, const Tree& tree,
                                           const system::MemoryMap& map,
                                           std::vector<std::string>& notes) {
  auto place = FromModule(system, notes);
  if (!place) {
    auto places = FromTree(tree, kRamoops, [&](size_t node, uint64_t size) {
      return FirstRecordFits(tree, node, size);
    });
    const auto own = OwnRegions(tree);
    places.insert(places.end(), own.begin(), own.end());
    if (!places.empty()) place = places.front();
  }
  if (!place) return std::nullopt;
  const bool plain = std::ranges::any_of(
      map.plain, [&](const PhysRange& range) { return range.Overlaps(place->range); });
  if (plain || !place->range.valid() || !IsAligned(place->range.start.value, 8)) {
    notes.push_back("the memory of " + place->source + " at " + Hex(place->range.start.value) +
                    " is not reserved: a failed hop leaves no record");
    return std::nullopt;
  }
  return place;
}

std::vector<FailedHop> ReadFailedHops(System& system, const Tree* tree,
                                      std::vector<std::string>& notes) {
  std::vector<FailedHop> found;
  for (const char* directory : kPstore) ReadPstore(system, directory, 1, found, notes);
  if (tree == nullptr) return found;
  for (const RecordPlace& place : OwnRegions(*tree)) {
    if (auto failed = ReadRegion(system, place, notes)) found.push_back(*std::move(failed));
  }
  return found;
}

}  // namespace khop::load
