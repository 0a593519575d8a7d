// SPDX-License-Identifier: MIT
// Boot entries: any text at all.
#include <cstdint>
#include <cstdlib>

#include "tool/entry/entry.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto entry = khop::entry::ParseEntry(text, "6.12+3-1.conf");
  if (entry && entry->linux.empty()) std::abort();
  khop::entry::Entry uki;
  khop::entry::TakeOsRelease(text, uki);
  (void)khop::entry::DefaultPattern(text);
  const auto half = text.substr(0, size / 2);
  const auto rest = text.substr(size / 2);
  // An order is one from both sides.
  if (khop::entry::CompareVersions(half, rest) > 0 &&
      khop::entry::CompareVersions(rest, half) > 0) {
    std::abort();
  }
  return 0;
}
