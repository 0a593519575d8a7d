// SPDX-License-Identifier: MIT
// A line on a terminal that says how far something is. It shows only what takes longer than a
// second, and goes away when it is done.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <ostream>
#include <string>
#include <string_view>

#include "tool/report/style.h"

namespace khop::cli {

class ProgressBar {
 public:
  using Clock = std::function<std::chrono::steady_clock::time_point()>;

  ProgressBar(std::ostream& out, const report::Style& style,
              Clock clock = std::chrono::steady_clock::now);

  void Show(std::string_view what, uint64_t done, uint64_t total);

 private:
  std::ostream& out_;
  report::Style style_;
  Clock clock_;
  std::string what_;  // that of the last call
  std::chrono::steady_clock::time_point start_;
  std::chrono::steady_clock::time_point drawn_;
  bool shown_ = false;
};

}  // namespace khop::cli
