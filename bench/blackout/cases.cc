// SPDX-License-Identifier: MIT
#include "bench/blackout/cases.h"

#include <algorithm>

namespace khop::bench {
namespace {

template <typename T>
bool Has(const std::vector<T>& values, const T& value) {
  return std::ranges::find(values, value) != values.end();
}

// Empty: it can be measured.
std::string WhyNot(const Way& way) {
  if (way.loader != "khop") return "";
  if (way.route == "file") {
    return "Debian's arm64 kernels are built without kexec_file_load (CONFIG_KEXEC_FILE)";
  }
  if (way.verify == "early" && way.route == "kernel") {
    return "the running kernel holds the payload, where user space cannot read it: the relocator "
           "verifies as with sha256";
  }
  return "";
}

// What the goals need comes first: the floor, then 100 MiB, then the largest and 25 MiB.
int Rank(const Case& c, int smallest, int largest) {
  const Way& way = c.way;
  const bool unread = way.verify == "none" || way.verify == "early";
  const bool nothing_copied = way.route == "in-place" || way.route == "reserved";
  if (way == Way{"khop", "in-place", "none"} && c.payload_mib == smallest) return 0;
  if (c.payload_mib == 100 && (way.route == "in-place" || way.loader == "kexec-tools")) return 1;
  if ((c.payload_mib == largest || c.payload_mib == 25) && unread && nothing_copied) return 2;
  if (c.payload_mib == 100) return 3;
  // Those take minutes each.
  if (c.payload_mib > 100 && way.loader == "kexec-tools" && way.verify != "none") return 6;
  return c.payload_mib < 100 ? 4 : 5;
}

}  // namespace

std::string Way::Name() const {
  if (loader == "kexec-tools") return verify == "none" ? "kexec-tools --no-checks" : "kexec-tools";
  return loader + " " + route + " " + verify;
}

std::string Case::Name() const {
  return kernel + ", " + way.Name() + ", " + std::to_string(payload_mib) + " MiB";
}

std::vector<Way> AllWays() {
  std::vector<Way> ways = {{"kexec-tools", "kernel", "sha256"}, {"kexec-tools", "kernel", "none"}};
  const Selection all;
  for (const std::string& route : all.routes) {
    for (const std::string& verify : all.verifies) ways.push_back({"khop", route, verify});
  }
  return ways;
}

std::vector<Case> PlanCases(const Selection& selection, std::vector<Skipped>* skipped) {
  std::vector<Case> cases;
  if (selection.payloads.empty()) return cases;
  const auto [smallest, largest] = std::ranges::minmax(selection.payloads);
  for (const Way& way : AllWays()) {
    const bool wanted = Has(selection.loaders, way.loader) && Has(selection.verifies, way.verify) &&
                        (way.loader == "kexec-tools" || Has(selection.routes, way.route));
    if (!wanted) continue;
    if (const std::string why = WhyNot(way); !why.empty()) {
      skipped->push_back({way.Name(), why});
      continue;
    }
    for (const std::string& kernel : selection.kernels) {
      for (const int payload : selection.payloads) cases.push_back({kernel, way, payload});
    }
  }
  const auto place = [&](const Case& c) {
    const auto kernel = std::ranges::find(selection.kernels, c.kernel);
    return std::pair(Rank(c, smallest, largest), kernel - selection.kernels.begin());
  };
  std::ranges::stable_sort(cases, {}, place);
  return cases;
}

}  // namespace khop::bench
