// SPDX-License-Identifier: MIT
#include "tool/load/state_look.h"

#include <cerrno>

namespace khop::load {

using system::System;

namespace {

constexpr const char* kBootId = "/proc/sys/kernel/random/boot_id";
constexpr uint64_t kMaxState = 64 << 20;

}  // namespace

Result<State> LookAtState(System& system) {
  const auto text = ReadFile(system, kStateFile, kMaxState);
  if (!text) {
    if (text.error().value == ENOENT) return State{};
    if (text.error().value == EFBIG) {
      return Fail(ExitCode::kBadState, kStateFile, "it is damaged",
                  "run khop unload to start afresh");
    }
    // Not kBadState, which khop unload takes for a state that is lost.
    return FailErrno(ExitCode::kSystemCall, kStateFile, text.error().value);
  }
  std::string boot_id;
  auto state = DecodeState(*text, &boot_id);
  // Memory does not survive a boot; only a /run that is no tmpfs shows this.
  if (!state) return state;
  const auto now = ReadFile(system, kBootId, 256);
  if (!now) return FailErrno(ExitCode::kSystemCall, kBootId, now.error().value);
  return boot_id == *now ? std::move(state) : State{};
}

}  // namespace khop::load
