// SPDX-License-Identifier: MIT
// Device trees: any bytes at all through every reader and through the writer.
#include <cstdint>
#include <cstdlib>

#include "tool/devicetree/machine.h"
#include "tool/devicetree/next_tree.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace khop::devicetree;  // NOLINT(google-build-using-namespace): one function
  const std::span<const std::byte> blob(reinterpret_cast<const std::byte*>(data), size);
  const auto tree = Tree::Parse(blob, "fuzz");
  if (!tree) return 0;
  (void)FindConsole(*tree, "");
  (void)FindPsciConduit(*tree);
  (void)UsesSpinTable(*tree);
  (void)ReservedRanges(*tree);
  (void)MemoryRanges(*tree);
  (void)ReadTimeline(*tree);
  NextTreeOptions options;
  options.initrd = khop::PhysRange{{0x48000000}, 0x1000};
  options.rng_seed.resize(64);
  (void)BuildNextTree(*tree, options);
  // Without an initrd: a reservation of the input may happen to be that of the one above.
  options.initrd.reset();
  const auto next = BuildNextTree(*tree, options);
  if (!next) return 0;
  // What was written reads back, and written again it is the same.
  const auto again = Tree::Parse(next->bytes, "rebuilt");
  if (!again) std::abort();
  const auto third = BuildNextTree(*again, options);
  if (!third || third->bytes != next->bytes || next->timeline_offset % 8 != 0) std::abort();
  return 0;
}
