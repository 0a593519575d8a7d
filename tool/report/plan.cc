// SPDX-License-Identifier: MIT
#include "tool/report/plan.h"

#include "tool/base/error.h"
#include "tool/report/json.h"
#include "tool/report/text.h"

namespace khop::report {
namespace {

void AddKernel(TextPage& page, const Plan& plan) {
  std::string what = plan.kernel_format;
  if (!plan.kernel_version.empty()) what += (what.empty() ? "" : ", ") + plan.kernel_version;
  page.Field("Kernel", plan.kernel.path + (what.empty() ? "" : " (" + what + ")"));
  std::string size = HumanBytes(plan.kernel.size) +
                     (plan.kernel_format == "Image" ? " in the file, " : " unpacked, ") +
                     HumanBytes(plan.kernel_image_size) + " in memory";
  if (plan.kernel_page_size != 0) size += ", pages of " + HumanBytes(plan.kernel_page_size);
  page.Field("", size);
}

std::string_view Name(devicetree::ChangeKind kind) {
  switch (kind) {
    case devicetree::ChangeKind::kAdded:
      return "added";
    case devicetree::ChangeKind::kRemoved:
      return "removed";
    case devicetree::ChangeKind::kChanged:
      break;
  }
  return "changed";
}

}  // namespace

std::string RenderText(const Plan& plan) {
  TextPage page;
  page.Field("Route", plan.route + (plan.route_reason.empty() ? "" : ": " + plan.route_reason));
  for (const Refusal& refusal : plan.refused) {
    page.Field("", "not " + refusal.route + ": " + refusal.reason);
  }
  AddKernel(page, plan);
  for (const PlanFile& initrd : plan.initrds) {
    page.Field("Initrd", initrd.path + " (" + HumanBytes(initrd.size) + ")");
  }
  page.Field("Device tree", plan.dtb_source);
  page.Field("Command line", plan.command_line.empty() ? "(empty)" : plan.command_line);
  page.Gap();
  AddMemory(page, plan.segments, plan.control);
  page.Field("Entry", Hex(plan.entry));
  page.Field("Payload", PayloadText(plan.bytes_in_place, plan.bytes_to_move, plan.moves));
  if (!plan.mmu.empty()) page.Field("MMU", MmuText(plan.mmu, plan.mmu_reason));
  page.Field("Arena", ArenaText(plan.arena));
  page.Field("Digest",
             plan.digest == "none" || plan.digest.empty()
                 ? "none: a damaged payload would not be noticed"
             : plan.digest == "early"
                 ? "sha256 over " + HumanBytes(plan.bytes_to_verify) + ", early: at exec --now"
                 : plan.digest + " over " + HumanBytes(plan.bytes_to_verify));
  page.Field(
      "On failure",
      (plan.console.empty() ? std::string("no console is known") : "a line on " + plan.console) +
          (plan.conduit.empty() ? "; no way to reset is known"
                                : ", then PSCI SYSTEM_RESET (" + plan.conduit + ")"));
  if (!plan.failure_record.empty()) {
    page.Field("", "khop report tells why after the reset: " + plan.failure_record);
  }
  if (!plan.dtb_changes.empty()) page.Gap();
  AddChanges(page, plan.dtb_changes);
  if (!plan.notes.empty()) page.Gap();
  for (const std::string& note : plan.notes) page.Field("Note", note);
  return page.text();
}

std::string ToJson(const Plan& plan) {
  Json refused = Json::array();
  for (const Refusal& refusal : plan.refused) {
    refused.push_back({{"route", refusal.route}, {"reason", refusal.reason}});
  }
  Json initrds = Json::array();
  for (const PlanFile& initrd : plan.initrds) {
    initrds.push_back({{"path", initrd.path}, {"size", initrd.size}});
  }
  Json changes = Json::array();
  for (const devicetree::Change& change : plan.dtb_changes) {
    changes.push_back(
        {{"change", Name(change.kind)}, {"path", change.path}, {"detail", change.detail}});
  }
  const Json json = {{"schema", kSchema},
                     {"route", plan.route},
                     {"route_reason", plan.route_reason},
                     {"refused", refused},
                     {"kernel",
                      {{"path", plan.kernel.path},
                       {"size", plan.kernel.size},
                       {"format", plan.kernel_format},
                       {"version", plan.kernel_version},
                       {"image_size", plan.kernel_image_size},
                       {"page_size", plan.kernel_page_size}}},
                     {"initrds", initrds},
                     {"command_line", plan.command_line},
                     {"dtb_source", plan.dtb_source},
                     {"entry", plan.entry},
                     {"segments", ToJson(plan.segments)},
                     {"bytes_in_place", plan.bytes_in_place},
                     {"bytes_to_move", plan.bytes_to_move},
                     {"moves", plan.moves},
                     {"mmu", plan.mmu},
                     {"mmu_reason", plan.mmu_reason},
                     {"control", ToJson(plan.control)},
                     {"arena", ToJson(plan.arena)},
                     {"digest", plan.digest},
                     {"bytes_to_verify", plan.bytes_to_verify},
                     {"console", plan.console},
                     {"failure_record", plan.failure_record},
                     {"conduit", plan.conduit},
                     {"dtb_changes", changes},
                     {"notes", plan.notes}};
  return Dump(json);
}

}  // namespace khop::report
