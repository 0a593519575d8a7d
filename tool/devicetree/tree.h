// SPDX-License-Identifier: MIT
// A device tree blob, checked once and taken apart: nodes in the order of the blob with the index
// of their parent, properties as views into a copy of the blob. (Devicetree Specification 0.4, 5.)
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/addr.h"
#include "tool/base/error.h"

namespace khop::devicetree {

struct Property {
  std::string_view name;
  std::span<const std::byte> value;
};

struct Node {
  std::string_view name;  // with the unit address; empty for the root
  size_t parent = 0;      // index; the root's is its own, 0
  std::vector<Property> properties;
};

// The largest blob that an arm64 kernel takes (booting.rst).
inline constexpr size_t kMaxTreeSize = size_t{2} << 20;

// Move-only: nodes refer to the blob that it owns.
class Tree {
 public:
  // Copies `blob` and takes it apart; bytes after the blob's own total size are ignored. `name` is
  // for messages: a path. Errors: kBadDeviceTree if it is not a device tree, is cut short,
  // malformed or over kMaxTreeSize.
  static Result<Tree> Parse(std::span<const std::byte> blob, std::string_view name);

  Tree(Tree&&) = default;
  Tree& operator=(Tree&&) = default;

  const std::string& name() const { return name_; }
  std::span<const std::byte> blob() const { return blob_; }
  const std::vector<Node>& nodes() const { return nodes_; }  // never empty: [0] is the root
  const std::vector<PhysRange>& memory_reservations() const { return reservations_; }
  uint32_t boot_cpu() const { return boot_cpu_; }

  // The node at `path` ("/soc/serial@9000000", "serial0/child": an alias of /aliases). A component
  // without a unit address matches the first node of that name.
  std::optional<size_t> FindNode(std::string_view path) const;
  std::optional<size_t> FindChild(size_t node, std::string_view name) const;
  // The value of a property; of several of one name the first.
  std::optional<std::span<const std::byte>> Find(size_t node, std::string_view property) const;
  // Up to the first NUL; nothing if there is no such property or no NUL in it.
  std::optional<std::string_view> FindString(size_t node, std::string_view property) const;
  // One 32-bit cell; nothing if the property is missing or of another size.
  std::optional<uint32_t> FindCell(size_t node, std::string_view property) const;
  // Whether the string list `property` ("compatible") holds `text`.
  bool ListHas(size_t node, std::string_view property, std::string_view text) const;
  // No status, "okay" or "ok", for the node and all above it.
  bool IsEnabled(size_t node) const;
  std::string PathOf(size_t node) const;

 private:
  Tree() = default;

  std::string name_;
  std::vector<std::byte> blob_;
  std::vector<Node> nodes_;
  std::vector<PhysRange> reservations_;
  uint32_t boot_cpu_ = 0;
};

}  // namespace khop::devicetree
