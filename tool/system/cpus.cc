// SPDX-License-Identifier: MIT
#include "tool/system/cpus.h"

#include <cerrno>
#include <charconv>
#include <optional>
#include <string>

namespace khop::system {
namespace {

std::string OnlineFile(uint32_t cpu) {
  return "/sys/devices/system/cpu/cpu" + std::to_string(cpu) + "/online";
}

std::optional<uint32_t> TakeNumber(std::string_view& text) {
  uint32_t number = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(rest - text.data()));
  return number;
}

bool TakeCharacter(std::string_view& text, char wanted) {
  if (!text.starts_with(wanted)) return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

// "0-2,5\n".
std::set<uint32_t> OnlineCpus(System& system) {
  constexpr uint32_t kMaxCpus = 4096;
  std::set<uint32_t> cpus;
  const auto text = ReadFile(system, "/sys/devices/system/cpu/online", 65536);
  std::string_view rest = text ? std::string_view(*text) : std::string_view();
  do {
    const auto first = TakeNumber(rest);
    auto last = first;
    if (first && TakeCharacter(rest, '-')) last = TakeNumber(rest);
    if (!first || !last || *last >= kMaxCpus) break;
    for (uint32_t cpu = *first; cpu <= *last; ++cpu) cpus.insert(cpu);
  } while (TakeCharacter(rest, ','));
  if (cpus.empty()) cpus.insert(0);  // this runs on one at least
  return cpus;
}

Result<ParkedCpus> ParkedCpus::Park(System& system,
                                    const std::function<void(std::string_view)>& progress) {
  const std::set<uint32_t> online = OnlineCpus(system);
  auto stays = static_cast<uint32_t>(ReadNumber(system, "/sys/kernel/reboot/cpu").value_or(0));
  if (!online.contains(stays)) stays = *online.begin();
  ParkedCpus parked(system);
  for (auto cpu = online.rbegin(); cpu != online.rend(); ++cpu) {
    if (*cpu == stays) continue;
    progress("taking CPU " + std::to_string(*cpu) + " offline");
    const auto written = WriteFile(system, OnlineFile(*cpu), "0\n");
    if (!written) {
      const int error = written.error().value;
      return FailErrno(ExitCode::kSystemCall, "CPU " + std::to_string(*cpu) + " to go offline",
                       error,
                       error == ENOENT ? "this kernel or firmware does not let it: exec without "
                                         "--park-cpus"
                                       : "exec without --park-cpus");
    }
    parked.parked_.push_back(*cpu);
  }
  return parked;
}

ParkedCpus::~ParkedCpus() {
  for (auto cpu = parked_.rbegin(); cpu != parked_.rend(); ++cpu) {
    (void)WriteFile(*system_, OnlineFile(*cpu), "1\n");
  }
}

}  // namespace khop::system
