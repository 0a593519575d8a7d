// SPDX-License-Identifier: MIT
#include "tool/load/running_tree.h"

#include <algorithm>

#include "tool/devicetree/tree.h"
#include "tool/devicetree/writer.h"

namespace khop::load {
namespace {

constexpr const char* kBase = "/sys/firmware/devicetree/base";
constexpr int kDeepest = 32;

// What is larger than a tree may be is stopped by the reader of the blob.
bool AddNode(system::System& system, const std::string& path, std::string_view name, int depth,
             devicetree::Writer& writer) {
  auto names = system.ListDirectory(path);
  if (!names || depth > kDeepest) return false;
  std::ranges::sort(*names);
  writer.BeginNode(name);
  std::vector<std::string> children;
  const std::string within = path + "/";
  for (const std::string& entry : *names) {
    const std::string below = within + entry;
    const auto info = system.Lstat(below);
    if (info && info->is_directory) {
      children.push_back(entry);
    } else if (entry != "name") {  // made by the kernel
      const auto value = system::ReadFile(system, below);
      if (value) writer.AddProperty(entry, std::as_bytes(std::span(*value)));
    }
  }
  for (const std::string& child : children) {
    if (!AddNode(system, within + child, child, depth + 1, writer)) return false;
  }
  writer.EndNode();
  return true;
}

}  // namespace

std::optional<devicetree::Tree> ReadRunningTree(system::System& system) {
  const auto text = system::ReadFile(system, kRunningTree, 2 * devicetree::kMaxTreeSize);
  if (!text) return std::nullopt;
  auto tree = devicetree::Tree::Parse(std::as_bytes(std::span(*text)), kRunningTree);
  if (!tree) return std::nullopt;
  return *std::move(tree);
}

Result<std::string> GatherRunningTree(system::System& system) {
  devicetree::Writer writer;
  if (!AddNode(system, kBase, "", 0, writer)) {
    return Fail(ExitCode::kNotRoot, kBase, "only root can read this machine's device tree",
                "run khop as root, or give a tree with --dtb");
  }
  size_t structure = 0;
  const auto bytes = writer.Finish({}, 0, 0, structure);
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

}  // namespace khop::load
