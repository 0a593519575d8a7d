// SPDX-License-Identifier: MIT
#include "tool/report/plan.h"

#include <nlohmann/json.hpp>
#include <sstream>

#include "gtest/gtest.h"

namespace khop::report {
namespace {

Plan SomePlan() {
  Plan plan;
  plan.route = "in-place";
  plan.mmu = "off";
  plan.mmu_reason = "asked for";
  plan.route_reason = "21 pages of 2 MiB in one run, from 0x40200000 on, hold the whole payload";
  plan.refused = {{"reserved", "no crashkernel= memory"}};
  plan.kernel = {"/boot/vmlinuz-6.12.94+deb13-arm64", 39426048};
  plan.kernel_format = "Image";
  plan.kernel_version = "6.12.94+deb13-arm64";
  plan.kernel_image_size = 40894464;
  plan.kernel_page_size = 4096;
  plan.initrds = {{"/boot/initrd.img", 2097152}, {"/extra.cpio", 1}};
  plan.command_line =
      "BOOT=x root=UUID=2b5b2b5b-0000-4000-8000-0123456789ab ro console=ttyAMA0 quiet panic=5";
  plan.dtb_source = "/sys/firmware/fdt";
  plan.addresses = "loaded";
  plan.entry = 0x40200000;
  plan.segments = {{"kernel", 0x40200000, 40894464, 39426048},
                   {"dtb", 0x42a00000, 8000, 0},
                   {"initrd", 0x42c00000, 2097153, 2097153}};
  plan.bytes_in_place = 42999617;
  plan.control = {0x5fe00000, 0x1c000, 20480, 16384, 8192, 24576};
  plan.arena = {{uint64_t{2} << 20, 21}, {uint64_t{32} << 20, 1}};
  plan.digest = "sha256";
  plan.bytes_to_verify = 42999617;
  plan.console = "pl011 at 0x9000000 (/pl011@9000000)";
  plan.conduit = "hvc";
  plan.dtb_changes = {
      {devicetree::ChangeKind::kChanged, "/chosen/bootargs", "\"" + plan.command_line + "\""},
      {devicetree::ChangeKind::kAdded, "/chosen/rng-seed", "fresh"},
      {devicetree::ChangeKind::kRemoved, "/chosen/linux,elfcorehdr", "of a crash kernel"}};
  return plan;
}

TEST(PlanText, Golden) {
  EXPECT_EQ(RenderText(SomePlan()),
            R"(Route        in-place: 21 pages of 2 MiB in one run, from 0x40200000 on, hold
             the whole payload
             not reserved: no crashkernel= memory
Kernel       /boot/vmlinuz-6.12.94+deb13-arm64 (Image, 6.12.94+deb13-arm64)
             37.5 MiB in the file, 39 MiB in memory, pages of 4 KiB
Initrd       /boot/initrd.img (2 MiB)
Initrd       /extra.cpio (1 byte)
Device tree  /sys/firmware/fdt
Command line BOOT=x root=UUID=2b5b2b5b-0000-4000-8000-0123456789ab ro
             console=ttyAMA0 quiet panic=5

Memory
  kernel     0x000040200000 - 0x0000428fffff     39 MiB  file 37.5 MiB
  dtb        0x000042a00000 - 0x000042a01f3f    7.8 KiB
  initrd     0x000042c00000 - 0x000042e00000      2 MiB
  control    0x00005fe00000 - 0x00005fe1bfff    112 KiB
             relocator 20 KiB, stack 16 KiB, hand-off 8 KiB, page tables 24 KiB
Entry        0x40200000
Payload      41.0 MiB in place, 0 bytes to move
MMU          off: asked for
Arena        21 pages of 2 MiB, 1 page of 32 MiB (74 MiB)
Digest       sha256 over 41.0 MiB
On failure   a line on pl011 at 0x9000000 (/pl011@9000000), then PSCI
             SYSTEM_RESET (hvc)

Device tree changes
  ~ /chosen/bootargs
  + /chosen/rng-seed  fresh
  - /chosen/linux,elfcorehdr  of a crash kernel
)");
}

TEST(PlanText, FitsEightyColumnsAndHidesControlCharacters) {
  Plan plan = SomePlan();
  plan.command_line = "a\x1b[2Jb\nc";
  plan.notes = {std::string(300, 'x') + " " + std::string(50, 'y')};
  plan.digest = "none";
  plan.conduit.clear();
  std::istringstream lines(RenderText(plan));
  for (std::string line; std::getline(lines, line);) {
    EXPECT_EQ(line.find('\x1b'), std::string::npos);
    if (line.find(std::string(50, 'x')) == std::string::npos) {
      EXPECT_LE(line.size(), 80u) << line;
    }
    EXPECT_FALSE(line.ends_with(' ')) << line;
  }
}

TEST(PlanText, MapAndCosts) {
  Plan plan = SomePlan();
  plan.dtb_changes.clear();
  constexpr uint64_t kMib = uint64_t{1} << 20;
  plan.map_cell = 2 * kMib;
  for (uint64_t at = 0; at < 32; ++at) {
    plan.map.push_back({.start = 0x40000000 + at * plan.map_cell, .ram = plan.map_cell});
  }
  plan.map[0].reserved = plan.map_cell;
  plan.map[30].free = plan.map_cell;
  plan.map[31].movable = plan.map_cell;
  plan.costs = {{"shutdown", "1 CPU taken offline", 3'000'000, 190'000'000},
                {"move", "nothing", 0, 0},
                {"kernel-start", "its own affair", {}, {}}};
  const std::string text = RenderText(plan);
  EXPECT_NE(text.find("Memory map, a character for 2 MiB\n"
                      "0x40000000   xKKKKKKKKKKKKKKKKKKKKDII######.:\n"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find(".:\n             K kernel  I initrd  D device tree  . free  "),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("  shutdown   3.000 ms to 190.000 ms: 1 CPU taken offline\n"
                      "  move       none: nothing\n"
                      "  kernel-start not known: its own affair\n"),
            std::string::npos)
      << text;
  const CostSum sum = SumCosts(plan);
  EXPECT_EQ(sum.least, 3'000'000U);
  EXPECT_TRUE(sum.whole);
}

TEST(PlanJson, HoldsEverything) {
  const auto json = nlohmann::json::parse(ToJson(SomePlan()));
  EXPECT_EQ(json["schema"], 1);
  EXPECT_EQ(json["route"], "in-place");
  EXPECT_EQ(json["refused"][0]["route"], "reserved");
  EXPECT_EQ(json["kernel"]["image_size"], 40894464);
  EXPECT_EQ(json["kernel"]["version"], "6.12.94+deb13-arm64");
  EXPECT_EQ(json["initrds"][1]["size"], 1);
  EXPECT_EQ(json["entry"], 0x40200000);
  EXPECT_EQ(json["segments"][0]["name"], "kernel");
  EXPECT_EQ(json["segments"][0]["end"], 0x42900000);
  EXPECT_EQ(json["bytes_to_move"], 0);
  EXPECT_EQ(json["moves"], 0);
  EXPECT_EQ(json["mmu"], "off");
  EXPECT_EQ(json["mmu_reason"], "asked for");
  EXPECT_EQ(json["control"]["table_bytes"], 24576);
  EXPECT_EQ(json["arena"][0]["count"], 21);
  EXPECT_EQ(json["dtb_changes"][2]["change"], "removed");
  EXPECT_EQ(json["dtb_changes"][2]["path"], "/chosen/linux,elfcorehdr");
  EXPECT_TRUE(json["notes"].is_array());
}

TEST(PlanJson, TextThatIsNotUtf8IsReplaced) {
  Plan plan = SomePlan();
  plan.kernel.path = "/boot/\xff\xfe";
  const auto json = nlohmann::json::parse(ToJson(plan));
  EXPECT_EQ(json["kernel"]["path"], "/boot/\xef\xbf\xbd\xef\xbf\xbd");
}

TEST(PlanJson, EmptyPlan) {
  const auto json = nlohmann::json::parse(ToJson(Plan()));
  EXPECT_EQ(json["segments"], nlohmann::json::array());
  EXPECT_EQ(json["refused"], nlohmann::json::array());
}

}  // namespace
}  // namespace khop::report
