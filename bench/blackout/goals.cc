// SPDX-License-Identifier: MIT
#include "bench/blackout/goals.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace khop::bench {
namespace {

constexpr int kUsual = 100;  // MiB
constexpr int kSmall = 25;
constexpr int kLarge = 1024;
constexpr double kMib = 1 << 20;

const Way kKexec = {"kexec-tools", "kernel", "sha256"};
const Way kKexecUnverified = {"kexec-tools", "kernel", "none"};

std::string Format(const char* format, double value) {
  char text[64];
  // The formats are those below.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  snprintf(text, sizeof text, format, value);
#pragma GCC diagnostic pop
  return text;
}

class Checker {
 public:
  Checker(const std::vector<Sample>& runs, std::string kernel, std::vector<Goal>& goals)
      : runs_(runs), kernel_(std::move(kernel)), goals_(goals) {}

  void Check() {
    for (const Way& way : AllWays()) {
      for (const Sample& run : runs_) {
        if (run.what.kernel != kernel_ || run.what.way != way) continue;
        smallest_ =
            smallest_ == 0 ? run.what.payload_mib : std::min(smallest_, run.what.payload_mib);
      }
    }
    for (const char* route : {"in-place", "reserved", "gather", "kernel"}) {
      Above({"khop", route, "sha256"}, kKexec, 15);
      Above({"khop", route, "crc32c"}, kKexec, 100);
      Above({"khop", route, "crc32c"}, kKexecUnverified, 1);
    }
    for (const char* route : {"in-place", "reserved"}) {
      for (const char* verify : {"none", "early"}) Above({"khop", route, verify}, kKexec, 5000);
    }
    for (const char* route : {"in-place", "reserved"}) {
      for (const char* verify : {"none", "early"}) DoesNotGrow({"khop", route, verify});
    }
    NothingCopied();
    LoadIsNoSlower();
    PeakIsThePayload();
    SpreadIsSmall();
  }

 private:
  std::optional<Figures> Get(const Way& way, int payload) const {
    return FiguresOf(runs_, {kernel_, way, payload});
  }

  void Unknown(const std::string& what, const std::string& missing) {
    goals_.push_back({kernel_, what, "not measured", missing, false, false});
  }
  void Known(const std::string& what, bool met, const std::string& measured,
             const std::string& detail = "") {
    goals_.push_back({kernel_, what, measured, detail, true, met});
  }

  static double BeforeTheJump(const Figures& figures) {
    return static_cast<double>(figures.middle.shutdown + figures.middle.relocator);
  }

  // With 100 MiB, against the same of kexec-tools.
  void Above(const Way& way, const Way& theirs, double least) {
    const std::string what = way.route + " " + way.verify + ", 100 MiB, above the floor: at most " +
                             (least > 1 ? "1/" + Format("%.0f", least) + " of " : "") +
                             theirs.Name();
    const auto floor = Get({"khop", "in-place", "none"}, smallest_);
    const auto our = Get(way, kUsual);
    const auto their = Get(theirs, kUsual);
    if (!floor || !our || !their) {
      Unknown(what, !floor ? "the floor" : !our ? way.verify : theirs.Name());
      return;
    }
    const double base = static_cast<double>(floor->middle.blackout);
    const double ours = static_cast<double>(our->middle.blackout) - base;
    const double others = static_cast<double>(their->middle.blackout) - base;
    // The rest is the next kernel's, which has more pages to note as taken.
    const double before = BeforeTheJump(*our) - BeforeTheJump(*floor);
    const std::string share = ours > 0 ? Format("1/%.1f", others / ours) : "below it";
    const std::string jump = Format("; before the jump %+.4f M", before / 1e6);
    const std::string of = Format("%.3f M of ", ours / 1e6) + Format("%.1f M", others / 1e6);
    // Of so small a share it has to be seen whose it is.
    const bool tiny = least > 1000;
    Known(what, ours * least <= others, share + (tiny ? jump : ""), of + (tiny ? "" : jump));
  }

  void DoesNotGrow(const Way& way) {
    const std::string what = way.Name() + ": 1 GiB within 2 % of 25 MiB";
    const auto small = Get(way, kSmall);
    const auto large = Get(way, kLarge);
    if (!small || !large) {
      Unknown(what, small ? "1 GiB" : "25 MiB");
      return;
    }
    const double growth =
        static_cast<double>(large->middle.blackout) / static_cast<double>(small->middle.blackout) -
        1;
    Known(what, std::abs(growth) <= 0.02, Format("%+.3f %%", growth * 100));
  }

