// SPDX-License-Identifier: MIT
// What the relocator notes about the hop, for `khop report` in the next kernel.
#pragma once

#include <cstdint>

#include "core/handoff/handoff.h"

namespace khop::relocator {

class Timeline {
 public:
  void Set(handoff::TimelineSlot slot, uint64_t value) {
    slots_[static_cast<uint32_t>(slot)] = value;
  }
  void Add(handoff::TimelineSlot slot, uint64_t value) {
    slots_[static_cast<uint32_t>(slot)] += value;
  }
  // Writes the slots big-endian to `property`, which is 4-byte aligned: device trees align no more.
  void Write(uint64_t property) const {
    auto* word = reinterpret_cast<uint32_t*>(property);
    for (const uint64_t slot : slots_) {
      *word++ = __builtin_bswap32(static_cast<uint32_t>(slot >> 32));
      *word++ = __builtin_bswap32(static_cast<uint32_t>(slot));
    }
  }

 private:
  uint64_t slots_[static_cast<uint32_t>(handoff::TimelineSlot::kCount)] = {};
};

}  // namespace khop::relocator
