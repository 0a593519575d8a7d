// SPDX-License-Identifier: MIT
#include "tool/devicetree/seeds.h"

#include <libfdt.h>

#include <algorithm>
#include <string_view>
#include <vector>

namespace khop::devicetree {

bool WipeSeeds(std::span<std::byte> blob) {
  if (blob.size() < sizeof(fdt_header)) return false;
  // libfdt wants a blob at a multiple of 8.
  std::vector<std::byte> copy(blob.begin(), blob.end());
  void* const fdt = copy.data();
  if (fdt_check_full(fdt, copy.size()) != 0) return false;
  for (int node = 0; node >= 0; node = fdt_next_node(fdt, node, nullptr)) {
    for (int at = fdt_first_property_offset(fdt, node); at >= 0;
         at = fdt_next_property_offset(fdt, at)) {
      const char* name = nullptr;
      int size = 0;
      const void* const value = fdt_getprop_by_offset(fdt, at, &name, &size);
      if (value == nullptr || name == nullptr) return false;
      const std::string_view property = name;
      if (property != "kaslr-seed" && property != "rng-seed") continue;
      const auto start = static_cast<size_t>(static_cast<const std::byte*>(value) - copy.data());
      std::ranges::fill(blob.subspan(start, static_cast<size_t>(size)), std::byte{0});
    }
  }
  // What lies beyond its end belongs to nobody.
  std::ranges::fill(blob.subspan(std::min<size_t>(fdt_totalsize(fdt), blob.size())), std::byte{0});
  return true;
}

}  // namespace khop::devicetree
