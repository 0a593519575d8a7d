// SPDX-License-Identifier: MIT
#include "tool/load/state.h"

#include <cerrno>

#include "core/digest/crc32c.h"
#include "tool/system/kexec_state.h"

namespace khop::load {

using system::File;
using system::OpenMode;
using system::System;

namespace {

constexpr const char* kDirectory = "/run/khop";
constexpr const char* kLockFile = "/run/khop/lock";
constexpr const char* kBootId = "/proc/sys/kernel/random/boot_id";
constexpr uint64_t kMaxState = 64 << 20;
constexpr uint64_t kMaxControl = uint64_t{1} << 30;

constexpr const char* kStartAfresh = "run khop unload to start afresh";

std::string ControlFile(int file) { return "/run/khop/control." + std::to_string(file); }

Result<std::string> BootId(System& system) {
  auto id = ReadFile(system, kBootId, 256);
  if (!id) return FailErrno(ExitCode::kSystemCall, kBootId, id.error().value);
  return *std::move(id);
}

}  // namespace

bool HeldByKernel(const Loaded& loaded) {
  return loaded.plan.route == "kernel" || loaded.plan.route == "file";
}

uint32_t ControlCrc32c(std::string_view bytes) {
  return digest::Crc32c(std::as_bytes(std::span(bytes)), digest::DigestFeatures::Scalar());
}

Result<State> LookAtState(System& system) {
  const auto text = ReadFile(system, kStateFile, kMaxState);
  if (!text) {
    if (text.error().value == ENOENT) return State{};
    if (text.error().value == EFBIG) {
      return Fail(ExitCode::kBadState, kStateFile, "it is damaged", kStartAfresh);
    }
    // Not kBadState, which khop unload takes for a state that is lost.
    return FailErrno(ExitCode::kSystemCall, kStateFile, text.error().value);
  }
  std::string boot_id;
  auto state = DecodeState(*text, &boot_id);
  // Memory does not survive a boot; only a /run that is no tmpfs shows this.
  if (!state) return state;
  const auto now = BootId(system);
  if (!now) return Forward(now);
  return boot_id == *now ? std::move(state) : State{};
}

Result<StateStore> StateStore::Open(System& system) {
  if (const auto own = system::CheckIpcNamespace(system); !own) return Forward(own);
  if (const auto made = system.MakeDirectory(kDirectory); !made && made.error().value != EEXIST) {
    return FailErrno(ExitCode::kSystemCall, kDirectory, made.error().value,
                     "khop keeps its state there");
  }
  const auto info = system.Lstat(kDirectory);
  if (!info) return FailErrno(ExitCode::kSystemCall, kDirectory, info.error().value);
  if (!info->is_directory || info->uid != 0 || (info->mode & 077) != 0) {
    return Fail(ExitCode::kUnsafeSystem, kDirectory, "it is not a directory of root's alone",
                "remove it");
  }
  auto lock = File::Open(system, kLockFile, OpenMode::kCreateOrKeep);
  if (!lock) return FailErrno(ExitCode::kSystemCall, kLockFile, lock.error().value);
  if (const auto locked = system.Lock(lock->fd()); !locked) {
    if (locked.error().value == EWOULDBLOCK) {
      return Fail(ExitCode::kBusy, "khop", "another khop is at work", "wait for it to finish");
    }
    return FailErrno(ExitCode::kSystemCall, kLockFile, locked.error().value);
  }
  // Of a khop that died while it wrote.
  for (const std::string& path : {std::string(kStateFile), ControlFile(0), ControlFile(1)}) {
    (void)system.Unlink(path + system::kFresh);
  }
  return StateStore(system, std::move(*lock));
}

Result<void> StateStore::Write(const State& state) {
  if (state.empty()) {
    const auto gone = system_->Unlink(kStateFile);
    if (!gone && gone.error().value != ENOENT) {
      return FailErrno(ExitCode::kSystemCall, kStateFile, gone.error().value);
    }
    return {};
  }
  const auto boot_id = BootId(*system_);
  if (!boot_id) return Forward(boot_id);
  const std::string text = EncodeState(state, *boot_id);
  const auto written = ReplaceFile(*system_, kStateFile, std::as_bytes(std::span(text)));
  if (!written) {
    return FailErrno(ExitCode::kSystemCall, kStateFile, written.error().value,
                     "khop must write its state before it changes anything");
  }
  return {};
}

Result<void> StateStore::WriteControl(int file, std::span<const std::byte> bytes) {
  const std::string path = ControlFile(file);
  const auto written = ReplaceFile(*system_, path, bytes);
  if (!written) return FailErrno(ExitCode::kSystemCall, path, written.error().value);
  return {};
}

Result<std::string> StateStore::ReadControl(int file, uint32_t crc32c) {
  const std::string path = ControlFile(file);
  auto bytes = ReadFile(*system_, path, kMaxControl);
  if (!bytes && bytes.error().value != ENOENT && bytes.error().value != EFBIG) {
    return FailErrno(ExitCode::kSystemCall, path, bytes.error().value);
  }
  if (!bytes || ControlCrc32c(*bytes) != crc32c) {
    return Fail(ExitCode::kBadState, path, bytes ? "it is damaged" : "it is gone", kStartAfresh);
  }
  return *std::move(bytes);
}

void StateStore::RemoveControl(int file) { (void)system_->Unlink(ControlFile(file)); }

}  // namespace khop::load