  void NothingCopied() {
    // What the running kernel copies is khop's control area.
    constexpr uint64_t kControl = 512 << 10;
    uint64_t khop = 0;
    uint64_t kernel = 0;
    int seen = 0;
    for (const Sample& run : runs_) {
      if (run.what.kernel != kernel_ || run.what.way.loader != "khop") continue;
      if (run.what.way.route != "in-place" && run.what.way.route != "reserved") continue;
      khop = std::max(khop, run.by_khop);
      kernel = std::max(kernel, run.by_kernel);
      ++seen;
    }
    const std::string what = "in-place and reserved: no byte of the payload is copied";
    if (seen == 0) {
      Unknown(what, "both");
      return;
    }
    Known(what, khop == 0 && kernel <= kControl, std::to_string(khop) + " bytes",
          "control area at most " + std::to_string(kernel >> 10) + " KiB");
  }

  void LoadIsNoSlower() {
    for (const Way& way : AllWays()) {
      if (way.loader != "khop") continue;
      const auto our = Get(way, kUsual);
      const auto their = Get(way.verify == "none" ? kKexecUnverified : kKexec, kUsual);
      if (!our) continue;
      const std::string what = way.Name() + ", 100 MiB: loads no slower than kexec-tools";
      if (!their) {
        Unknown(what, "kexec-tools");
        continue;
      }
      const double ratio =
          static_cast<double>(our->middle.load) / static_cast<double>(their->middle.load);
      Known(what, ratio <= 1, Format("%.2f", ratio), "of its instructions");
    }
  }

  void PeakIsThePayload() {
    double most = 0;
    std::string where;
    for (const Sample& run : runs_) {
      if (run.what.kernel != kernel_ || run.what.way.loader != "khop") continue;
      // The running kernel's own copy comes on top there, and the plan says so.
      if (run.what.way.route == "kernel") continue;
      const double payload = static_cast<double>(run.payload);
      const double any_image = static_cast<double>(run.any_image);
      const double beyond = static_cast<double>(run.peak) - any_image - payload * 1.02 - 8 * kMib;
      if (where.empty() || beyond > most) {
        most = beyond;
        where = Format("%.1f MiB for ", static_cast<double>(run.peak) / kMib) +
                Format("%.1f MiB, ", payload / kMib) +
                Format("%.1f MiB for any image", any_image / kMib) + " (" + run.what.way.Name() +
                ", " + std::to_string(run.what.payload_mib) + " MiB)";
      }
    }
    const std::string what =
        "peak memory of a load, but for the route kernel: at most payload + 2 % + 8 MiB, "
        "beside what the running kernel takes for any image";
    if (where.empty()) {
      Unknown(what, "khop");
    } else {
      Known(what, most <= 0,
            Format(most <= 0 ? "%.1f MiB below" : "%.1f MiB beyond", std::abs(most) / kMib), where);
    }
  }

  void SpreadIsSmall() {
    double most = 0;
    std::string where;
    for (const Sample& run : runs_) {
      if (run.what.kernel != kernel_) continue;
      const auto figures = FiguresOf(runs_, run.what);
      if (figures->runs < 2 || (!where.empty() && figures->spread <= most)) continue;
      most = figures->spread;
      where = run.what.way.Name() + ", " + std::to_string(run.what.payload_mib) + " MiB";
    }
    const std::string what = "runs of the same spread by at most 0.1 %";
    if (where.empty()) {
      Unknown(what, "a second run");
    } else {
      Known(what, most <= 0.001, Format("%.3f %%, ", most * 100) + where);
    }
  }

  const std::vector<Sample>& runs_;
  std::string kernel_;
  std::vector<Goal>& goals_;
  int smallest_ = 0;
};

}  // namespace

std::vector<Goal> CheckGoals(const std::vector<Sample>& runs) {
  std::vector<Goal> goals;
  std::vector<std::string> kernels;
  for (const Sample& run : runs) {
    if (std::ranges::find(kernels, run.what.kernel) != kernels.end()) continue;
    kernels.push_back(run.what.kernel);
    Checker(runs, run.what.kernel, goals).Check();
  }
  return goals;
}

}  // namespace khop::bench
