// SPDX-License-Identifier: MIT
#include "tool/cli/kexec/usage.h"

namespace khop::cli::kexec {

// The second word is a version, as scripts expect.
std::string VersionText() {
  return "kexec-tools 2.0.32 by its interface; this is khop " KHOP_VERSION "\n";
}

std::string UsageText() {
  return VersionText() +
         R"(Usage: kexec [OPTION]... [KERNEL]
With KERNEL alone: loads it, then runs `shutdown -r now`.

What to do (the last of -l, -p, -f and -e counts; -l and -e together are refused):
  -l, --load            load KERNEL
  -e, --exec            start what is loaded, at once
  -f, --force           load KERNEL and start it at once
  -p, --load-panic      load KERNEL for a panic; with -u and -S: that one
  -u, --unload          unload, before a load if both are asked for
  -S, --status          exit code 1 if the crash image (with -l the normal one)
                        is loaded, 0 if not
      --print-ckr-size  print the size of the crash reservation in bytes
  -h, --help            print this
  -v, --version         print the version

How to load:
      --append=STR, --command-line=STR   the command line
      --reuse-cmdline   the running kernel's, then that of --append
      --initrd=FILE, --ramdisk=FILE      the initrd
      --reuseinitrd     the running kernel's, if it has kept it
      --dtb=FILE        the device tree, in the place of the running kernel's
      --serial=TTY      where a failed jump says why, such as ttyAMA0
  -t, --type=TYPE       vmlinux, Image, uImage, vmlinuz or uki, and nothing else
  -i, --no-checks       do not verify the memory before the jump
      --mem-min=ADDR, --mem-max=ADDR     load between these addresses
  -s, --kexec-file-syscall   by kexec_file_load only
  -c, --kexec-syscall        not by kexec_file_load
  -a, --kexec-syscall-auto   by what works best (the default)
      --no-cma, --force-dtb      as khop does anyway

How to leave (-e, -f):
  -x, --no-ifdown       leave network interfaces up
  -y, --no-sync         do not write file systems back

  -d, --debug           tell each step

Refused, as arm64 kernels cannot do it: --entry, --hotplug, --load-preserve-context,
--load-jump-back-helper, --load-live-update, --exec-live-update.

Exit codes: 0 done; 1 wrong usage, or nothing loaded; 255 failed; 254 no room for
the crash kernel; 253 kexec_file_load does not take this kernel (-s).
Where this differs from kexec-tools: docs/compat.md.
)";
}

}  // namespace khop::cli::kexec
