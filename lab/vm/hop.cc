// SPDX-License-Identifier: MIT
#include "lab/vm/hop.h"

#include <chrono>
#include <cinttypes>
#include <cmath>
#include <cstdio>

namespace khop::lab {
namespace {

using nlohmann::json;

// How far the guest's counter may be off the host's clock: facts are gathered before they are
// heard.
constexpr double kClockTolerance = 10.0;  // seconds

std::string Text(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

std::optional<Failure> Compare(const char* what, const std::string& expected,
                               const std::string& actual) {
  if (expected == actual) {
    return std::nullopt;
  }
  return Failure{std::string("after the hop, ") + what + " is \"" + actual + "\", not \"" +
                 expected + "\""};
}

std::optional<Failure> CheckCounter(const HopExpectation& expected, const Facts& before,
                                    const Facts& after) {
  if (after.counter <= before.counter || after.counter_hz != before.counter_hz) {
    return Failure{"the counter did not run on across the hop: " + std::to_string(before.counter) +
                   " before, " + std::to_string(after.counter) + " after"};
  }
  const double guest_seconds =
      static_cast<double>(after.counter - before.counter) / static_cast<double>(after.counter_hz);
  const double host_seconds = std::chrono::duration<double>(after.heard - before.heard).count();
  if (expected.counter_is_wall_clock && std::abs(guest_seconds - host_seconds) > kClockTolerance) {
    return Failure{"the counter advanced by " + std::to_string(guest_seconds) + " s while " +
                   std::to_string(host_seconds) + " s passed"};
  }
  return std::nullopt;
}

std::optional<Failure> CheckFacts(const HopExpectation& expected, const Facts& before,
                                  const Facts& after) {
  if (auto failure = Compare("uname -r", expected.release, after.uname)) return failure;
  if (auto failure = Compare("/proc/cmdline", expected.command_line, after.command_line)) {
    return failure;
  }
  if (after.initrd_sha256.empty() && after.manifest_sha256.empty()) {
    return Failure{"the next kernel digested neither its initrd nor its files"};
  }
  if (!after.initrd_sha256.empty()) {
    if (auto failure =
            Compare("the initrd's SHA-256", expected.initrd_sha256, after.initrd_sha256)) {
      return failure;
    }
  } else if (auto failure = Compare("the SHA-256 of the initrd's files", expected.manifest_sha256,
                                    after.manifest_sha256)) {
    return failure;
  }
  // Not a byte of RAM may be lost from hop to hop but what the next kernel reserves for itself.
  const uint64_t ram_before = SystemRam(before);
  const uint64_t ram_after = SystemRam(after);
  if (ram_after + (uint64_t{16} << 20) < ram_before || ram_after == 0) {
    return Failure{"the next kernel sees " + std::to_string(ram_after >> 20) +
                   " MiB of System RAM, " + "the first one saw " +
                   std::to_string(ram_before >> 20)};
  }
  return CheckCounter(expected, before, after);
}

}  // namespace

uint64_t SystemRam(const Facts& facts) {
  uint64_t bytes = 0;
  for (const std::string& line : facts.iomem) {
    uint64_t start = 0;
    uint64_t end = 0;
    if (line.ends_with(" : System RAM") && line.front() != ' ' &&
        sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64, &start, &end) == 2 && end > start) {
      bytes += end - start + 1;
    }
  }
  return bytes;
}

Result<json> KhopJson(Guest& guest, const std::string& arguments) {
  // Diagnostics must not fall into the JSON.
  const Result<std::string> text = guest.Must("khop " + arguments +
                                              " --json 2>/tmp/khop.err || "
                                              "{ c=$?; cat /tmp/khop.err; exit $c; }");
  if (!text) {
    return std::unexpected(text.error());
  }
  json value = json::parse(*text, nullptr, false);
  if (!value.is_object()) {
    return Fail("khop " + arguments + " --json printed no JSON object:\n" + *text);
  }
  return value;
}

Result<HopProof> ProveHop(Machine& machine, Guest& guest, const HopExpectation& expected,
                          const std::function<Result<void>(Guest&)>& trigger, Seconds deadline) {
  HopProof proof;
  if (!expected.route.empty()) {
    const Result<json> status = KhopJson(guest, "status");
    if (!status) {
      return std::unexpected(status.error());
    }
    proof.status = *status;
  }
  if (Text(proof.status, "route") != expected.route) {
    return Fail("khop status --json announces the route \"" + Text(proof.status, "route") +
                "\", not \"" + expected.route + "\"");
  }
  const Result<Facts> before = guest.GatherFacts();
  if (!before) {
    return std::unexpected(before.error());
  }
  proof.before = *before;
  const int pid = machine.pid();
  const auto start = std::chrono::steady_clock::now();
  if (const Result<void> pulled = trigger(guest); !pulled) {
    return std::unexpected(pulled.error());
  }
  const Result<Facts> after = guest.WaitUntilUp(deadline);
  if (!after) {
    return std::unexpected(after.error());
  }
  proof.after = *after;
  proof.host_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (!machine.running() || machine.pid() != pid) {
    return Fail("the machine is not the one that the hop began on");
  }
  if (auto failure = CheckFacts(expected, proof.before, proof.after)) {
    return std::unexpected(std::move(*failure));
  }
  if (expected.route.empty() || !expected.reports) {
    return proof;
  }
  const Result<json> report = KhopJson(guest, "report");
  if (!report) {
    return std::unexpected(report.error());
  }
  proof.report = *report;
  if (Text(proof.report, "route") != expected.route) {
    return Fail("khop status announced the route \"" + expected.route +
                "\", and khop report says \"" + Text(proof.report, "route") + "\"");
  }
  return proof;
}

}  // namespace khop::lab
