// SPDX-License-Identifier: MIT
#include "tool/report/doctor.h"

#include <algorithm>

#include "tool/base/error.h"
#include "tool/report/json.h"
#include "tool/report/text.h"

namespace khop::report {
namespace {

std::string_view Name(Level level) {
  switch (level) {
    case Level::kGood:
      return "good";
    case Level::kNote:
      return "note";
    case Level::kWarning:
      return "warning";
    case Level::kBlocker:
      return "blocker";
    case Level::kUnknown:
      break;
  }
  return "unknown";
}

// What stands at the left edge: words, so that it can be read without colour.
std::string_view Mark(Level level) {
  switch (level) {
    case Level::kGood:
      return "ok";
    case Level::kNote:
      return "note";
    case Level::kWarning:
      return "warn";
    case Level::kBlocker:
      return "STOP";
    case Level::kUnknown:
      break;
  }
  return "?";
}

Ink InkOf(Level level) {
  switch (level) {
    case Level::kGood:
      return Ink::kGreen;
    case Level::kNote:
      return Ink::kBlue;
    case Level::kWarning:
      return Ink::kMagenta;
    case Level::kBlocker:
      return Ink::kRed;
    case Level::kUnknown:
      break;
  }
  return Ink::kCyan;
}

std::string_view Name(Verdict verdict) {
  switch (verdict) {
    case Verdict::kYes:
      return "yes";
    case Verdict::kNo:
      return "no";
    case Verdict::kUnknown:
      break;
  }
  return "unknown";
}

std::string Possible(const Doctor& doctor) {
  std::string text;
  for (const RouteVerdict& route : doctor.routes) {
    if (route.verdict == Verdict::kYes) text += (text.empty() ? "" : ", ") + route.route;
  }
  return text;
}

// `text` broken between words, each line with `indent` before it but the first, which has `first`.
void AddWrapped(TextPage& page, const std::string& first, size_t first_width, size_t indent,
                std::string_view text) {
  const std::string clean = Printable(text);
  std::string_view rest = clean;
  std::string line = first;
  size_t width = first_width;
  bool empty = true;
  while (!rest.empty()) {
    const std::string_view word = rest.substr(0, rest.find(' '));
    rest.remove_prefix(std::min(word.size() + 1, rest.size()));
    if (word.empty()) continue;
    if (!empty && width + 1 + Width(word) > kColumns) {
      page.Line(line);
      line.assign(indent, ' ');
      width = indent;
      empty = true;
    }
    if (!empty) line += ' ';
    line += word;
    width += Width(word) + (empty ? 0 : 1);
    empty = false;
  }
  page.Line(line);
}

}  // namespace

Verdict CanHop(const Doctor& doctor) {
  const auto has = [&](Level level) {
    return std::ranges::any_of(doctor.findings, [&](const Finding& f) { return f.level == level; });
  };
  const auto route = [&](Verdict verdict) {
    return std::ranges::any_of(doctor.routes,
                               [&](const RouteVerdict& r) { return r.verdict == verdict; });
  };
  // What blocks may leave a route: lockdown takes signed files.
  if (has(Level::kBlocker)) return route(Verdict::kYes) ? Verdict::kYes : Verdict::kNo;
  if (has(Level::kUnknown)) return Verdict::kUnknown;
  if (route(Verdict::kYes)) return Verdict::kYes;
  return route(Verdict::kUnknown) ? Verdict::kUnknown : Verdict::kNo;
}

std::string RenderText(const Doctor& doctor, const Style& style) {
  TextPage page(style);
  page.Field("Machine", doctor.machine);
  page.Field("As of", doctor.as_of);
  switch (CanHop(doctor)) {
    case Verdict::kYes:
      page.Field("Can hop", "yes, by " + Possible(doctor));
      break;
    case Verdict::kNo:
      page.Field("Can hop", "no: see STOP below");
      break;
    case Verdict::kUnknown:
      page.Field("Can hop", "not known: see below");
      break;
  }
  page.Gap();
  page.Heading("Routes, in the order in which they are tried");
  for (const RouteVerdict& route : doctor.routes) {
    const Ink ink = route.verdict == Verdict::kYes  ? Ink::kGreen
                    : route.verdict == Verdict::kNo ? Ink::kDim
                                                    : Ink::kCyan;
    const std::string_view word = route.verdict == Verdict::kUnknown ? "?" : Name(route.verdict);
    AddWrapped(page, "  " + PadRight(route.route, 11) + Paint(style, ink, PadRight(word, 5)), 18,
               18, route.reason);
  }
  page.Gap();
  // What stops a hop first, what is well last.
  for (const Level level :
       {Level::kBlocker, Level::kUnknown, Level::kWarning, Level::kNote, Level::kGood}) {
    for (const Finding& finding : doctor.findings) {
      if (finding.level != level) continue;
      AddWrapped(page, Paint(style, InkOf(level), PadRight(Mark(level), 6)), 6, 6, finding.fact);
      AddWrapped(page, "      ", 6, 6, finding.meaning);
      if (!finding.remedy.empty()) {
        AddWrapped(page, "      " + Paint(style, Ink::kBold, "->") + " ", 9, 9, finding.remedy);
      }
    }
  }
  return page.text();
}

std::string ToJson(const Doctor& doctor) {
  Json routes = Json::array();
  for (const RouteVerdict& route : doctor.routes) {
    routes.push_back(
        {{"route", route.route}, {"verdict", Name(route.verdict)}, {"reason", route.reason}});
  }
  Json findings = Json::array();
  for (const Finding& finding : doctor.findings) {
    findings.push_back({{"name", finding.name},
                        {"level", Name(finding.level)},
                        {"fact", finding.fact},
                        {"meaning", finding.meaning},
                        {"remedy", finding.remedy}});
  }
  return Dump({{"schema", kSchema},
               {"machine", doctor.machine},
               {"as_of", doctor.as_of},
               {"can_hop", Name(CanHop(doctor))},
               {"routes", routes},
               {"findings", findings},
               {"speeds", ToJson(doctor.speeds)}});
}

}  // namespace khop::report
