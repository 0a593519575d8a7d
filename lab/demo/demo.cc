// SPDX-License-Identifier: MIT
// Shows one hop and tells its story. Ends with 0 only if the next kernel came up and is the right
// one.
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>

#include "lab/vm/guest.h"
#include "lab/vm/hop.h"
#include "lab/vm/lab_files.h"
#include "lab/vm/machine.h"

namespace khop::lab {
namespace {

using nlohmann::json;

constexpr const char* kNextCommandLine = "console=ttyAMA0 retain_initrd khop_demo=next";
constexpr uint64_t kPadding = uint64_t{32} << 20;

class Story {
 public:
  Story() : colour_(isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr) {}
  void Step(const std::string& text) {
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
    printf("\n%s[%5.1f s] %s%s\n", colour_ ? "\033[1m" : "", seconds, text.c_str(),
           colour_ ? "\033[0m" : "");
    fflush(stdout);
  }
  // Text of the guest, set off to the right.
  static void Quote(const std::string& text) {
    size_t at = 0;
    while (at < text.size()) {
      const size_t end = std::min(text.find('\n', at), text.size());
      printf("          | %s\n", text.substr(at, end - at).c_str());
      at = end + 1;
    }
    fflush(stdout);
  }
  static void Say(const std::string& text) {
    printf("          %s\n", text.c_str());
    fflush(stdout);
  }

 private:
  bool colour_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// What runs in the guest, shown as it would be typed there.
Result<std::string> Type(Guest& guest, const std::string& command) {
  Story::Quote("# " + command);
  Result<std::string> output = guest.Must(command);
  if (output) {
    Story::Quote(*output);
  }
  return output;
}

Result<void> Tell() {
  Story story;
  story.Step("Making two guests");
  const Result<LabKernel> first = FindKernel("6.1");
  const Result<LabKernel> next = FindKernel("6.12");
  if (!first || !next) return std::unexpected((first ? next : first).error());
  const Result<std::filesystem::path> directory = MakeRunDirectory("demo");
  if (!directory) return std::unexpected(directory.error());
  const Result<GuestImage> next_guest = MakeNextGuest(*directory, kPadding, 1);
  if (!next_guest) return std::unexpected(next_guest.error());
  const Result<GuestImage> first_guest = MakeFirstGuest(*directory, next->image, next_guest->path);
  if (!first_guest) return std::unexpected(first_guest.error());
  Story::Say("first: Debian's stock " + first->package);
  Story::Say("next:  Debian's stock " + next->package);
  Story::Say("       with an initrd of " + std::to_string(next_guest->written.size >> 20) + " MiB");

  story.Step("Starting the first kernel in QEMU, which would end with any reset");
  Result<Machine> machine = Machine::Start({.kernel = first->image,
                                            .initrd = first_guest->path,
                                            .command_line = "console=ttyAMA0 khop_lab.nodigest",
                                            .console_log = *directory / "console.log"});
  if (!machine) return std::unexpected(machine.error());
  Guest guest(*machine);
  const Result<Facts> up = guest.WaitUntilUp(Seconds(180));
  if (!up) return std::unexpected(up.error());

  story.Step("It runs");
  if (auto shown = Type(guest, "uname -a; cat /proc/cmdline"); !shown) {
    return std::unexpected(shown.error());
  }

  story.Step("khop puts the next kernel into memory where it will run");
  const std::string files =
      std::string("/next/Image --initrd /next/initrd --cmdline '") + kNextCommandLine + "'";
  if (auto shown = Type(guest, "khop load " + files); !shown) return std::unexpected(shown.error());
  if (auto shown = Type(guest, "khop status"); !shown) return std::unexpected(shown.error());

  story.Step("khop exec --now: the hop");
  const HopExpectation expected{.release = next->release,
                                .command_line = kNextCommandLine,
                                .initrd_sha256 = next_guest->written.sha256,
                                .manifest_sha256 = next_guest->written.manifest_sha256};
  const Result<HopProof> proof =
      ProveHop(*machine, guest, expected, [](Guest& g) { return g.Start("khop exec --now"); });
  if (!proof) return std::unexpected(proof.error());

  story.Step("The next kernel runs, on the same machine, without a reset");
  if (auto shown = Type(guest, "uname -a; cat /proc/cmdline"); !shown) {
    return std::unexpected(shown.error());
  }
  if (auto shown = Type(guest, "khop report"); !shown) return std::unexpected(shown.error());

  Story::Say("(An emulator's times: it knows no caches. Steps compare with each other at best.)");

  story.Step("What was proved from outside");
  const double ticks = static_cast<double>(proof->after.counter - proof->before.counter);
  char text[160];
  snprintf(text, sizeof text, "one QEMU process (%d), the counter ran on for %.2f s",
           machine->pid(), ticks / static_cast<double>(proof->after.counter_hz));
  Story::Say(text);
  Story::Say(proof->before.uname + " -> " + proof->after.uname);
  Story::Say("the initrd arrived whole: SHA-256 " + proof->after.initrd_sha256);
  Story::Say("payload bytes verified in the blackout: " +
             std::to_string(proof->report.value("bytes_verified", uint64_t{0})));
  Story::Say("payload bytes copied in the blackout:   " +
             std::to_string(proof->report.value("bytes_moved", uint64_t{0})));
  if (proof->report.value("bytes_moved", uint64_t{1}) != 0) {
    return Fail("the route was in-place, and yet bytes were copied");
  }
  const Result<MachineEnd> end = guest.PowerOff();
  if (!end) return std::unexpected(end.error());
  std::error_code error;
  std::filesystem::remove(first_guest->path, error);
  std::filesystem::remove(next_guest->path, error);
  story.Step("Done. The console of both kernels: " + machine->console_log().string());
  return {};
}

}  // namespace
}  // namespace khop::lab

// JSON of an unexpected type throws and ends the demo, as it should.
// NOLINTNEXTLINE(bugprone-exception-escape)
int main() {
  const khop::lab::Result<void> told = khop::lab::Tell();
  if (!told) {
    fflush(stdout);
    fprintf(stderr, "\ndemo failed: %s\n", told.error().what.c_str());
    return 1;
  }
  return 0;
}
