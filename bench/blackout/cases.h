// SPDX-License-Identifier: MIT
// What there is to measure, what of it cannot be, and in which order.
#pragma once

#include <compare>
#include <string>
#include <utility>
#include <vector>

namespace khop::bench {

// A way from one kernel into itself.
struct Way {
  std::string loader;  // "kexec-tools" or "khop"
  std::string route;   // of khop; what kexec-tools loads the running kernel copies: "kernel"
  std::string verify;  // kexec-tools: "sha256", or "none" with --no-checks

  auto operator<=>(const Way&) const = default;
  // "khop in-place sha256", "kexec-tools --no-checks".
  std::string Name() const;
};

struct Case {
  std::string kernel;  // short name of the lab's
  Way way;
  int payload_mib = 0;  // size of the initrd

  auto operator<=>(const Case&) const = default;
  std::string Name() const;
};

struct Selection {
  std::vector<std::string> kernels = {"6.1", "5.10", "6.12", "7.2"};
  std::vector<int> payloads = {2, 25, 100, 380, 1024};
  std::vector<std::string> loaders = {"kexec-tools", "khop"};
  std::vector<std::string> routes = {"in-place", "reserved", "gather", "kernel", "file"};
  std::vector<std::string> verifies = {"sha256", "crc32c", "none", "early"};
};

struct Skipped {
  std::string what;
  std::string why;
  auto operator<=>(const Skipped&) const = default;
};

// All ways, in the order of the tables.
std::vector<Way> AllWays();

// The cases that are selected and can be measured, the most telling ones first; `skipped` gets the
// ways that cannot.
std::vector<Case> PlanCases(const Selection& selection, std::vector<Skipped>* skipped);

}  // namespace khop::bench
