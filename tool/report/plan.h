// SPDX-License-Identifier: MIT
// The plan of a hop: what `khop load` will do or has done. The load code fills it in; this renders
// it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tool/devicetree/change.h"
#include "tool/report/segment.h"

namespace khop::report {

struct PlanFile {
  std::string path;
  uint64_t size = 0;  // bytes
};

struct Plan {
  std::string route;         // "in-place", "gather"
  std::string route_reason;  // why this one: "a run of 21 pages of 2 MiB is free"
  std::vector<Refusal> refused;
  std::string mmu;  // "on" or "off", while bytes are moved and verified
  std::string mmu_reason;

  PlanFile kernel;
  std::string kernel_format;       // "Image"
  std::string kernel_version;      // "6.12.94+deb13-arm64"; empty if unknown
  uint64_t kernel_image_size = 0;  // bytes in memory, BSS included
  uint64_t kernel_page_size = 0;   // bytes; 0: the header does not say
  std::vector<PlanFile> initrds;   // in order
  std::string command_line;
  std::string dtb_source;  // "/sys/firmware/fdt" or a file

  uint64_t entry = 0;             // physical address of the first instruction
  std::vector<Segment> segments;  // the payload, by address
  uint64_t bytes_in_place = 0;
  uint64_t bytes_to_move = 0;  // copied in the blackout
  uint64_t moves = 0;          // by so many copies
  ControlArea control;
  std::vector<ArenaPages> arena;

  std::string digest;  // "sha256", "crc32c", "none", or "early": sha256 before reboot(2)
  uint64_t bytes_to_verify = 0;
  std::string console;         // where last words go: "pl011 at 0x9000000"; empty: nowhere
  std::string failure_record;  // where the next boot finds what happened; empty: nowhere
  std::string conduit;         // PSCI: "smc", "hvc"; empty: none
  std::vector<devicetree::Change> dtb_changes;
  std::vector<std::string> notes;  // what else the user should know, a line each
};

// For people: lines of at most 80 columns but for file names, each ended by a newline.
std::string RenderText(const Plan& plan);
// For programs: one JSON object with "schema": 1, ended by a newline. Addresses and sizes are
// numbers. Text that is not UTF-8 gets replacement characters.
std::string ToJson(const Plan& plan);

}  // namespace khop::report
