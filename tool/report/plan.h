// SPDX-License-Identifier: MIT
// The plan of a hop: what `khop load` will do or has done. The load code fills it in; this renders
// it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tool/devicetree/change.h"
#include "tool/report/segment.h"
#include "tool/report/style.h"
#include "tool/system/system.h"

namespace khop::report {

struct PlanFile {
  std::string path;
  uint64_t size = 0;  // bytes
};

// A stretch of the machine's memory, and who has how many bytes of it at this moment. What is in
// none of the four below is the kernel's.
struct MapCell {
  uint64_t start = 0;     // a multiple of the cells' size
  uint64_t ram = 0;       // bytes
  uint64_t reserved = 0;  // firmware's, the running kernel's image, CMA, a crash kernel
  uint64_t free = 0;
  uint64_t movable = 0;  // processes' and cache
  uint64_t unseen = 0;   // not looked at
};

// What a step of the hop is expected to take.
struct Cost {
  std::string name;               // as in the timeline: "shutdown", "set-up", "move", …
  std::string meaning;            // for people
  std::optional<uint64_t> least;  // ns; nothing: not known
  std::optional<uint64_t> most;
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

  // "loaded": where everything is. "forecast": where it would be if the kernel gave the pages that
  // are free now; a load may get others. "unknown": no addresses below are set.
  std::string addresses = "unknown";
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

  // What a plan has beyond that of a load.
  std::vector<std::string> dtb_diff;  // lines of source, ' ', '-' or '+' first; if asked for
  uint64_t map_cell = 0;              // bytes of a cell
  std::vector<MapCell> map;           // ascending; none where addresses are hidden
  std::vector<Cost> costs;            // in order
  std::optional<system::Speeds> speeds;
};

// For people: lines of at most 80 columns but for file names, each ended by a newline.
std::string RenderText(const Plan& plan, const Style& style = {});
// For programs: one JSON object with "schema": 1, ended by a newline. Addresses and sizes are
// numbers. Text that is not UTF-8 gets replacement characters.
std::string ToJson(const Plan& plan);
// A picture: the map, what lies where, what it costs.
std::string ToSvg(const Plan& plan);

// The part of the payload that a cell of the map holds ("kernel"), or what most of its bytes are:
// "free", "movable", "busy", "reserved", "unseen". What is small wins over what is large.
std::string_view CellKind(const Plan& plan, const MapCell& cell);
// The sum of the costs that are known: least and most.
struct CostSum {
  uint64_t least = 0;
  uint64_t most = 0;
  bool whole = true;  // all of the blackout's are known
};
CostSum SumCosts(const Plan& plan);
// "12.3 ms", "3 ms to 1.2 s", "not known".
std::string CostText(const std::optional<uint64_t>& least, const std::optional<uint64_t>& most);

}  // namespace khop::report
