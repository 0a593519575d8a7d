// SPDX-License-Identifier: MIT
#include "bench/blackout/tables.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <set>
#include <sstream>

#include "tool/report/svg.h"

namespace khop::bench {
namespace {

using report::Svg;

constexpr const char* kBegin = "<!-- blackout -->\n";
constexpr const char* kEnd = "<!-- end of blackout -->\n";

std::string Number(double value, int digits) {
  char text[48];
  snprintf(text, sizeof text, "%.*f", digits, value);
  // 4,430.1: commas between thousands.
  std::string out = text;
  const size_t point = std::min(out.find('.'), out.size());
  for (size_t at = point; at > 3 && out[at - 4] != '-';) {
    at -= 3;
    out.insert(at, ",");
  }
  return out;
}

// Millions of instructions.
std::string Millions(uint64_t instructions) {
  return Number(static_cast<double>(instructions) / 1e6, 2);
}

std::string Mib(uint64_t bytes) { return Number(static_cast<double>(bytes) / (1 << 20), 1); }

std::string Copied(const Sample& run) {
  const auto by = [](uint64_t bytes, bool mmu) {
    return Mib(bytes) + (mmu ? ", MMU on" : ", MMU off");
  };
  std::string text = by(run.by_kernel, run.kernel_mmu);
  if (run.what.way.loader == "khop") {
    text += " \\| " + (run.by_khop == 0 ? std::string("0") : by(run.by_khop, run.khop_mmu));
  } else {
    text += " \\| –";
  }
  return text;
}

// kexec-tools' purgatory has the MMU off.
std::string Verified(const Sample& run) {
  if (run.verified == 0) return "0";
  return Mib(run.verified) + (run.khop_mmu ? ", MMU on" : ", MMU off");
}

void AddOnce(std::vector<std::string>& list, const std::string& text) {
  if (std::ranges::find(list, text) == list.end()) list.push_back(text);
}

// In the order of the first ones.
std::vector<std::string> KernelsOf(const std::vector<Sample>& runs) {
  std::vector<std::string> kernels;
  for (const Sample& run : runs) AddOnce(kernels, run.what.kernel);
  return kernels;
}

std::set<int> PayloadsOf(const std::vector<Sample>& runs) {
  std::set<int> payloads;
  for (const Sample& run : runs) payloads.insert(run.what.payload_mib);
  return payloads;
}

void AddTotals(std::ostringstream& out, const std::vector<Sample>& runs, const std::string& kernel,
               const std::set<int>& payloads) {
  out << "\nLinux " << kernel << ", millions of instructions from reboot(2) to time zero, by the "
      << "size of the initrd:\n\n| |";
  for (const int payload : payloads) out << ' ' << payload << " MiB |";
  out << " runs | spread |\n|---|";
  for (size_t i = 0; i < payloads.size() + 2; ++i) out << "---:|";
  out << '\n';
  for (const Way& way : AllWays()) {
    std::string cells;
    double spread = 0;
    int least = 0;
    int most = 0;
    for (const int payload : payloads) {
      const auto figures = FiguresOf(runs, {kernel, way, payload});
      cells += figures ? " " + Millions(figures->middle.blackout) + " |" : " |";
      if (!figures) continue;
      spread = std::max(spread, figures->spread);
      least = least == 0 ? figures->runs : std::min(least, figures->runs);
      most = std::max(most, figures->runs);
    }
    if (most == 0) continue;
    out << "| " << way.Name() << " |" << cells << ' ' << least;
    if (most != least) out << " to " << most;
    out << " | " << (most > 1 ? Number(spread * 100, 3) + " %" : "") << " |\n";
  }
}

void AddDetails(std::ostringstream& out, const std::vector<Sample>& runs, const std::string& kernel,
                int payload) {
  if (std::ranges::none_of(runs, [&](const Sample& run) {
        return run.what.kernel == kernel && run.what.payload_mib == payload;
      })) {
    return;
  }
  out << "\nLinux " << kernel << ", initrd of " << payload
      << " MiB; copied in the blackout by the running kernel \\| by khop; millions of "
         "instructions; MiB:\n\n"
      << "| | copied, MiB | verified, MiB | relocator | load | of it idle | memory at the peak | "
         "payload |\n|---|---|---:|---:|---:|---:|---:|---:|\n";
  for (const Way& way : AllWays()) {
    const auto figures = FiguresOf(runs, {kernel, way, payload});
    if (!figures) continue;
    const Sample& run = figures->middle;
    out << "| " << way.Name() << " | " << Copied(run) << " | " << Verified(run) << " | "
        << (way.loader == "khop" ? Millions(run.relocator) : "") << " | " << Millions(run.load)
        << " | " << Millions(run.load_idle) << " | " << Mib(figures->peak) << " | "
        << Mib(run.payload) << " |\n";
  }
}

// A row for each goal, a column for each kernel: what has to be seen is where one is missed.
void AddGoals(std::ostringstream& out, const std::vector<Sample>& runs) {
  const std::vector<Goal> goals = CheckGoals(runs);
  const std::vector<std::string> kernels = KernelsOf(runs);
  out << "\nThe goals; **missed** ones are marked:\n\n| |";
  for (const std::string& kernel : kernels) out << ' ' << kernel << " |";
  out << "\n|---|";
  for (size_t i = 0; i < kernels.size(); ++i) out << "---|";
  out << '\n';
  std::set<std::string> told;
  for (const Goal& goal : goals) {
    if (!told.insert(goal.what).second) continue;
    out << "| " << goal.what << " |";
    for (const std::string& kernel : kernels) {
      const auto same = std::ranges::find_if(goals, [&](const Goal& other) {
        return other.kernel == kernel && other.what == goal.what;
      });
      if (same == goals.end()) {
        out << " |";
      } else {
        out << (same->known && !same->met ? " **missed**: " : " ") << same->measured << " |";
      }
    }
    out << '\n';
  }
}

// A set-up begins with the kernel's whole version; what is behind it is told once for all kernels,
// with what was measured with it.
void AddSetups(std::ostringstream& out, const std::vector<Sample>& runs) {
  std::vector<std::string> kernels;
  std::map<std::string, std::map<std::string, std::set<int>>> routes;
  for (const Sample& run : runs) {
    const size_t end = run.setup.find("; ");
    AddOnce(kernels, run.setup.substr(0, end));
    const std::string rest = end == std::string::npos ? "" : run.setup.substr(end + 2);
    routes[rest][run.what.way.route].insert(run.what.payload_mib);
  }
  out << "\nMeasured with";
  for (const std::string& kernel : kernels) out << (&kernel == &kernels[0] ? " " : ", ") << kernel;
  out << ", and with\n\n";
  for (const auto& [setup, measured] : routes) {
    out << "- " << setup << ':';
    for (const auto& [route, payloads] : measured) {
      out << (route == measured.begin()->first ? " " : "; ") << route;
      for (const int payload : payloads) {
        out << (payload == *payloads.begin() ? " " : ", ") << payload;
      }
      out << " MiB";
    }
    out << '\n';
  }
}

// The one that most ways were measured with, 100 MiB if that is one of them.
int DetailedPayload(const std::set<int>& payloads) {
  return payloads.contains(100) ? 100 : *payloads.rbegin();
}

}  // namespace

std::string ToMarkdown(const std::vector<Sample>& runs, const std::vector<Skipped>& skipped) {
  std::ostringstream out;
  const std::set<int> payloads = PayloadsOf(runs);
  for (const std::string& kernel : KernelsOf(runs)) AddTotals(out, runs, kernel, payloads);
  for (const std::string& kernel : KernelsOf(runs)) {
    AddDetails(out, runs, kernel, DetailedPayload(payloads));
  }
  if (!runs.empty()) AddGoals(out, runs);
  if (!skipped.empty()) out << "\nNot measured:\n\n";
  for (const Skipped& skip : skipped) out << "- " << skip.what << ": " << skip.why << ".\n";
  if (!runs.empty()) AddSetups(out, runs);
  return out.str().empty() ? "" : out.str().substr(1);
}

std::string ToSvg(const std::vector<Sample>& runs, int payload_mib) {
  constexpr double kWidth = 960;
  constexpr double kMargin = 28;
  constexpr double kLabel = 210;
  constexpr double kFigure = 170;
  constexpr double kBar = kWidth - 2 * kMargin - kLabel - kFigure;
  constexpr double kRow = 22;
  uint64_t longest = 1;
  for (const Sample& run : runs) {
    if (run.what.payload_mib == payload_mib) longest = std::max(longest, run.blackout);
  }
  Svg svg(kWidth);
  double y = 42;
  svg.Text(kMargin, y, "From reboot(2) to the next kernel's time zero", {.size = 22, .bold = true});
  y += 24;
  svg.Text(kMargin, y,
           "millions of instructions, initrd of " + std::to_string(payload_mib) +
               " MiB; what any loader has to wait for is grey",
           {.size = 13, .muted = true});
  for (const std::string& kernel : KernelsOf(runs)) {
    uint64_t floor = 0;
    for (const int payload : PayloadsOf(runs)) {
      const auto figures = FiguresOf(runs, {kernel, {"khop", "in-place", "none"}, payload});
      if (figures && floor == 0) floor = figures->middle.blackout;
    }
    y += 34;
    svg.Text(kMargin, y, "Linux " + kernel, {.size = 15, .bold = true});
    for (const Way& way : AllWays()) {
      const auto figures = FiguresOf(runs, {kernel, way, payload_mib});
      if (!figures) continue;
      y += kRow;
      const uint64_t total = figures->middle.blackout;
      const double scale = kBar / static_cast<double>(longest);
      const double grey = scale * static_cast<double>(std::min(floor, total));
      const double rest = scale * static_cast<double>(total) - grey;
      svg.Text(kMargin, y, way.Name(), {.size = 13}, kLabel - 8);
      svg.Rect(kMargin + kLabel, y - 12, grey, 15, "old");
      if (rest >= 0.5) {
        svg.Rect(kMargin + kLabel + grey, y - 12, rest, 15, way.loader == "khop" ? "work" : "move");
      }
      svg.Text(kWidth - kMargin, y, Millions(total), {.size = 13, .anchor = Svg::Anchor::kEnd});
    }
  }
  return svg.Finish(y + 28, "The blackout", "kexec-tools and khop side by side");
}

lab::Result<std::string> PutBetweenMarks(const std::string& document, const std::string& markdown) {
  const size_t begin = document.find(kBegin);
  const size_t end = document.find(kEnd);
  if (begin == std::string::npos || end == std::string::npos || end < begin) {
    return lab::Fail("the document has no lines <!-- blackout --> and <!-- end of blackout -->");
  }
  const size_t from = begin + std::string(kBegin).size();
  return document.substr(0, from) + markdown + document.substr(end);
}

}  // namespace khop::bench
