// SPDX-License-Identifier: MIT
// A flattened device tree (Devicetree Specification 0.4, 5) without its values in memory: a FIT has
// whole kernels in them. libfdt wants all of a tree at one address.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tool/image/source.h"

namespace khop::image {

struct FdtProperty {
  std::string name;
  Slice value;  // in the file
};

struct FdtNode {
  std::string name;
  size_t parent = 0;  // index; the root's is its own, 0
  std::vector<FdtProperty> properties;
};

class Fdt {
 public:
  // Errors: kDamagedImage and kTruncated, with `name`; what the source says.
  static Result<Fdt> Read(Source& file, Slice where, const std::string& name);

  const std::vector<FdtNode>& nodes() const { return nodes_; }  // [0] is the root
  uint64_t total_size() const { return total_size_; }
  std::optional<size_t> FindChild(size_t node, std::string_view name) const;
  std::vector<size_t> Children(size_t node) const;
  const FdtProperty* Find(size_t node, std::string_view property) const;

 private:
  std::vector<FdtNode> nodes_;
  uint64_t total_size_ = 0;
};

// The strings of a property's value (of at most 4 KiB; else none).
Result<std::vector<std::string>> ReadStrings(Source& file, Slice value);

// The root's compatible strings of the tree at `where`. Errors: as Fdt::Read().
Result<std::vector<std::string>> ReadRootCompatible(Source& file, Slice where);

}  // namespace khop::image
