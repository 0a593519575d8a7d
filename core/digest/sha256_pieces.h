// SPDX-License-Identifier: MIT
// SHA-256 of many messages, of any number and length, as many side by side as the CPU likes.
#pragma once

#include <algorithm>
#include <array>
#include <type_traits>

#include "core/digest/sha256.h"

namespace khop::digest {

// A message, or none: the end.
struct Sha256Message {
  std::span<const std::byte> bytes;
  uint64_t tag = 0;  // comes back with the digest
  bool any = false;
};

struct NoMore {};  // messages that do not

// Hashes what `next()` gives, a Sha256Message, until it gives none, and passes each digest to
// `done(tag, digest)`, which returns whether to go on. Digests come in no particular order. A lane
// whose message is done takes the next one, so that none waits for a longer one beside it.
// A message may go on elsewhere: `more_of(tag)` gives what follows, and nothing at its end. All of
// it but the last are whole blocks, and all but the first lie at multiples of 16.
template <typename Next, typename Done, typename More = NoMore>
bool Sha256OfEach(DigestFeatures features, Next next, Done done, More more_of = {}) {
  static_assert(kMaxSha256Lanes == 4);
  std::array<Sha256Lane, kMaxSha256Lanes> lanes = {
      Sha256Lane{Sha256(features), {}}, Sha256Lane{Sha256(features), {}},
      Sha256Lane{Sha256(features), {}}, Sha256Lane{Sha256(features), {}}};
  size_t used = 0;
  for (bool more = true; more || used != 0;) {
    while (more && used < Sha256Lanes(features)) {
      const Sha256Message message = next();
      more = message.any;
      if (!more) break;
      Sha256Lane& lane = lanes[used];
      lane = {.hash = Sha256(features), .rest = message.bytes, .tag = message.tag};
      if (reinterpret_cast<uintptr_t>(message.bytes.data()) % 16 != 0) {
        // By itself: the wide forms load whole words only.
        lane.hash.Update(lane.rest);
        lane.rest = {};
      }
      ++used;
    }
    AdvanceLanes(std::span(lanes).first(used));
    for (size_t i = used; i-- > 0;) {
      if (lanes[i].rest.size() >= Sha256::kBlock) continue;
      lanes[i].hash.Update(lanes[i].rest);
      if constexpr (!std::is_same_v<More, NoMore>) {
        lanes[i].rest = more_of(lanes[i].tag);
        if (!lanes[i].rest.empty()) continue;
      }
      const Sha256Digest digest = lanes[i].hash.Finish();
      if (!done(lanes[i].tag, digest)) return false;
      lanes[i] = lanes[--used];
    }
  }
  return true;
}

}  // namespace khop::digest
