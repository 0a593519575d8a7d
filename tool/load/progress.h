// SPDX-License-Identifier: MIT
// How far a load is, for whoever watches it.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <type_traits>
#include <utility>

namespace khop::load {

class Progress {
 public:
  // Told of each step as it begins ("reading the kernel"); for -v.
  using Steps = std::function<void(std::string_view)>;
  // Told of how many of its bytes a step has done, again and again, the last time when all are.
  using Bytes = std::function<void(std::string_view what, uint64_t done, uint64_t total)>;

  Progress() = default;
  template <typename Callable>
    requires std::is_invocable_v<Callable, std::string_view>
  Progress(Callable steps) : steps_(std::move(steps)) {}  // NOLINT(google-explicit-constructor)

  void OnBytes(Bytes bytes) { bytes_ = std::move(bytes); }

  void operator()(std::string_view step) const {
    if (steps_) steps_(step);
  }
  void operator()(std::string_view what, uint64_t done, uint64_t total) const {
    if (bytes_) bytes_(what, done, total);
  }

 private:
  Steps steps_;
  Bytes bytes_;
};

}  // namespace khop::load
