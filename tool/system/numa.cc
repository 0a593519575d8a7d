// SPDX-License-Identifier: MIT
#include "tool/system/numa.h"

#include <charconv>
#include <string>
#include <string_view>

namespace khop::system {

std::optional<int> BootNode(System& system) {
  // "0" or "0-1,4".
  const auto nodes = ReadFile(system, "/sys/devices/system/node/has_memory", 65536);
  if (!nodes || nodes->find_first_of("-,") == std::string::npos) return std::nullopt;
  const uint64_t cpu = ReadNumber(system, "/sys/kernel/reboot/cpu").value_or(0);
  const auto names = system.ListDirectory("/sys/devices/system/cpu/cpu" + std::to_string(cpu));
  if (!names) return std::nullopt;
  for (const std::string& name : *names) {
    constexpr std::string_view kNode = "node";
    int node = 0;
    const char* const end = name.data() + name.size();
    if (!name.starts_with(kNode)) continue;
    const auto parsed = std::from_chars(name.data() + kNode.size(), end, node);
    if (parsed.ec == std::errc() && parsed.ptr == end && node >= 0) return node;
  }
  return std::nullopt;
}

void PreferBootNode(System& system) {
  if (const auto node = BootNode(system)) (void)system.PreferNode(*node);
}

}  // namespace khop::system
