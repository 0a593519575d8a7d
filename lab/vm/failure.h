// SPDX-License-Identifier: MIT
// What the lab reports when something goes wrong: a sentence for a person.
#pragma once

#include <expected>
#include <string>

namespace khop::lab {

struct Failure {
  std::string what;
};

template <typename T>
using Result = std::expected<T, Failure>;

inline std::unexpected<Failure> Fail(std::string what) {
  return std::unexpected(Failure{std::move(what)});
}

}  // namespace khop::lab
