// SPDX-License-Identifier: MIT
#include "tool/devicetree/test_tree.h"

#include <libfdt.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <span>

#include "gtest/gtest.h"

namespace khop::devicetree {
namespace {

std::string TempFile(std::string_view name) {
  return testing::TempDir() + "khop-" + std::to_string(getpid()) + "-" + std::string(name);
}

std::vector<std::byte> Take(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  file.close();
  unlink(path.c_str());
  const std::span bytes = std::as_bytes(std::span(text));
  std::vector<std::byte> taken(bytes.begin(), bytes.end());
  return taken;
}

}  // namespace

std::vector<std::byte> CompileBlob(std::string_view source) {
  const std::string in = TempFile("test.dts");
  const std::string out = TempFile("test.dtb");
  std::ofstream(in) << "/dts-v1/;\n" << source;
  const std::string command = std::string(KHOP_DTC) + " -q -I dts -O dtb -o " + out + " " + in;
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
  unlink(in.c_str());
  return Take(out);
}

Tree Compile(std::string_view source) { return Tree::Parse(CompileBlob(source), "test").value(); }

std::vector<std::byte> QemuBlob(std::string_view options) {
  const std::string out = TempFile("qemu.dtb");
  const std::string command = std::string(KHOP_QEMU_AARCH64) + " -machine virt,dumpdtb=" + out +
                              (options.empty() ? "" : ",") + std::string(options) +
                              " -cpu cortex-a57 -smp 2 -m 1024 -nodefaults -display none >" + out +
                              ".log 2>&1";
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
  unlink((out + ".log").c_str());
  return Take(out);
}

std::string PropertyOf(const std::vector<std::byte>& blob, const char* path, const char* name) {
  int length = 0;
  const int node = fdt_path_offset(blob.data(), path);
  const void* value = fdt_getprop(blob.data(), node, name, &length);
  if (value == nullptr) return "(none)";
  return {static_cast<const char*>(value), static_cast<size_t>(length)};
}
std::string Chosen(const std::vector<std::byte>& blob, const char* name) {
  return PropertyOf(blob, "/chosen", name);
}

std::vector<std::string> Contents(const std::vector<std::byte>& blob) {
  std::vector<std::string> all;
  int depth = 0;
  for (int node = 0; node >= 0 && depth >= 0; node = fdt_next_node(blob.data(), node, &depth)) {
    std::string path(1024, '\0');
    EXPECT_EQ(fdt_get_path(blob.data(), node, path.data(), 1024), 0);
    path.resize(path.find('\0'));
    all.push_back(path);
    if (path == "/chosen") continue;
    int property = 0;
    fdt_for_each_property_offset(property, blob.data(), node) {
      int length = 0;
      const char* name = nullptr;
      const void* value = fdt_getprop_by_offset(blob.data(), property, &name, &length);
      all.push_back(path + ":" + name + "=" +
                    std::string(static_cast<const char*>(value), static_cast<size_t>(length)));
    }
  }
  return all;
}

void WipeSeeds(std::vector<std::byte>& blob) {
  const int chosen = fdt_path_offset(blob.data(), "/chosen");
  const uint64_t zero = 0;
  if (fdt_getprop(blob.data(), chosen, "kaslr-seed", nullptr) != nullptr) {
    ASSERT_EQ(fdt_setprop_inplace(blob.data(), chosen, "kaslr-seed", &zero, sizeof(zero)), 0);
  }
  if (fdt_getprop(blob.data(), chosen, "rng-seed", nullptr) != nullptr) {
    ASSERT_EQ(fdt_nop_property(blob.data(), chosen, "rng-seed"), 0);
  }
}

size_t CountNops(const std::vector<std::byte>& blob) {
  size_t nops = 0;
  int next = 0;
  for (int offset = 0;; offset = next) {
    const uint32_t tag = fdt_next_tag(blob.data(), offset, &next);
    if (tag == FDT_NOP) ++nops;
    if (tag == FDT_END || next < 0) return nops;
  }
}

}  // namespace khop::devicetree
