// SPDX-License-Identifier: MIT
// The real khop on a real kernel, killed and refused at system calls, and with others at work
// between its commands. bad_days_full_test.cc does the same at many more calls.
#include <cstdio>

#include "lab/scenarios/bad_day_machine.h"

namespace khop::lab {
namespace {

class BadDays : public BadDayMachine {};

TEST_F(BadDays, KilledInPlace) {
  START_FIRST_MACHINE({});
  MakeSmallImage();
  KillEverywhere("in-place", 599);
  if (!HasFailure()) ExpectHops();
}

TEST_F(BadDays, KilledInGather) {
  START_FIRST_MACHINE({});
  MakeSmallImage();
  KillEverywhere("gather", 1439);
  if (!HasFailure()) ExpectHops();
}

// As by a signal, for lack of memory, and as devices fail.
TEST_F(BadDays, CallsFail) {
  START_FIRST_MACHINE({});
  MakeSmallImage();
  for (const int error : {EINTR, ENOMEM, EIO}) FailEverywhere("in-place", error, 1499);
  if (!HasFailure()) ExpectHops();
}

TEST_F(BadDays, RunAndProcAndNamespaces) {
  START_FIRST_MACHINE({});
  MakeSmallImage();
  const std::string load = "khop load /tmp/small --initrd /tmp/text";
  // /run is full, or read-only, or gone with all that khop knew.
  MUST(guest().Must("mkdir -p /run/khop && mount -t tmpfs -o size=16k,mode=700 none /run/khop"));
  ExpectRefused(load, 40, "No space left on device");
  MUST(guest().Must("umount /run/khop"));
  ExpectClean();
  MUST(guest().Must(load));
  MUST(guest().Must("mount -o bind /run/khop /run/khop && mount -o remount,bind,ro /run/khop"));
  ExpectRefused("khop exec --now", 40, "Read-only file system");
  ExpectRefused("khop unload", 40, "Read-only file system");
  MUST(guest().Must("umount /run/khop && khop status"));
  // Without /proc, without /sys.
  ExpectRefused("unshare -m sh -c 'umount -l /proc; khop exec --now'", 40,
                "/proc: it is not mounted");
  ExpectRefused("unshare -m sh -c 'umount -l /sys; khop unload'", 40, "/sys: it is not mounted");
  // A private IPC namespace sees nothing of the arena, and must not forget it.
  for (const char* const verb : {"unload", "exec --now", "status", "load /tmp/small"}) {
    ExpectRefused(std::string("unshare -i khop ") + verb, 17, "IPC namespace");
  }
  MUST(guest().Must("khop status && khop unload"));
  ExpectClean();
  // Half a state, another's state.
  MUST(guest().Must(load + " && head -c 700 /run/khop/state.json > /tmp/half && "
                           "cat /tmp/half > /run/khop/state.json"));
  ExpectRefused("khop exec --now", 7, "damaged");
  ExpectRefused(load, 7, "damaged");
  MUST(guest().Must("khop unload"));
  ExpectClean();
  MUST(guest().Must(load + " && rm -r /run/khop && ln -s /tmp /run/khop"));
  ExpectRefused("khop unload", 17, "not a directory of root's alone");
  MUST(guest().Must("rm /run/khop && khop unload"));
  ExpectClean();
  // Two at the same time: each works or says that another is at work.
  MUST(guest().Must("for i in 1 2 3 4 5 6; do " + load + " > /dev/null & a=$!; " + load +
                    " --route gather > /dev/null & b=$!; wait $a; x=$?; wait $b; y=$?; echo $x $y; "
                    "case \"$x $y\" in '0 0' | '0 4' | '4 0') ;; *) exit 1 ;; esac; "
                    "khop status || exit 1; done"));
  MUST(guest().Must("khop unload"));
  ExpectClean();
  // Killed while a call is under way, wherever it is.
  MUST(
      guest().Must("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do khop load /next/Image --initrd "
                   "/next/initrd --verify crc32c > /dev/null & usleep ${i}00000; kill -9 $!; "
                   "wait $!; done; khop unload"));
  ExpectClean();
  ExpectHops();
}

TEST_F(BadDays, OtherToolsInPlace) {
  START_FIRST_MACHINE({});
  MakeSmallImage();
  // Gone by sysctl.
  MUST(guest().Must("khop load /tmp/small && echo 1 > /proc/sys/kernel/shm_rmid_forced"));
  ExpectRefused("khop exec --now", 17, "shm_rmid_forced");
  MUST(guest().Must("echo 0 > /proc/sys/kernel/shm_rmid_forced"));
  ExpectRefused("khop exec --now", 5, "its memory was removed");
  MUST(guest().Must("khop unload"));
  ExpectClean();
  // Another tool unloads.
  MUST(guest().Must("khop load /tmp/small && khop-guest-tool kexec unload"));
  ExpectRefused("khop exec --now", 6, "another tool has unloaded it");
  MUST(guest().Must("khop unload"));
  ExpectClean();
  // A page is taken out of service.
  MUST(Load(""));
  SoftOffline("kernel", 0.5);
  ExpectRefused("khop exec --now", 5, "moved");
  // A new load does, and what another tool loads after it does not start.
  MUST(Load(""));
  MUST(guest().Must("khop-guest-tool kexec load"));
  ExpectLoadedHops();
}

TEST_F(BadDays, OtherToolsGather) {
  START_FIRST_MACHINE({});
  MakeSmallImage();
  MUST(Load("--route gather"));
  SoftOffline("kernel", 0.5);
  SoftOffline("initrd", 0.9);
  MUST(guest().Must("khop-guest-tool kexec load"));
  const Result<CommandResult> status = guest().Run("khop status");
  MUST(status);
  printf("%s", status->output.c_str());
  EXPECT_THAT(status->output, testing::ContainsRegex("[1-9][0-9]* of [0-9]+ have moved"));
  ExpectLoadedHops("gather");
}

}  // namespace
}  // namespace khop::lab
