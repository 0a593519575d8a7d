// SPDX-License-Identifier: MIT
#include "lab/scenarios/footprint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cinttypes>
#include <cstdio>
#include <sstream>

namespace khop::lab {

Result<Footprint> TakeFootprint(Guest& guest) {
  const Result<Facts> facts = guest.GatherFacts(Seconds(120));
  if (!facts) return std::unexpected(facts.error());
  Footprint footprint;
  footprint.memory_total_kib = facts->memory_total_kib;
  for (const std::string& line : facts->iomem) {
    uint64_t start = 0;
    uint64_t end = 0;
    if (line.ends_with(" : reserved") &&
        sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64, &start, &end) == 2 && end > start) {
      ++footprint.reserved_regions;
      footprint.reserved_bytes += end - start + 1;
    }
  }
  const Result<std::string> text = guest.Must(
      "c=/proc/device-tree/chosen; "
      "echo $(cat /sys/firmware/fdt | wc -c) $(cat $c/khop,route | wc -c) "
      "$(cat $c/khop,from | wc -c); khop-guest-tool reservations");
  if (!text) return std::unexpected(text.error());
  std::istringstream lines(*text);
  uint64_t route = 0;
  uint64_t from = 0;
  std::string line;
  std::getline(lines, line);
  if (sscanf(line.c_str(), "%" SCNu64 " %" SCNu64 " %" SCNu64, &footprint.tree_bytes, &route,
             &from) != 3) {
    return Fail("no sizes of the device tree: " + *text);
  }
  // Values are padded to cells.
  footprint.tree_bytes -= (route + 3) / 4 * 4 + (from + 3) / 4 * 4;
  while (std::getline(lines, line)) footprint.reservations.push_back(line);
  return footprint;
}

std::string ToString(const Footprint& footprint) {
  char line[160];
  snprintf(line, sizeof line,
           "MemTotal %" PRIu64 " KiB, %zu regions of %.1f KiB reserved, tree %" PRIu64
           " bytes, %zu /memreserve/",
           footprint.memory_total_kib, footprint.reserved_regions,
           static_cast<double>(footprint.reserved_bytes) / 1024, footprint.tree_bytes,
           footprint.reservations.size());
  return line;
}

void ExpectNoGrowth(const Footprint& first, const Footprint& now, uint64_t slack) {
  EXPECT_EQ(now.tree_bytes, first.tree_bytes);
  EXPECT_EQ(now.reservations, first.reservations);
  EXPECT_LE(now.reserved_bytes, first.reserved_bytes + slack);
  EXPECT_GE(now.memory_total_kib + slack / 1024, first.memory_total_kib);
}

}  // namespace khop::lab
