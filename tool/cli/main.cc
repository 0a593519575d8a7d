// SPDX-License-Identifier: MIT
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <string>
#include <string_view>
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
  const auto set = [](const char* name) {
    const char* const value = std::getenv(name);
    return value != nullptr && *value != '\0';
  };
  const auto is = [](const char* name, const char* word) {
    const char* const value = std::getenv(name);
    return value != nullptr && std::strstr(value, word) != nullptr;
  };
  // no-color.org; a dumb terminal knows no colours.
  const bool plain = set("NO_COLOR") || is("TERM", "dumb") || !set("TERM");
  context.style.colour = isatty(STDOUT_FILENO) == 1 && !plain;
  const char* const locale = set("LC_ALL") ? "LC_ALL" : set("LC_CTYPE") ? "LC_CTYPE" : "LANG";
  context.style.unicode = isatty(STDOUT_FILENO) == 1 && (is(locale, "UTF-8") || is(locale, "utf8"));
  context.err_is_terminal = isatty(STDERR_FILENO) == 1 && !is("TERM", "dumb");
  std::vector<std::string> arguments(argv + std::min(argc, 1), argv + argc);
  const std::string_view name = argc > 0 ? argv[0] : "";
  if (name.substr(name.rfind('/') + 1) == khop::cli::kKexec) {
    arguments.insert(arguments.begin(), khop::cli::kKexec);
  }
  return khop::cli::Run(context, arguments);
}
