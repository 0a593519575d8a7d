// SPDX-License-Identifier: MIT
// The payload's way into the arena, and what is told of it: the same for every route.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tool/base/error.h"
#include "tool/devicetree/next_tree.h"
#include "tool/load/control.h"
#include "tool/load/load.h"
#include "tool/load/piece_digester.h"
#include "tool/load/prepare.h"
#include "tool/load/session.h"
#include "tool/load/state.h"

namespace khop::load {

// Ranges to verify, with their digests, for the hand-off and for the state.
struct Digests {
  // What `digester` has been given, of this kind.
  static Digests Of(PieceDigester& digester, handoff::DigestKind kind,
                    const Progress& progress = {});

  void Append(const Digests& more, handoff::DigestKind kind);
  // What is in no arena.
  void Add(PhysAddr start, std::span<const std::byte> contents, handoff::DigestKind kind,
           digest::DigestFeatures features);

  std::vector<handoff::VerifyRange> verify;
  std::vector<std::byte> bytes;
  std::vector<Verified> verified;

 private:
  void Append(PhysRange range, const std::vector<std::byte>& pieces, handoff::DigestKind kind);
};

struct Filled {
  devicetree::NextTree tree;
  Digests digests;
  std::string kernel_version;  // where it was not known before the kernel was unpacked

  // `hop` with what has to be verified, and with the tree.
  plan::Hop Complete(plan::Hop hop) const;
};

// Reads everything into the arena, to be moved to or to stay at `placed`, digests it and cleans the
// caches.
Result<Filled> Fill(system::System& system, const LoadOptions& options, const Prepared& prepared,
                    const Arena& arena, const Placed& placed, const Progress& progress);

// What is known of a plan before any memory is taken.
report::Plan MakePlan(const Prepared& prepared, const LoadOptions& options);

// The entry and the segments of the payload.
void AddSegments(const Prepared& prepared, const Placed& placed, uint64_t dtb_size,
                 report::Plan& plan);

void AddControl(const Placed& placed, const plan::ControlAreaLayout& layout, report::Plan& plan);

// The rest, once everything is in its place.
Loaded Describe(const Prepared& prepared, const LoadOptions& options, const ArenaRecord& arena,
                const Placed& placed, const ControlArea& control, Filled filled);

// Refuses before any memory is taken; else returns the bytes that are available. Errors: kNoMemory,
// kMemoryLimit, kUnsafeSystem, kBadState (segments that no state names in the free slot).
Result<uint64_t> CheckBeforeTaking(system::System& system, const Session& session, uint64_t needed);

}  // namespace khop::load
