// SPDX-License-Identifier: MIT
#include "tool/report/status.h"

#include <algorithm>

#include "tool/base/error.h"
#include "tool/report/json.h"
#include "tool/report/text.h"

namespace khop::report {
namespace {

std::string_view Name(LoadedBy loaded_by) {
  switch (loaded_by) {
    case LoadedBy::kNobody:
      return "nobody";
    case LoadedBy::kKhop:
      return "khop";
    case LoadedBy::kOther:
      break;
  }
  return "other";
}

std::string Headline(const Status& status) {
  switch (status.loaded_by) {
    case LoadedBy::kNobody:
      return "nothing";
    case LoadedBy::kOther:
      return "a kernel that another tool loaded; khop knows nothing about it";
    case LoadedBy::kKhop:
      break;
  }
  std::string text = status.kernel;
  if (!status.kernel_version.empty()) text += " (" + status.kernel_version + ")";
  if (!status.loaded_at.empty()) text += " at " + status.loaded_at;
  return text;
}

std::string CrashHeadline(const CrashStatus& crash) {
  std::string text = "not loaded";
  if (crash.loaded_by == LoadedBy::kOther) text = "loaded, and not khop's as far as it knows";
  if (crash.loaded_by == LoadedBy::kKhop) {
    text = crash.kernel;
    if (!crash.kernel_version.empty()) text += " (" + crash.kernel_version + ")";
    if (!crash.loaded_at.empty()) text += " at " + crash.loaded_at;
    if (crash.with_payload) text += ", beside the kernel that khop exec starts";
  }
  if (crash.reservation.empty()) text += "; no memory is reserved for one (crashkernel=)";
  if (!crash.note.empty()) text += "; " + crash.note;
  return text;
}

Json ToJson(const CrashStatus& crash) {
  Json json = {{"loaded_by", Name(crash.loaded_by)},
               {"note", crash.note},
               {"reservation", ToJson(crash.reservation)}};
  if (crash.loaded_by != LoadedBy::kKhop) return json;
  json["loaded_at"] = crash.loaded_at;
  json["kernel"] = {{"path", crash.kernel}, {"version", crash.kernel_version}};
  json["initrds"] = crash.initrds;
  json["command_line"] = crash.command_line;
  json["entry"] = crash.entry;
  json["segments"] = ToJson(crash.segments);
  json["with_payload"] = crash.with_payload;
  return json;
}

}  // namespace

bool Ready(const Status& status) {
  return status.loaded_by == LoadedBy::kKhop &&
         std::ranges::all_of(status.checks, [](const Check& check) { return check.ok; });
}

std::string RenderText(const Status& status) {
  TextPage page;
  page.Field("Loaded", Headline(status));
  if (status.loaded_by == LoadedBy::kKhop) {
    page.Field("Route", status.route);
    for (const std::string& initrd : status.initrds) page.Field("Initrd", initrd);
    page.Field("Command line", status.command_line.empty() ? "(empty)" : status.command_line);
    AddMemory(page, status.segments, status.control);
    page.Field("Entry", Hex(status.entry));
    page.Field("Payload", PayloadText(status.bytes_in_place, status.bytes_to_move, status.moves));
    if (!status.mmu.empty()) page.Field("MMU", MmuText(status.mmu, status.mmu_reason));
    page.Field("Arena", ArenaText(status.arena));
    page.Field("Digest", status.digest == "early" ? "sha256, early: at exec --now" : status.digest);
  }
  page.Field("Crash image", CrashHeadline(status.crash));
  for (const Check& check : status.checks) {
    page.Field("Check", check.name + ": " + (check.ok ? "ok" : "FAILED") +
                            (check.detail.empty() ? "" : ", " + check.detail));
  }
  if (status.loaded_by == LoadedBy::kKhop) {
    page.Field("Ready",
               Ready(status) ? "yes: khop exec would start it" : "no: khop exec would refuse");
  }
  for (const std::string& note : status.notes) page.Field("Note", note);
  return page.text();
}

std::string ToJson(const Status& status) {
  Json checks = Json::array();
  for (const Check& check : status.checks) {
    checks.push_back({{"name", check.name}, {"ok", check.ok}, {"detail", check.detail}});
  }
  Json json = {{"schema", kSchema},
               {"loaded_by", Name(status.loaded_by)},
               {"ready", Ready(status)},
               {"crash_loaded", status.crash.loaded_by != LoadedBy::kNobody},
               {"crash", ToJson(status.crash)}};
  if (status.loaded_by == LoadedBy::kKhop) {
    json["route"] = status.route;
    json["loaded_at"] = status.loaded_at;
    json["kernel"] = {{"path", status.kernel}, {"version", status.kernel_version}};
    json["initrds"] = status.initrds;
    json["command_line"] = status.command_line;
    json["entry"] = status.entry;
    json["segments"] = ToJson(status.segments);
    json["control"] = ToJson(status.control);
    json["arena"] = ToJson(status.arena);
    json["bytes_in_place"] = status.bytes_in_place;
    json["bytes_to_move"] = status.bytes_to_move;
    json["moves"] = status.moves;
    json["mmu"] = status.mmu;
    json["mmu_reason"] = status.mmu_reason;
    json["digest"] = status.digest;
  }
  json["checks"] = checks;
  json["notes"] = status.notes;
  return Dump(json);
}

}  // namespace khop::report
