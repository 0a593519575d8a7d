// SPDX-License-Identifier: MIT
#include "tool/devicetree/edit.h"

#include <libfdt.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

namespace khop::devicetree {
namespace {

using Bytes = std::vector<std::byte>;

std::unexpected<Failure> Bad(const std::string& name, const std::string& why) {
  return Fail(ExitCode::kBadDeviceTree, name, why, "give another one");
}

// Whether libfdt may walk over it.
bool IsSound(std::span<const std::byte> blob) {
  return blob.size() >= FDT_V1_SIZE && fdt_check_full(blob.data(), blob.size()) == 0;
}

// A copy with room for more.
std::optional<Bytes> Open(std::span<const std::byte> blob, size_t room) {
  if (!IsSound(blob)) return std::nullopt;
  Bytes bytes(fdt_totalsize(blob.data()) + room);
  if (fdt_open_into(blob.data(), bytes.data(), static_cast<int>(bytes.size())) != 0) {
    return std::nullopt;
  }
  return bytes;
}

Bytes Close(Bytes bytes) {
  fdt_pack(bytes.data());
  bytes.resize(fdt_totalsize(bytes.data()));
  return bytes;
}

void PutCells(Bytes& out, uint64_t value, int cells) {
  for (int i = cells * 4; i-- > 0;) {
    out.push_back(i >= 8 ? std::byte{0} : static_cast<std::byte>(value >> (8 * i) & 0xff));
  }
}

bool FitsIn(uint64_t value, int cells) { return cells >= 2 || value <= UINT32_MAX; }

// Those that the tree has and that say nothing.
void DropMemoryNodes(void* fdt) {
  for (int node = fdt_first_subnode(fdt, 0); node >= 0;) {
    int size = 0;
    const void* const type = fdt_getprop(fdt, node, "device_type", &size);
    if (type != nullptr && size == 7 && memcmp(type, "memory", 7) == 0) {
      fdt_del_node(fdt, node);
      node = fdt_first_subnode(fdt, 0);
    } else {
      node = fdt_next_subnode(fdt, node);
    }
  }
}

}  // namespace

Result<Bytes> ApplyOverlays(std::span<const std::byte> base, std::span<const Bytes> overlays,
                            std::span<const std::string> names) {
  Bytes merged(base.begin(), base.end());
  for (size_t i = 0; i < overlays.size(); ++i) {
    // libfdt changes the overlay while it applies it.
    Bytes overlay = overlays[i];
    if (!IsSound(overlay)) return Bad(names[i], "it is no device tree overlay, or is damaged");
    auto opened = Open(merged, 2 * overlay.size() + 1024);
    if (!opened) return Bad("the device tree", "it is damaged");
    if (fdt_path_offset(opened->data(), "/__symbols__") < 0 &&
        fdt_path_offset(overlay.data(), "/__fixups__") >= 0) {
      return Fail(ExitCode::kBadDeviceTree, names[i],
                  "it refers to labels, and the device tree has none (/__symbols__)",
                  "give a tree with them by --dtb (dtc -@)");
    }
    const int result = fdt_overlay_apply(opened->data(), overlay.data());
    if (result != 0) {
      return Bad(names[i],
                 std::string("it does not fit the device tree (") + fdt_strerror(result) + ")");
    }
    merged = Close(*std::move(opened));
  }
  return merged;
}

Result<Bytes> WithMemory(std::span<const std::byte> base, std::span<const PhysRange> memory,
                         const std::string& name) {
  auto bytes = Open(base, 4096 + memory.size() * 128);
  if (!bytes) return Bad(name, "the device tree is damaged");
  void* const fdt = bytes->data();
  DropMemoryNodes(fdt);
  const int address_cells = fdt_address_cells(fdt, 0);
  const int size_cells = fdt_size_cells(fdt, 0);
  if (address_cells < 1 || size_cells < 1) return Bad(name, "its #address-cells are damaged");
  for (const PhysRange& range : memory) {
    if (range.empty()) continue;
    if (!FitsIn(range.start.value, address_cells) || !FitsIn(range.size, size_cells)) {
      return Bad(name, "it has 32-bit addresses, and this machine's memory needs more");
    }
    Bytes reg;
    PutCells(reg, range.start.value, address_cells);
    PutCells(reg, range.size, size_cells);
    const std::string node_name = "memory@" + Hex(range.start.value).substr(2);
    const int node = fdt_add_subnode(fdt, 0, node_name.c_str());
    if (node < 0 || fdt_setprop_string(fdt, node, "device_type", "memory") != 0 ||
        fdt_setprop(fdt, node, "reg", reg.data(), static_cast<int>(reg.size())) != 0) {
      return Bad(name, "a memory node cannot be added");
    }
  }
  return Close(*std::move(bytes));
}

Result<Bytes> WithUefi(std::span<const std::byte> base, const Tree& running,
                       const std::string& name) {
  auto bytes = Open(base, 4096);
  if (!bytes) return Bad(name, "the device tree is damaged");
  void* const fdt = bytes->data();
  int chosen = fdt_path_offset(fdt, "/chosen");
  if (chosen < 0) chosen = fdt_add_subnode(fdt, 0, "chosen");
  const auto from = running.FindChild(0, "chosen");
  if (chosen < 0 || !from) return Bad(name, "it has no room for /chosen");
  for (const Property& property : running.nodes()[*from].properties) {
    if (!property.name.starts_with("linux,uefi-")) continue;
    if (fdt_setprop(fdt, chosen, std::string(property.name).c_str(), property.value.data(),
                    static_cast<int>(property.value.size())) != 0) {
      return Bad(name, "a property cannot be added");
    }
  }
  return Close(*std::move(bytes));
}

}  // namespace khop::devicetree
