// SPDX-License-Identifier: MIT
// What bench/blackout counts in a guest, in ticks of CNTVCT_EL0.
#pragma once

namespace khop::lab {

// Says at which count it will call reboot(LINUX_REBOOT_CMD_KEXEC), and does so: "rebooting at
// COUNT". So nothing has to be written down between that count and the call.
int RebootAtACount();

// Where the kernel's log has 0.000000: "zero COUNT", and within how many ticks that is right.
int PrintZero();

// Runs a command, its output in /tmp/measured, and prints "ticks COUNT idle COUNT" of it.
int CountCommand(char** command);

// Runs a command and prints "peak BYTES": the most memory that was taken at any moment of it,
// beyond what was before. The page cache is not counted.
int WatchMemory(char** command);

// Runs a command and prints "alone NS beside NS child NS": how long it ran itself, while it had no
// child process and while it had one, and how long its children ran. On one CPU; what had more of
// them could do side by side.
int SplitCommand(char** command);

}  // namespace khop::lab
