// SPDX-License-Identifier: MIT
// Trouble at the system calls of a program, by ptrace(2).
#pragma once

// arguments: KIND FIRST STEP COMMAND...
//
// Runs COMMAND again and again: the first time there is trouble at its system call number FIRST
// (counted from its execve), then at FIRST + STEP, and so on, until it ends before that call. KIND
// "kill": it is killed there, before the call is done. A number: the call is not done and fails
// with this errno, EINTR only those that may. Calls by which a program only gets memory or ends are
// left alone, and reboot(2) is never done.
//
// Before each run "sh -e $INJECT_BEFORE CALL" is run, after it "sh -e $INJECT_AFTER CALL STATUS",
// which have to end with 0. STATUS: the exit status, or 128 + the signal. What the program writes
// goes to /tmp/said.
//
// Prints "N runs, E with an error of its own, M calls, status S", the latter two of the last run,
// and returns 0; or says at which call what went wrong, and returns 1.
int Inject(char** arguments);
