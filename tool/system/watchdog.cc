// SPDX-License-Identifier: MIT
#include "tool/system/watchdog.h"

#include <algorithm>
#include <cerrno>
#include <string_view>

namespace khop::system {
namespace {

constexpr const char* kClass = "/sys/class/watchdog";
constexpr const char* kStopOnReboot = "/sys/module/watchdog/parameters/stop_on_reboot";
constexpr const char* kWithout = "or exec without --watchdog";
constexpr uint32_t kMagicClose = 0x100;  // WDIOF_MAGICCLOSE

std::vector<std::string> Names(System& system) {
  auto names = system.ListDirectory(kClass).value_or(std::vector<std::string>());
  std::ranges::sort(names);
  return names;
}

std::string FirstLine(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace

Result<Watchdog> FindWatchdog(System& system) {
  bool soft = false;
  for (const std::string& name : Names(system)) {
    const std::string path = std::string(kClass) + "/" + name;
    const auto identity = ReadFile(system, path + "/identity", 256);
    if (!identity) continue;
    if (identity->starts_with("Software Watchdog")) {
      soft = true;
      continue;
    }
    // -1, the default, is the driver's own choice, and most choose to stop.
    const auto stop = ReadFile(system, kStopOnReboot, 64);
    if (!stop || FirstLine(*stop) != "0") {
      return Fail(
          ExitCode::kNoWatchdog, FirstLine(*identity),
          "the kernel may stop it on reboot (watchdog.stop_on_reboot is not 0)",
          std::string("boot with watchdog.stop_on_reboot=0 on the command line, ") + kWithout);
    }
    const auto state = ReadFile(system, path + "/state", 64);
    return Watchdog{.device = "/dev/" + name,
                    .identity = FirstLine(*identity),
                    .active = state && state->starts_with("active")};
  }
  return Fail(ExitCode::kNoWatchdog, "--watchdog",
              soft ? "the only watchdog is softdog, which ends with this kernel"
                   : "there is no hardware watchdog",
              std::string("load its driver, ") + kWithout);
}

Result<ArmedWatchdog> ArmedWatchdog::Arm(System& system, uint32_t seconds) {
  const auto found = FindWatchdog(system);
  if (!found) return Forward(found);
  auto file = File::Open(system, found->device, OpenMode::kWrite);
  if (!file) {
    const int error = file.error().value;
    return FailErrno(ExitCode::kNoWatchdog, found->device, error,
                     error == EBUSY ? std::string("another program has it: stop that, ") + kWithout
                                    : std::string());
  }
  ArmedWatchdog armed(system, std::move(*file));
  // Without it the end of this process would stop the watchdog.
  const auto options = system.WatchdogOptions(armed.file_.fd());
  if (!options || (*options & kMagicClose) == 0) {
    return Fail(ExitCode::kNoWatchdog, found->identity,
                "its driver stops it when the program that started it ends", kWithout);
  }
  if (const auto set = system.SetWatchdogTimeout(armed.file_.fd(), seconds); !set) {
    return FailErrno(ExitCode::kNoWatchdog, found->identity, set.error().value,
                     "it does not take " + std::to_string(seconds) + " seconds: give another time");
  }
  return armed;
}

ArmedWatchdog::~ArmedWatchdog() {
  if (system_ == nullptr) return;
  // The letter that says that the close is meant.
  static constexpr std::string_view kStandDown = "V";
  (void)system_->Write(file_.fd(), std::as_bytes(std::span(kStandDown)));
}

}  // namespace khop::system
