// SPDX-License-Identifier: MIT
#include "tool/system/gic_tables.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "tool/system/cpus.h"

namespace khop::system {
namespace {

// One record of /dev/kmsg: "PRIORITY,SEQUENCE,MICROSECONDS,FLAGS[,…];TEXT" (Linux,
// Documentation/ABI/testing/dev-kmsg).
struct Record {
  uint64_t priority = 0;
  uint64_t sequence = 0;
  std::string_view text;
};

std::optional<uint64_t> TakeNumber(std::string_view& text, int base = 10) {
  uint64_t number = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(rest - text.data()));
  return number;
}

bool TakeText(std::string_view& text, std::string_view wanted) {
  if (!text.starts_with(wanted)) return false;
  text.remove_prefix(wanted.size());
  return true;
}

std::optional<Record> ParseRecord(std::string_view line) {
  const auto priority = TakeNumber(line);
  if (!priority || !TakeText(line, ",")) return std::nullopt;
  const auto sequence = TakeNumber(line);
  const size_t end = line.find(';');
  if (!sequence || end == std::string_view::npos) return std::nullopt;
  return Record{*priority, *sequence, line.substr(end + 1)};
}

// "0x00000000425b0000" and nothing behind it.
std::optional<PhysRange> TableAt(std::string_view text) {
  if (!TakeText(text, "0x")) return std::nullopt;
  const auto address = TakeNumber(text, 16);
  if (!address || !text.empty() || *address == 0) return std::nullopt;
  const PhysRange range = {{*address}, kLpiTableSize};
  if (!range.valid()) return std::nullopt;
  return range;
}

// "CPU1: using allocated LPI pending table @0x…"; "reserved" if an earlier kernel allocated it.
void ParsePending(std::string_view text, LoggedLpiTables& tables) {
  if (!TakeText(text, "CPU")) return;
  const auto cpu = TakeNumber(text);
  if (!cpu || *cpu > UINT32_MAX || !TakeText(text, ": using ")) return;
  if (!TakeText(text, "allocated") && !TakeText(text, "reserved")) return;
  if (!TakeText(text, " LPI pending table @")) return;
  if (const auto table = TableAt(text)) tables.pending[static_cast<uint32_t>(*cpu)] = *table;
}

std::string Missing(const LoggedLpiTables& logged, const std::set<uint32_t>& cpus) {
  std::string missing;
  if (!logged.property) missing = "the property table";
  size_t count = 0;
  uint32_t first = 0;
  for (const uint32_t cpu : cpus) {
    if (logged.pending.contains(cpu)) continue;
    if (count++ == 0) first = cpu;
  }
  if (count == 0) return missing;
  if (!missing.empty()) missing += " and ";
  missing += count == 1 ? "the pending table of CPU " + std::to_string(first)
                        : "the pending tables of " + std::to_string(count) + " CPUs";
  return missing;
}

}  // namespace

LoggedLpiTables ParseLpiTables(std::string_view log) {
  LoggedLpiTables tables;
  bool first = true;
  while (!log.empty()) {
    const size_t newline = std::min(log.find('\n'), log.size());
    const auto record = ParseRecord(log.substr(0, newline));
    log.remove_prefix(std::min(newline + 1, log.size()));
    if (!record) continue;  // a record's further lines (" SUBSYSTEM=…")
    if (first) tables.whole = record->sequence == 0;
    first = false;
    constexpr uint64_t kFirstOfUserSpace = 8;
    std::string_view text = record->text;
    if (record->priority >= kFirstOfUserSpace || !TakeText(text, "GICv3: ")) continue;
    if (TakeText(text, "using LPI property table @")) {
      if (const auto table = TableAt(text)) tables.property = table;
    } else {
      ParsePending(text, tables);
    }
  }
  return tables;
}

LpiTables FindLpiTables(System& system, std::span<const PhysRange> reserved) {
  const auto log = system.KernelLog();
  const LoggedLpiTables logged = ParseLpiTables(log ? std::string_view(*log) : "");
  LpiTables found;
  const auto add = [&](const PhysRange& range) {
    if (std::ranges::find(found.ranges, range) == found.ranges.end()) found.ranges.push_back(range);
  };
  if (logged.property) add(*logged.property);
  for (const auto& [cpu, table] : logged.pending) add(table);
  const bool none_logged = found.ranges.empty();
  for (const PhysRange& range : reserved) {
    if (range.size == kLpiTableSize && range.start.value % kLpiTableSize == 0) add(range);
  }
  if (logged.whole && none_logged) return found;  // irqchip.gicv3_nolpi=1
  const std::set<uint32_t> cpus = OnlineCpus(system);
  // One for each CPU and the property table.
  if (found.ranges.size() <= cpus.size()) found.missing = Missing(logged, cpus);
  return found;
}

}  // namespace khop::system
