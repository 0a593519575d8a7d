// SPDX-License-Identifier: MIT
#include "tool/cli/progress_bar.h"

#include <algorithm>

#include "tool/base/error.h"
#include "tool/report/text.h"

namespace khop::cli {

ProgressBar::ProgressBar(std::ostream& out, const report::Style& style, Clock clock)
    : out_(out), style_(style), clock_(std::move(clock)) {}

void ProgressBar::Show(std::string_view what, uint64_t done, uint64_t total) {
  constexpr auto kPatience = std::chrono::seconds(1);
  constexpr auto kPause = std::chrono::milliseconds(100);
  constexpr size_t kBar = 24;
  constexpr size_t kWhat = 30;
  const auto now = clock_();
  if (what != what_) {
    what_ = what;
    start_ = now;
    drawn_ = {};
  }
  const bool ended = done >= total;
  if (ended && shown_) {
    out_ << "\r\033[K" << std::flush;  // the line is empty again
    shown_ = false;
  }
  if (ended) what_.clear();
  if (ended || now - start_ < kPatience || (shown_ && now - drawn_ < kPause)) return;
  drawn_ = now;
  shown_ = true;
  // The end of a path tells most.
  std::string name = Printable(what);
  if (name.size() > kWhat) name = "..." + name.substr(name.size() - kWhat + 3);
  const double share = static_cast<double>(done) / static_cast<double>(total);
  out_ << "\r\033[K" << report::PadRight(name, kWhat) << " [" << report::Bar(style_, share, kBar)
       << "] " << report::PadLeft(std::to_string(static_cast<int>(share * 100)), 3) << " % of "
       << HumanBytes(total) << std::flush;
}

}  // namespace khop::cli
