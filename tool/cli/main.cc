// SPDX-License-Identifier: MIT
#include <malloc.h>

#include <iostream>
#include <string>
#include <vector>

#include "tool/cli/cli.h"
#include "tool/system/linux_system.h"
#if defined(__aarch64__)
#include "core/relocator/embedded_blob.h"
#endif

int main(int argc, char** argv) {
  // Long lists go back to the system when they are done with: a load's peak is to be the payload's.
  mallopt(M_MMAP_THRESHOLD, 64 << 10);
  // The C library's own streams take EINTR for an error.
  std::ios::sync_with_stdio(false);
  khop::system::LinuxSystem system;
  khop::cli::Context context{.system = system, .out = std::cout, .err = std::cerr, .blob = {}};
#if defined(__aarch64__)
  context.blob = khop::relocator::Blob();
#endif
  return khop::cli::Run(context, std::vector<std::string>(argv + 1, argv + argc));
}
