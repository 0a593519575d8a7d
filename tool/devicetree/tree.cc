// SPDX-License-Identifier: MIT
#include "tool/devicetree/tree.h"

#include <libfdt.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace khop::devicetree {
namespace {

std::string_view AsText(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::unexpected<Failure> Bad(std::string_view name, std::string_view why) {
  return Fail(ExitCode::kBadDeviceTree, name, why, "give a good one with --dtb");
}

}  // namespace

Result<Tree> Tree::Parse(std::span<const std::byte> blob, std::string_view name) {
  if (blob.size() < sizeof(fdt_header)) return Bad(name, "too short for a device tree blob");
  // libfdt wants the blob at a multiple of 8; the vector's memory is.
  Tree tree;
  tree.name_ = name;
  tree.blob_.assign(blob.begin(), blob.begin() + sizeof(fdt_header));
  if (fdt_magic(tree.blob_.data()) != FDT_MAGIC) return Bad(name, "not a device tree blob");
  const size_t total = fdt_totalsize(tree.blob_.data());
  if (total > kMaxTreeSize) return Bad(name, "the device tree is larger than 2 MiB");
  if (total > blob.size()) return Bad(name, "the device tree is cut short");
  tree.blob_.assign(blob.begin(), blob.begin() + static_cast<std::ptrdiff_t>(total));
  const void* fdt = tree.blob_.data();
  if (const int error = fdt_check_full(fdt, total); error != 0) {
    return Bad(name, std::string("the device tree is malformed (") + fdt_strerror(error) + ")");
  }

  const int reservations = fdt_num_mem_rsv(fdt);
  for (int i = 0; i < reservations; ++i) {
    uint64_t start = 0;
    uint64_t size = 0;
    if (fdt_get_mem_rsv(fdt, i, &start, &size) != 0) {
      return Bad(name, "the memory reservations are malformed");
    }
    const PhysRange range = {{start}, size};
    if (!range.valid()) return Bad(name, "a memory reservation wraps around");
    tree.reservations_.push_back(range);
  }
  tree.boot_cpu_ = fdt_boot_cpuid_phys(fdt);

  size_t current = 0;
  size_t depth = 0;
  int offset = 0;
  int next = 0;
  for (;; offset = next) {
    const uint32_t tag = fdt_next_tag(fdt, offset, &next);
    if (next < 0) return Bad(name, "the device tree is malformed");
    int length = 0;
    if (tag == FDT_BEGIN_NODE) {
      const char* text = fdt_get_name(fdt, offset, &length);
      if (text == nullptr || (depth == 0 && !tree.nodes_.empty())) {
        return Bad(name, "the device tree has a malformed node");
      }
      tree.nodes_.push_back(
          {.name = {text, static_cast<size_t>(length)}, .parent = current, .properties = {}});
      current = tree.nodes_.size() - 1;
      ++depth;
    } else if (tag == FDT_END_NODE) {
      current = tree.nodes_[current].parent;
      --depth;
    } else if (tag == FDT_PROP) {
      const char* property = nullptr;
      const void* value = fdt_getprop_by_offset(fdt, offset, &property, &length);
      if (value == nullptr || length < 0 || depth == 0) {
        return Bad(name, "the device tree has a malformed property");
      }
      tree.nodes_[current].properties.push_back(
          {.name = property,
           .value = {static_cast<const std::byte*>(value), static_cast<size_t>(length)}});
    } else if (tag == FDT_END) {
      break;
    }
  }
  if (tree.nodes_.empty()) return Bad(name, "the device tree has no root node");
  return tree;
}

std::optional<size_t> Tree::FindChild(size_t node, std::string_view name) const {
  const bool any_address = name.find('@') == std::string_view::npos;
  for (size_t i = node + 1; i < nodes_.size(); ++i) {
    if (nodes_[i].parent != node) continue;
    std::string_view candidate = nodes_[i].name;
    if (any_address) candidate = candidate.substr(0, candidate.find('@'));
    if (candidate == name) return i;
  }
  return std::nullopt;
}

std::optional<size_t> Tree::FindNode(std::string_view path) const {
  size_t node = 0;
  if (!path.starts_with('/')) {
    const auto aliases = FindChild(0, "aliases");
    if (!aliases) return std::nullopt;
    const size_t end = std::min(path.find('/'), path.size());
    const auto target = FindString(*aliases, path.substr(0, end));
    // An alias of an alias would be a way to loop.
    if (!target || !target->starts_with('/')) return std::nullopt;
    const auto start = FindNode(*target);
    if (!start) return std::nullopt;
    node = *start;
    path.remove_prefix(end);
  }
  while (!path.empty()) {
    if (path.front() == '/') {
      path.remove_prefix(1);
      continue;
    }
    const size_t end = std::min(path.find('/'), path.size());
    const auto child = FindChild(node, path.substr(0, end));
    if (!child) return std::nullopt;
    node = *child;
    path.remove_prefix(end);
  }
  return node;
}

std::optional<std::span<const std::byte>> Tree::Find(size_t node, std::string_view property) const {
  for (const Property& p : nodes_[node].properties) {
    if (p.name == property) return p.value;
  }
  return std::nullopt;
}

std::optional<std::string_view> Tree::FindString(size_t node, std::string_view property) const {
  const auto value = Find(node, property);
  if (!value) return std::nullopt;
  const std::string_view text = AsText(*value);
  const size_t end = text.find('\0');
  if (end == std::string_view::npos) return std::nullopt;
  return text.substr(0, end);
}

std::optional<uint32_t> Tree::FindCell(size_t node, std::string_view property) const {
  const auto value = Find(node, property);
  if (!value || value->size() != sizeof(fdt32_t)) return std::nullopt;
  return fdt32_ld(reinterpret_cast<const fdt32_t*>(value->data()));
}

bool Tree::ListHas(size_t node, std::string_view property, std::string_view text) const {
  const auto value = Find(node, property);
  if (!value) return false;
  std::string_view rest = AsText(*value);
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\0'), rest.size());
    if (rest.substr(0, end) == text) return true;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  return false;
}

bool Tree::IsEnabled(size_t node) const {
  for (;;) {
    if (Find(node, "status")) {
      const auto status = FindString(node, "status");
      if (!status || (*status != "okay" && *status != "ok")) return false;
    }
    if (node == 0) return true;
    node = nodes_[node].parent;
  }
}

std::string Tree::PathOf(size_t node) const {
  if (node == 0) return "/";
  std::vector<std::string_view> names;
  for (size_t i = node; i != 0; i = nodes_[i].parent) names.push_back(nodes_[i].name);
  std::string path;
  for (auto name = names.rbegin(); name != names.rend(); ++name) {
    path += '/';
    path += *name;
  }
  return path;
}

}  // namespace khop::devicetree
