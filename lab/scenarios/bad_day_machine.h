// SPDX-License-Identifier: MIT
// A machine on which khop loads again and again: a kernel that is small, and what may not be left.
#pragma once

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <string>

#include "lab/scenarios/first_machine.h"

namespace khop::lab {

// For scripts in the guest. `look` prints what khop may not leave behind, `clean` fails unless it
// is as it was, `loaded` fails unless an image is loaded.
inline constexpr const char* kLook = R"sh(
unset INJECT_BEFORE INJECT_AFTER
look() {
  awk 'NR > 1 {print $1, $4}' /proc/sysvipc/shm
  for pool in /sys/kernel/mm/hugepages/*; do
    echo $pool $(cat $pool/nr_hugepages $pool/free_hugepages $pool/surplus_hugepages)
  done
  cat /sys/kernel/kexec_loaded /proc/sys/vm/compact_unevictable_allowed
  ls /run/khop
  grep Mlocked /proc/meminfo
}
# What a CPU has counted for itself shows up to a second later; a leak shows for good.
clean() {
  for try in 1 2 3 4 5; do
    look > /tmp/now
    cmp -s /tmp/clean /tmp/now && return
    sleep 1
  done
  diff /tmp/clean /tmp/now
  exit 1
}
loaded() {
  [ "$(cat /sys/kernel/kexec_loaded)" = 1 ] || { echo nothing is loaded; exit 1; }
}
# What is loaded starts: khop exec gets as far as reboot(2), which is not done.
execs() {
  khop-guest-tool inject kill 1000000 1 khop exec --now > /tmp/exec
  grep -q 'status 137$' /tmp/exec || { cat /tmp/exec /tmp/said; exit 1; }
}
# The program ended with status $1: well, at reboot(2), or with a line of its own.
one_line() {
  [ $1 = 0 ] || [ $1 = 137 ] && return
  [ $1 -lt 128 ] && [ $1 != 70 ] && [ $(grep -c '^khop: ' /tmp/said) = 1 ]
}
)sh";

class BadDayMachine : public FirstMachine {
 protected:
  // /tmp/small is the next kernel's head as an Image of 1 MiB, /tmp/text an initrd; nothing that
  // would run. /tmp/look has kLook, and what it shows now is clean.
  void MakeSmallImage() {
    // No PE header, which tells the size of the file: a boot by UEFI is nothing to khop.
    MUST(guest().Must(
        "put() { dd of=/tmp/small bs=1 seek=$1 conv=notrunc 2>/dev/null; }; "
        "head -c 1048576 /next/Image > /tmp/small && printf '\\0\\0\\0\\0' | put 0 && "
        "printf '\\0\\0\\020\\0\\0\\0\\0\\0' | put 16 && printf '\\0\\0\\0\\0' | put 60 && "
        "echo text > /tmp/text && khop unload"));
    ASSERT_NO_FATAL_FAILURE(WriteScript("/tmp/look", kLook));
    MUST(guest().Must(". /tmp/look; look > /tmp/clean"));
  }

  // A file in the guest; commands are single lines.
  void WriteScript(const std::string& path, std::string_view text) {
    std::string escaped;
    for (const char c : text) {
      if (std::string_view("\n'\\%").contains(c)) {
        char octal[8];
        snprintf(octal, sizeof octal, "\\%03o", static_cast<unsigned>(c));
        escaped += octal;
      } else {
        escaped += c;
      }
    }
    // A terminal takes lines of at most 4095 characters.
    ASSERT_LT(escaped.size(), 4000u);
    MUST(guest().Must("printf '" + escaped + "' > " + path));
  }

  // `command` fails with `code` and one line that has `says` in it.
  void ExpectRefused(const std::string& command, int code, const std::string& says = "") {
    SCOPED_TRACE(command);
    const Result<CommandResult> result = guest().Run(command, Seconds(180));
    MUST(result);
    EXPECT_EQ(result->exit_code, code) << result->output;
    EXPECT_TRUE(result->output.starts_with("khop: ")) << result->output;
    EXPECT_EQ(std::ranges::count(result->output, '\n'), 1) << result->output;
    EXPECT_THAT(result->output, testing::HasSubstr(says));
  }
  // khop has left nothing.
  void ExpectClean() {
    const Result<CommandResult> result = guest().Run(". /tmp/look; clean");
    MUST(result);
    EXPECT_EQ(result->exit_code, 0) << result->output;
  }
  // After all of it a load of the real next kernel, and the hop.
  void ExpectHops(const std::string& more = "") {
    MUST(Load(more));
    ExpectLoadedHops();
  }
  void ExpectLoadedHops(const std::string& route = "in-place") {
    HopExpectation expected = Expected();
    expected.route = route;
    const Result<HopProof> proof =
        ProveHop(machine(), guest(), expected, [](Guest& g) { return g.Start("khop exec --now"); });
    MUST(proof);
  }

  // The real khop killed at every `step`-th system call of load, exec and unload: nothing is left
  // after the next khop, and what was loaded before still would start.
  void KillEverywhere(const std::string& route, int step) {
    const std::string load = kLoad + route;
    // Nothing was loaded: afterwards the one or the other khop puts everything right.
    Scripts("", "[ $2 = 137 ] || [ $2 = 0 ]; if [ $(($1 / " + std::to_string(step) +
                    " % 2)) = 0 ]; then " + load + "; khop status; fi; " + kClears);
    Disturb("kill", 0, step, load);
    // Something was loaded before: one image is loaded all the time, and exec finds it intact.
    Scripts(load, "[ $2 = 137 ] || [ $2 = 0 ]; loaded; execs; " + std::string(kClears));
    Disturb("kill", 3, step, load);
    Scripts(load, "[ $2 = 137 ]; loaded; khop status; " + std::string(kClears));
    Disturb("kill", 1, step / 4 + 1, "khop exec --now");
    Scripts(load, kClears);
    Disturb("kill", 2, step / 4 + 1, "khop unload");
  }

  // The same with a call that fails: success or one line, and never an abort.
  void FailEverywhere(const std::string& route, int error, int step) {
    const std::string load = kLoad + route;
    const std::string kind = std::to_string(error);
    // Of a call that was interrupted nobody hears.
    const std::string fits = error == EINTR ? "[ $2 = 0 ] || [ $2 = 137 ]; " : "one_line $2; ";
    Scripts("", fits + kClears);
    Disturb(kind, error % 5, step, load);
    Scripts(load, fits + "loaded; execs; " + kClears);
    Disturb(kind, error % 7, step, load);
    Scripts(load, fits + "loaded; execs; " + kClears);
    Disturb(kind, error % 3, step / 4 + 1, "khop exec --now");
    Scripts(load, fits + kClears);
    Disturb(kind, error % 4, step / 4 + 1, "khop unload");
  }

 private:
  static constexpr const char* kLoad = "khop load /tmp/small --initrd /tmp/text --route ";
  static constexpr const char* kClears = "khop unload; clean";

  // `before` and `after`: shell, with $1 the call and $2 the status.
  void Scripts(const std::string& before, const std::string& after) {
    if (HasFailure()) return;
    WriteScript("/tmp/before", before + "\n");
    WriteScript("/tmp/after", ". /tmp/look\n" + after + "\n");
  }
  // Runs `command` with trouble of `kind` at every `step`-th system call.
  void Disturb(const std::string& kind, int first, int step, const std::string& command) {
    if (HasFailure()) return;
    SCOPED_TRACE(kind + " at the calls of " + command);
    const auto start = std::chrono::steady_clock::now();
    const Result<CommandResult> done = guest().Run(
        "INJECT_BEFORE=/tmp/before INJECT_AFTER=/tmp/after khop-guest-tool inject " + kind + " " +
            std::to_string(first) + " " + std::to_string(step) + " " + command,
        Seconds(1200));
    MUST(done);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    printf("%s, %s: %.0f s, %s", kind.c_str(), command.c_str(), took.count(), done->output.c_str());
    fflush(stdout);
    ASSERT_EQ(done->exit_code, 0) << done->output;
  }
};

}  // namespace khop::lab
