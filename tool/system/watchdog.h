// SPDX-License-Identifier: MIT
// A hardware watchdog that runs on through a hop: should the next kernel hang, the machine resets.
#pragma once

#include <cstdint>
#include <string>

#include "tool/base/error.h"
#include "tool/system/system.h"

namespace khop::system {

struct Watchdog {
  std::string device;    // "/dev/watchdog0"
  std::string identity;  // "i6300ESB timer"
  bool active = false;   // it runs now, and somebody serves it
};

// The first watchdog that is hardware, and that the kernel leaves alone at a reboot. Errors:
// kNoWatchdog: there is none, it is the kernel's own (softdog), or the kernel may stop it.
Result<Watchdog> FindWatchdog(System& system);

// A running watchdog, stood down again unless the machine is left.
class ArmedWatchdog {
 public:
  // Errors: kNoWatchdog (also: another program has it, or it does not take this time).
  static Result<ArmedWatchdog> Arm(System& system, uint32_t seconds);

  ArmedWatchdog(ArmedWatchdog&& other) noexcept : file_(std::move(other.file_)) {
    system_ = other.system_;
    other.system_ = nullptr;
  }
  ArmedWatchdog& operator=(ArmedWatchdog&&) = delete;
  ~ArmedWatchdog();

  // It runs on when this process has ended.
  void Leave() { system_ = nullptr; }

 private:
  ArmedWatchdog(System& system, File file) : system_(&system), file_(std::move(file)) {}

  System* system_;
  File file_;
};

}  // namespace khop::system
