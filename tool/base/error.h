// SPDX-License-Identifier: MIT
// How tool/ reports that something did not work: an exit code and one line for the user.
//
// The type is called Failure because core/ already has khop::Error, which cannot hold text.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace khop {

// The exit codes of `khop`. The numbers are part of its interface: they are never reused. Names and
// meanings stand in DescribeExitCode() alone; `khop help exit-codes` and the manual come from
// there.
enum class ExitCode : int {
  kOk = 0,
  kFailure = 1,
  kUsage = 2,
  kNothingLoaded = 3,
  kBusy = 4,
  kArenaGone = 5,
  kForeignImage = 6,
  kBadState = 7,

  kNotRoot = 10,
  kNotArm64 = 11,
  kKexecNotBuilt = 12,
  kKexecDisabled = 13,
  kLockdown = 14,
  kLoadLimit = 15,
  kUnsupportedMachine = 16,
  kUnsafeSystem = 17,
  kProtectedKvm = 18,
  kCpusStuck = 19,

  kFileMissing = 20,
  kFileUnreadable = 21,
  kFileEmpty = 22,
  kNotAKernel = 23,
  kTruncated = 24,
  kBigEndian = 25,
  kPageSize = 26,
  kCommandLineTooLong = 27,
  kBadDeviceTree = 28,
  kFileChanged = 29,

  kNoMemory = 30,
  kNoContiguousMemory = 31,
  kMemoryLimit = 32,
  kNoRoute = 33,

  kSystemCall = 40,
  kNoReservation = 50,
  kReservationTooSmall = 51,
  kCrashSlotTaken = 52,
  kCrashNoRoom = 53,
  kBadRegion = 54,

  kKexecFileNotBuilt = 60,
  kSignature = 61,
  kImaPolicy = 62,
  kRouteOption = 63,
  kHalfOfMemory = 64,
  kInternal = 70,

  kDamagedImage = 80,
  kUnsupportedImage = 81,
  kTooLarge = 82,
  kOtherArchitecture = 83,
  kNoEntry = 84,
  kBadEntry = 85,
  kNoSandbox = 86,
  kUnpackerDied = 87,
  kCannotHop = 90,
  kHopUnknown = 91,
  kBadCapture = 92,
  kBadConfig = 100,
  kNoWatchdog = 101,
};

struct ExitCodeInfo {
  ExitCode code;
  std::string_view
      name;  // for scripts and JSON, e.g. "not-a-kernel"; empty if there is no such code
  std::string_view meaning;  // half a line, no full stop
};

// The description of `code`; an empty name for a number that is not an exit code of khop.
ExitCodeInfo DescribeExitCode(ExitCode code);
// All of them, in ascending order.
std::vector<ExitCodeInfo> AllExitCodes();

struct Failure {
  ExitCode code = ExitCode::kFailure;
  // One line without "khop:" and newline: "WHAT: WHY; WHAT TO DO".
  std::string message;

  friend bool operator==(const Failure&, const Failure&) = default;
};

template <class T>
using Result = std::expected<T, Failure>;

// `return Fail(ExitCode::kFileEmpty, path, "the file is empty", "give an initrd with content");`
// The parts are joined as "what: why; todo"; `todo` may be empty. Line breaks and control
// characters (a file name may hold them) are replaced by '?', so that the message stays one line.
std::unexpected<Failure> Fail(ExitCode code, std::string_view what, std::string_view why,
                              std::string_view todo = {});

// The same for a failed system call: why is the text for `error` (an errno value). kSystemCall with
// ENOMEM is kNoMemory.
std::unexpected<Failure> FailErrno(ExitCode code, std::string_view what, int error,
                                   std::string_view todo = {});
// The same for a file that a kernel may be built without: `todo` is said only where it is missing.
std::unexpected<Failure> FailKernelFile(ExitCode if_missing, std::string_view what, int error,
                                        std::string_view todo);

// Hands the failure of one result on as that of another: `if (!file) return Forward(file);`
template <class T>
std::unexpected<Failure> Forward(const Result<T>& result) {
  return std::unexpected<Failure>(result.error());
}
template <class T>
std::unexpected<Failure> Forward(Result<T>&& result) {
  return std::unexpected<Failure>(std::move(result).error());
}

// For a number's place in a message: "37.6 MiB", "512 KiB", "12 bytes" (binary units, one decimal).
std::string HumanBytes(uint64_t bytes);
// "0x40200000".
std::string Hex(uint64_t value);
// A moment, seconds since 1970, as UTC by ISO 8601: "2026-11-24T04:00:00Z".
std::string Utc(uint64_t seconds);
// Text fit for a terminal: control characters, the C1 range included, become '?'.
std::string Printable(std::string_view text);

}  // namespace khop
