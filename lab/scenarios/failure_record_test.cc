// SPDX-License-Identifier: MIT
// A hop that failed is told of by the boot after the reset, though nobody watched the console.
#include <libfdt.h>

#include <cinttypes>

#include "lab/scenarios/first_machine.h"

namespace khop::lab {
namespace {

constexpr uint64_t kRegion = 0x7fe00000;  // near the end of 1 GiB
constexpr uint64_t kRegionSize = 0x100000;
constexpr uint32_t kRecordSize = 0x4000;

class FailureRecord : public FirstMachine {
 protected:
  // Loads, flips a bit of the kernel behind khop's back, reboots into it, and waits for the first
  // kernel to come up again after the reset. `digest_at` is the digest that does not match.
  void FailAndBoot(std::string* digest_at) {
    MUST(Load(""));
    const uint64_t kernel = SegmentStart("kernel");
    ASSERT_NE(kernel, 0U);
    char text[32];
    snprintf(text, sizeof(text), "0x%" PRIx64, kernel);
    *digest_at = text;
    snprintf(text, sizeof(text), "0x%" PRIx64, kernel + 0x1000);
    MUST(guest().Must(std::string("khop-guest-tool flip ") + text + " 0x10"));
    MUST(guest().Kexec());
    MUST(machine().WaitForText("; resetting", Seconds(60)));
    const Result<Facts> facts = guest().WaitUntilUp(Seconds(180));
    MUST(facts);
    ASSERT_EQ(facts->uname, kernel_.release);
  }

  // The one failed hop of `khop report`, in a kernel that khop has not started.
  void ExpectReport(const std::string& digest_at, const std::string& source,
                    const std::string& loaded_at) {
    const Result<nlohmann::json> report = KhopJson(guest(), "report");
    MUST(report);
    EXPECT_EQ(report->value("hopped", true), false);
    const nlohmann::json failed = report->value("failed_hops", nlohmann::json::array());
    ASSERT_EQ(failed.size(), 1U) << report->dump();
    EXPECT_EQ(failed[0].value("reason", ""), "payload digest does not match at " + digest_at);
    EXPECT_EQ(failed[0].value("source", ""), source);
    EXPECT_EQ(failed[0].value("loaded_at", ""), loaded_at);
    const Result<std::string> text = guest().Must("khop report");
    MUST(text);
    EXPECT_THAT(*text, testing::HasSubstr("Failed hop   payload digest does not match"));
  }

  std::string Planned() {
    const Result<nlohmann::json> plan = KhopJson(guest(), "plan /next/Image");
    if (!plan) {
      ADD_FAILURE() << plan.error().what;
      return "";
    }
    return plan->value("failure_record", "");
  }
  std::string LoadedAt() {
    const Result<nlohmann::json> status = KhopJson(guest(), "status");
    return status ? status->value("loaded_at", "") : "";
  }
};

TEST_F(FailureRecord, InRamoops) {
  START_FIRST_MACHINE({.allow_reboot = true,
                       .edit_tree =
                           [](void* tree) {
                             int node = 0;
                             const int error =
                                 AddReservedMemory(tree, "ramoops", kRegion, kRegionSize, &node);
                             if (error != 0) return error;
                             return fdt_setprop_u32(tree, node, "record-size", kRecordSize);
                           },
                       .drivers = {"reed_solomon", "ramoops"}});
  // By the device tree alone, then by the driver.
  EXPECT_EQ(Planned(), "/reserved-memory/region@7fe00000 at 0x7fe00000");
  const std::string insert = "insmod /drivers/reed_solomon.ko && insmod /drivers/ramoops.ko";
  MUST(guest().Must(insert));
  EXPECT_EQ(Planned(), "ramoops at 0x7fe00000");
  std::string digest_at;
  ASSERT_NO_FATAL_FAILURE(FailAndBoot(&digest_at));
  const Result<CommandResult> nothing = guest().Run("khop report");
  MUST(nothing);
  EXPECT_EQ(nothing->exit_code, 3) << "ramoops is not there yet: " << nothing->output;
  MUST(guest().Must(insert + " && mount -t pstore none /sys/fs/pstore"));
  const Result<std::string> record = guest().Must("cat /sys/fs/pstore/dmesg-ramoops-0");
  MUST(record);
  EXPECT_THAT(*record, testing::StartsWith("khop: payload digest does not match at " + digest_at +
                                           "; resetting\nkhop: loaded at "));
  const Result<std::string> seconds = guest().Must(
      "date -u -d @$(sed -n 's/khop: loaded at //p' /sys/fs/pstore/dmesg-ramoops-0) +%FT%TZ");
  MUST(seconds);
  ASSERT_NO_FATAL_FAILURE(
      ExpectReport(digest_at, "/sys/fs/pstore/dmesg-ramoops-0", seconds->substr(0, 20)));
  // What was read and removed is not told again.
  MUST(guest().Must("rm /sys/fs/pstore/dmesg-ramoops-0; ! khop report"));
}

TEST_F(FailureRecord, InMemoryNamedInTheTree) {
  START_FIRST_MACHINE({.allow_reboot = true, .edit_tree = [](void* tree) {
                         int node = 0;
                         return AddReservedMemory(tree, "khop,failure-record", kRegion, 0x1000,
                                                  &node);
                       }});
  EXPECT_EQ(Planned(), "/reserved-memory/region@7fe00000 at 0x7fe00000");
  std::string digest_at;
  MUST(Load(""));
  const std::string loaded_at = LoadedAt();
  MUST(guest().Must("khop unload"));
  ASSERT_NO_FATAL_FAILURE(FailAndBoot(&digest_at));
  const Result<nlohmann::json> report = KhopJson(guest(), "report");
  MUST(report);
  const std::string told = report->at("failed_hops").at(0).value("loaded_at", "");
  EXPECT_GE(told, loaded_at);
  ASSERT_NO_FATAL_FAILURE(ExpectReport(digest_at, "/reserved-memory/region@7fe00000", told));
}

}  // namespace
}  // namespace khop::lab
