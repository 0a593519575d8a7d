// SPDX-License-Identifier: MIT
#include "lab/vm/device_tree.h"

#include <libfdt.h>

#include <array>
#include <bit>
#include <cinttypes>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>

#include "lab/vm/child_process.h"

namespace khop::lab {
namespace {

constexpr size_t kRoom = 0x10000;

Failure FdtFailure(const std::filesystem::path& path, int error) {
  return Failure{path.string() + ": " + fdt_strerror(error)};
}

}  // namespace

Result<void> WriteEditedTree(std::vector<std::string> qemu_arguments, const TreeEdit& edit,
                             const std::filesystem::path& path) {
  qemu_arguments.insert(qemu_arguments.end(), {"-machine", "dumpdtb=" + path.string()});
  Result<ChildProcess> qemu = ChildProcess::Start(qemu_arguments, UniqueFd());
  if (!qemu) return std::unexpected(qemu.error());
  if (const int code = qemu->Wait(); code != 0) {
    return Fail("QEMU wrote no device tree: exit code " + std::to_string(code));
  }
  std::ifstream in(path, std::ios::binary);
  const std::string whole((std::istreambuf_iterator<char>(in)), {});
  std::string tree(whole.size() + kRoom, '\0');
  if (whole.size() < sizeof(fdt_header)) return Fail(path.string() + " is too short");
  int error = fdt_open_into(whole.data(), tree.data(), static_cast<int>(tree.size()));
  if (error == 0) error = edit(tree.data());
  if (error == 0) error = fdt_pack(tree.data());
  if (error != 0) return std::unexpected(FdtFailure(path, error));
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out.write(tree.data(), static_cast<std::streamsize>(fdt_totalsize(tree.data())));
  out.close();
  if (!out) return Fail("cannot write " + path.string());
  return {};
}

int AddReservedMemory(void* tree, const char* compatible, uint64_t start, uint64_t size,
                      int* node) {
  int parent = fdt_path_offset(tree, "/reserved-memory");
  if (parent < 0) {
    parent = fdt_add_subnode(tree, 0, "reserved-memory");
    if (parent < 0) return parent;
    // As the root's: QEMU has two cells for each.
    fdt_setprop_u32(tree, parent, "#address-cells", 2);
    fdt_setprop_u32(tree, parent, "#size-cells", 2);
    fdt_setprop_empty(tree, parent, "ranges");
  }
  std::array<char, 64> name;
  snprintf(name.data(), name.size(), "region@%" PRIx64, start);
  *node = fdt_add_subnode(tree, parent, name.data());
  if (*node < 0) return *node;
  const std::array<fdt64_t, 2> reg = {cpu_to_fdt64(start), cpu_to_fdt64(size)};
  int error = fdt_setprop(tree, *node, "reg", reg.data(), sizeof(reg));
  if (error == 0) error = fdt_setprop_empty(tree, *node, "no-map");
  if (error == 0) {
    error = fdt_setprop(tree, *node, "compatible", compatible,
                        static_cast<int>(strlen(compatible)) + 1);
  }
  return error;
}

}  // namespace khop::lab
