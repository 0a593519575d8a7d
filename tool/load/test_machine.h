// SPDX-License-Identifier: MIT
// A fake machine on which khop can load: a kernel, initrds, a device tree, a relocator blob.
#pragma once

#include <array>
#include <map>
#include <string>
#include <vector>

#include "tool/load/load.h"
#include "tool/system/fake_system.h"

namespace khop::load {

// A valid Image of `size` bytes that asks for `image_size`; its bytes tell positions apart.
std::string TestImage(uint64_t size, uint64_t image_size, uint64_t text_offset = 0);
// A device tree with a PL011 console and PSCI by hvc.
// With a memory node of `memory_size` bytes at 0x40000000, unless that is 0.
std::string TestTree(uint32_t memory_size = 0);
// TestTree() with an ITS, two reservations of the size of LPI tables at 0x7b000000, and `chosen`
// ("khop,from") in /chosen.
std::string TestTreeWithIts(const char* chosen);
std::vector<std::byte> TestBlob();

struct TestMachine {
  using Files = std::map<std::string, std::string>;
  // 1 GiB at 0x40000000, of which the pages from 0x50000000 on are free in order.
  TestMachine() : TestMachine(BigFiles()) {}
  LoadOptions Options() const;

  // What has to be the same after a load that failed, and after unload.
  struct Footprint {
    std::map<uint64_t, std::array<uint64_t, 3>> pools;  // persistent, total, free, by page size
    uint64_t base_pages;
    std::string compaction;
    size_t segments;
    bool loaded;
    friend bool operator==(const Footprint&, const Footprint&) = default;
  };
  Footprint Look() const;

  system::FakeSystem system;
  std::vector<std::byte> blob = TestBlob();

 protected:
  explicit TestMachine(const Files& files);  // with these

 private:
  static const Files& BigFiles();
};

inline void NoProgress(std::string_view /*step*/) {}

}  // namespace khop::load
