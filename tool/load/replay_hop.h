// SPDX-License-Identifier: MIT
// Does on a copy of the fake machine's memory what the running kernel and the relocator would do at
// a hop, so that a test sees where the bytes end. Knows the hand-off and nothing of how it is made.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tool/system/fake_system.h"

namespace khop::load {

class HopReplay {
 public:
  // Copies the control area to its destination and does the moves, in order, a page at a time.
  // Failures are GoogleTest's.
  explicit HopReplay(system::FakeSystem& system);

  // Physical memory after the hop; pages that nobody has written are '\xee'.
  std::string Bytes(uint64_t address, uint64_t size) const;
  // Whether each range to verify has its digests, and whether there are any.
  bool Verified() const;

  uint64_t entry = 0;
  uint64_t dtb = 0;
  uint32_t dtb_size = 0;
  bool mmu = false;
  uint64_t moves = 0;
  uint64_t bytes_moved = 0;

 private:
  using Page = std::vector<std::byte>;
  static constexpr uint64_t kPage = 4096;

  Page& At(uint64_t address);
  void Move(uint64_t source, uint64_t destination, uint64_t size);
  uint64_t Physical(uint64_t source) const;
  uint64_t Word(uint64_t address) const;

  std::map<uint64_t, Page> memory_;
  std::vector<std::byte> handoff_;
};

}  // namespace khop::load
