// SPDX-License-Identifier: MIT
#include "tool/report/status.h"

#include <nlohmann/json.hpp>

#include "gtest/gtest.h"

namespace khop::report {
namespace {

Status Loaded() {
  Status status;
  status.loaded_by = LoadedBy::kKhop;
  status.route = "in-place";
  status.loaded_at = "2026-07-01T12:00:00Z";
  status.kernel = "/boot/vmlinuz";
  status.kernel_version = "6.12.94+deb13-arm64";
  status.initrds = {"/boot/initrd.img"};
  status.command_line = "quiet";
  status.entry = 0x40200000;
  status.segments = {{"kernel", 0x40200000, 0x2700000, 0x2700000}};
  status.control = {0x5fe00000, 0x1c000, 20480, 16384, 8192, 24576};
  status.arena = {{uint64_t{2} << 20, 21}};
  status.mmu = "on";
  status.mmu_reason = "the page tables fit";
  status.bytes_in_place = 0x2600000;
  status.bytes_to_move = 0x100000;
  status.moves = 3;
  status.digest = "sha256";
  status.checks = {{"pages", true, "21 of 21 in their places"}, {"kernel image", true, ""}};
  return status;
}

TEST(Status, Ready) {
  Status status = Loaded();
  EXPECT_TRUE(Ready(status));
  status.checks[1].ok = false;
  EXPECT_FALSE(Ready(status));
  EXPECT_FALSE(Ready(Status()));
  status = Loaded();
  status.loaded_by = LoadedBy::kOther;
  EXPECT_FALSE(Ready(status));
}

TEST(StatusText, Golden) {
  Status status = Loaded();
  status.checks.push_back({"pages", false, "page 3 has moved from 0x40600000 to 0x51200000"});
  EXPECT_EQ(RenderText(status),
            R"(Loaded       /boot/vmlinuz (6.12.94+deb13-arm64) at 2026-07-01T12:00:00Z
Route        in-place
Initrd       /boot/initrd.img
Command line quiet
Memory
  kernel     0x000040200000 - 0x0000428fffff     39 MiB
  control    0x00005fe00000 - 0x00005fe1bfff    112 KiB
             relocator 20 KiB, stack 16 KiB, hand-off 8 KiB, page tables 24 KiB
Entry        0x40200000
Payload      38 MiB in place, 1 MiB to move (in 3 moves)
MMU          on: the page tables fit
Arena        21 pages of 2 MiB (42 MiB)
Digest       sha256
Crash image  not loaded; no memory is reserved for one (crashkernel=)
Check        pages: ok, 21 of 21 in their places
Check        kernel image: ok
Check        pages: FAILED, page 3 has moved from 0x40600000 to 0x51200000
Ready        no: khop exec would refuse
)");
}

TEST(StatusText, NothingAndOthers) {
  Status status;
  EXPECT_EQ(RenderText(status),
            "Loaded       nothing\n"
            "Crash image  not loaded; no memory is reserved for one (crashkernel=)\n");
  status.loaded_by = LoadedBy::kOther;
  status.crash.loaded_by = LoadedBy::kOther;
  EXPECT_EQ(RenderText(status),
            "Loaded       a kernel that another tool loaded; khop knows nothing about it\n"
            "Crash image  loaded, and not khop's as far as it knows; no memory is reserved\n"
            "             for one (crashkernel=)\n");
}

TEST(StatusJson, HoldsEverything) {
  const auto json = nlohmann::json::parse(ToJson(Loaded()));
  EXPECT_EQ(json["schema"], 1);
  EXPECT_EQ(json["loaded_by"], "khop");
  EXPECT_EQ(json["ready"], true);
  EXPECT_EQ(json["route"], "in-place");
  EXPECT_EQ(json["kernel"]["version"], "6.12.94+deb13-arm64");
  EXPECT_EQ(json["segments"][0]["start"], 0x40200000);
  EXPECT_EQ(json["checks"][0]["ok"], true);
  const auto nothing = nlohmann::json::parse(ToJson(Status()));
  EXPECT_EQ(nothing["loaded_by"], "nobody");
  EXPECT_EQ(nothing["ready"], false);
  EXPECT_FALSE(nothing.contains("route"));
}

}  // namespace
}  // namespace khop::report
