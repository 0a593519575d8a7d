// SPDX-License-Identifier: MIT
#include "tool/base/error.h"
#include "tool/report/text.h"
#include "tool/report/timeline.h"

namespace khop::report {
namespace {

// The old kernel's, the relocator's and the next kernel's time.
Ink InkOfStep(std::string_view step) {
  if (step == "shutdown") return Ink::kDim;
  if (step == "kernel-start" || step == "kernel" || step == "userspace") return Ink::kGreen;
  return Ink::kBlue;
}

}  // namespace

std::string RenderText(const Timeline& timeline, const Style& style) {
  TextPage page(style);
  for (const FailedHop& failed : timeline.failed) {
    page.Field("Failed hop", failed.reason);
    page.Field("", (failed.loaded_at.empty() ? "" : "loaded at " + failed.loaded_at + ", ") +
                       "by " + failed.source);
  }
  page.Field("Route", timeline.route);
  page.Field("From", timeline.from);
  if (!timeline.filled_in) {
    page.Field("Timeline", timeline.hopped
                               ? "not filled in: no relocator started this kernel with it"
                               : "none: khop did not start this kernel");
    for (const std::string& note : timeline.notes) page.Field("Note", note);
    return page.text();
  }
  const uint64_t longest = LongestStep(timeline);
  constexpr size_t kBarColumns = 20;
  for (const TimelineStep& step : timeline.steps) {
    // In floating point, as the product of two long times does not fit.
    const auto share = static_cast<double>(step.nanoseconds) / static_cast<double>(longest);
    // User space goes on beyond the edge.
    const bool beyond = share > 1;
    page.Line(Paint(style, Ink::kBold, PadRight(step.name, kLabelColumns)) +
              PadLeft(Duration(step.nanoseconds), 11) + "  " +
              Paint(style, InkOfStep(step.name), Bar(style, share, kBarColumns)) +
              (beyond ? "> " : "  ") + step.meaning);
  }
  if (timeline.blackout) {
    page.Field("Blackout", Duration(*timeline.blackout) + " from reboot(2) to the jump");
  }
  if (timeline.since_jump) page.Field("Since then", Duration(*timeline.since_jump));
  page.Field("Moved", HumanBytes(timeline.bytes_moved));
  std::string verified = HumanBytes(timeline.bytes_verified);
  if (timeline.digest == "none") {
    verified = "nothing";
  } else if (timeline.digest == "early") {
    verified = "by sha256 before reboot(2), and not again";
  } else {
    verified += " by " + timeline.digest +
                (timeline.digest_by_instructions ? ", with the CPU's instructions for it"
                                                 : ", in plain code");
  }
  page.Field("Verified", verified);
  const auto on = [](bool value) { return value ? "on" : "off"; };
  page.Field("Relocator", "EL" + std::to_string(timeline.exception_level) +
                              (timeline.e2h ? " (VHE)" : "") + ", MMU " + on(timeline.mmu) +
                              ", data cache " + on(timeline.data_cache) + ", instruction cache " +
                              on(timeline.instruction_cache));
  page.Field("Counter", std::to_string(timeline.frequency) + " Hz");
  for (const std::string& note : timeline.notes) page.Field("Note", note);
  return page.text();
}

}  // namespace khop::report
