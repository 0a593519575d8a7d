// SPDX-License-Identifier: MIT
#include "tool/load/test_machine.h"

#include <libfdt.h>

#include <cstring>

#include "core/relocator/blob.h"

namespace khop::load {

std::string TestImage(uint64_t size, uint64_t image_size, uint64_t text_offset) {
  std::string image(size, '\0');
  for (uint64_t i = 64; i < size; ++i) image[i] = static_cast<char>(i * 2654435761U >> 13);
  const uint64_t flags = 1 << 1 | 1 << 3;  // 4 KiB pages, placed anywhere
  memcpy(&image[8], &text_offset, 8);
  memcpy(&image[16], &image_size, 8);
  memcpy(&image[24], &flags, 8);
  memcpy(&image[56], "ARM\x64", 4);
  return image;
}

std::string TestTree(uint32_t memory_size) {
  std::string blob(4096, '\0');
  void* const fdt = blob.data();
  fdt_create(fdt, static_cast<int>(blob.size()));
  fdt_finish_reservemap(fdt);
  fdt_begin_node(fdt, "");
  fdt_property_u32(fdt, "#address-cells", 2);
  fdt_property_u32(fdt, "#size-cells", 2);
  if (memory_size != 0) {
    fdt_begin_node(fdt, "memory@40000000");
    fdt_property_string(fdt, "device_type", "memory");
    const uint32_t range[4] = {0, cpu_to_fdt32(0x40000000), 0, cpu_to_fdt32(memory_size)};
    fdt_property(fdt, "reg", range, sizeof(range));
    fdt_end_node(fdt);
  }
  fdt_begin_node(fdt, "chosen");
  fdt_property_string(fdt, "stdout-path", "/pl011@9000000");
  fdt_end_node(fdt);
  fdt_begin_node(fdt, "psci");
  fdt_property_string(fdt, "compatible", "arm,psci-1.0");
  fdt_property_string(fdt, "method", "hvc");
  fdt_end_node(fdt);
  fdt_begin_node(fdt, "pl011@9000000");
  fdt_property_string(fdt, "compatible", "arm,pl011");
  const uint32_t reg[4] = {0, cpu_to_fdt32(0x9000000), 0, cpu_to_fdt32(0x1000)};
  fdt_property(fdt, "reg", reg, sizeof(reg));
  fdt_end_node(fdt);
  fdt_end_node(fdt);
  fdt_finish(fdt);
  blob.resize(fdt_totalsize(fdt));
  return blob;
}

std::string TestTreeWithIts(const char* chosen) {
  std::string blob(8192, '\0');
  fdt_open_into(TestTree().data(), blob.data(), 8192);
  const int its = fdt_add_subnode(blob.data(), 0, "its@8080000");
  fdt_setprop_string(blob.data(), its, "compatible", "arm,gic-v3-its");
  fdt_setprop_string(blob.data(), fdt_path_offset(blob.data(), "/chosen"), chosen, "x");
  fdt_add_mem_rsv(blob.data(), 0x7b000000, 0x10000);
  fdt_add_mem_rsv(blob.data(), 0x7b010000, 0x10000);
  return blob;
}

std::vector<std::byte> TestBlob() {
  std::vector<std::byte> blob(8192, std::byte{0x1f});
  relocator::BlobHeader header = {};
  header.magic = relocator::kBlobMagic;
  header.version = relocator::kBlobVersion;
  header.size = static_cast<uint32_t>(blob.size());
  memcpy(blob.data(), &header, sizeof(header));
  return blob;
}

const TestMachine::Files& TestMachine::BigFiles() {
  // Made once: it takes its time.
  static const Files files = {{"/boot/Image", TestImage(3'500'000, 3'700'000)},
                              {"/boot/initrd", std::string(1'000'001, 'i')},
                              {"/boot/more", std::string(77, 'm')}};
  return files;
}

TestMachine::TestMachine(const Files& files) {
  for (const auto& [path, text] : files) system.SetFile(path, text);
  system.SetFile("/sys/firmware/fdt", TestTree());
  for (uint64_t page = 0; page < 64; ++page) {
    system.free_pages.push_back(0x50000000 + (page << 21));
  }
}

LoadOptions TestMachine::Options() const {
  LoadOptions options;
  options.kernel = "/boot/Image";
  options.initrds = {"/boot/initrd", "/boot/more"};
  options.command_line = "console=ttyAMA0";
  options.blob = blob;
  return options;
}

TestMachine::Footprint TestMachine::Look() const {
  Footprint look{.pools = {},
                 .base_pages = system.base_pages.size(),
                 .compaction = system.files().at("/proc/sys/vm/compact_unevictable_allowed").text,
                 .segments = system.segment_count(),
                 .loaded = system.loaded != nullptr};
  for (const auto& [size, pool] : system.pools) {
    look.pools[size] = {pool.persistent, system.pool_total(size), pool.free.size()};
  }
  return look;
}

}  // namespace khop::load
