// SPDX-License-Identifier: MIT
// What is done about pages that have moved since the load, or that somebody took where the payload
// was to go: the contents are still right, so only destinations, moves and tables are made anew.
#include <libfdt.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "tool/load/fill.h"
#include "tool/load/gather.h"
#include "tool/load/prepare.h"
#include "tool/load/routes.h"
#include "tool/system/kexec_state.h"

namespace khop::load {

using system::System;

namespace {

constexpr int kTries = 6;
constexpr uint64_t kMore = uint64_t{2} << 20;

// Where the kernel has just taken a page it takes or gives back others: it is left alone as far as
// 2 MiB go, with pages of 4 KiB a block of the page allocator's.
Ranges BlocksAround(Ranges ranges) {
  std::ranges::sort(ranges, {}, &PhysRange::start);
  Ranges blocks;
  for (const PhysRange& range : ranges) {
    PhysAddr start{AlignDown(range.start.value, system::kHugePageSize)};
    const PhysAddr end{AlignUp(range.end().value, system::kHugePageSize)};
    if (!blocks.empty()) start = std::max(start, blocks.back().end());
    if (start < end) blocks.push_back({start, end - start});
  }
  return Joined(std::move(blocks));
}

std::unexpected<Failure> Gone(std::string_view why) {
  return Fail(ExitCode::kArenaGone, "the loaded kernel", why, "load it again");
}

bool SameHex(std::span<const std::byte> bytes, const std::vector<std::string>& hex, size_t size) {
  if (bytes.size() != hex.size() * size) return false;
  for (size_t i = 0; i < bytes.size(); ++i) {
    static constexpr std::string_view kDigits = "0123456789abcdef";
    const auto value = std::to_integer<unsigned>(bytes[i]);
    const std::string& text = hex[i / size];
    const size_t at = i % size * 2;
    if (text.size() != size * 2 || text[at] != kDigits[value >> 4] ||
        text[at + 1] != kDigits[value & 15]) {
      return false;
    }
  }
  return true;
}

// What is loaded, taken apart so that it can be planned anew.
class Replanner {
 public:
  Replanner(System& system, Session& session, Arena& arena, Session::Old old)
      : system_(system),
        session_(session),
        arena_(arena),
        old_(old),
        loaded_(*session.state().current),
        granule_(system.PageSize()),
        parts_(PartsOf(loaded_.plan, granule_)) {}

  // `trouble`: destinations that are in use; `restless`: where places are sought last.
  Result<void> Run(const Ranges& trouble, const Ranges& restless) {
    const auto control = session_.store().ReadControl(loaded_.control_file, loaded_.control_crc32c);
    if (!control) return Forward(control);
    const auto raw = std::as_bytes(std::span(*control));
    control_.assign(raw.begin(), raw.end());
    const auto parsed = ParseControl(control_, PhysAddr{loaded_.plan.control.start});
    if (!parsed) return Forward(parsed);
    Sort();
    if (auto done = FindPlaces(trouble); !done) return done;
    in_.hop = parsed->hop;
    in_.hop.granule_shift = static_cast<uint32_t>(std::countr_zero(granule_));
    in_.blob = parsed->blob;
    // What did not fit at the load is not tried again.
    in_.mmu = parsed->hop.mmu ? loaded_.mmu : MmuMode::kOff;
    auto plan = PlanAround(system_, plain_, in_, restless);
    if (!plan && plan.error().code == ExitCode::kNoContiguousMemory) {
      // What is in nobody's way may have to move all the same: kernel and initrd share a window.
      in_.keep = {};
      plan = PlanAround(system_, plain_, in_, restless);
    }
    if (!plan) return Forward(plan);
    return Carry(*plan);
  }

 private:
  std::array<const Part*, kParts> All() const {
    return {&parts_.kernel, &parts_.initrd, &parts_.dtb};
  }

  // Extents that hold payload, and those that do not, whose destination is where they are.
  void Sort() {
    const Ranges files = FileDestinations(parts_);
    for (const Extent& extent : arena_.extents()) {
      const PhysRange whole{extent.destination, extent.size};
      const Ranges payload = InBoth({&whole, 1}, files);
      for (const PhysRange& range : payload) extents_.push_back(Cut(extent, range));
      for (const PhysRange& range : Without({&whole, 1}, payload)) {
        Extent loose = Cut(extent, range);
        loose.destination = loose.address;
        in_.loose.push_back({loose.address, loose.size});
        loose_.push_back(loose);
      }
    }
    for (const Extent& extent : extents_) {
      in_.filled.push_back({extent.address, extent.destination, extent.size});
    }
    in_.loose = Joined(std::move(in_.loose));
    in_.owned = Addresses(arena_.extents());
  }

  static Extent Cut(const Extent& extent, PhysRange range) {
    const uint64_t into = range.start - extent.destination;
    return {extent.offset + into, range.size, extent.address + into, range.start, extent.segment};
  }

  Result<void> FindPlaces(const Ranges& trouble) {
    const report::Plan& plan = loaded_.plan;
    const auto text = system::ReadFile(system_, plan.dtb_source, 2 * devicetree::kMaxTreeSize);
    if (!text) {
      return FailErrno(ExitCode::kFileUnreadable, plan.dtb_source, text.error().value,
                       "load again");
    }
    const auto tree = devicetree::Tree::Parse(std::as_bytes(std::span(*text)), plan.dtb_source);
    if (!tree) return Forward(tree);
    const auto map = ReadUsableMemory(system_, *tree);
    if (!map) return Forward(map);
    const auto forbidden = ReadForbidden(*tree, ReadLpiTables(system_, *tree));
    if (!forbidden) return Forward(forbidden);
    const auto all = All();
    const Ranges around = BlocksAround(trouble);  // trouble is never owned
    in_.sizes = {.text_offset = plan.entry % system::kHugePageSize,
                 .image_size = parts_.kernel.whole.size,
                 .initrd_size = parts_.initrd.file.size,
                 .dtb_size = parts_.dtb.file.size,
                 .control_size = 0};
    in_.kernel_bytes = parts_.kernel.file.size;
    in_.granule = granule_;
    in_.ram_end = map->RamEnd();
    for (size_t i = 0; i < all.size(); ++i) {
      if (all[i]->whole.empty()) continue;
      in_.before[i] = all[i]->whole.start;
      in_.keep[i] = Without(InBoth({&all[i]->whole, 1}, around), in_.owned).empty();
    }
    plain_ = InBoth(system::Subtract(map->plain, *forbidden), {&loaded_.bounds, 1});
    return {};
  }

  // The memory first, then the state, then the kernel: whoever comes in between finds digests that
  // do not match, and refuses.
  Result<void> Carry(GatherPlan& plan) {
    const std::array<PhysAddr, kParts> now = {plan.placed.image, plan.placed.initrd,
                                              plan.placed.dtb};
    const auto moved = [&](PhysAddr before) {
      for (size_t i = 0; i < now.size(); ++i) {
        if (in_.before[i] && All()[i]->file.Contains(before)) {
          return now[i] + (before - *in_.before[i]);
        }
      }
      return before;
    };
    std::vector<Extent> extents;
    for (Extent extent : extents_) {
      extent.destination = moved(extent.destination);
      extents.push_back(extent);
    }
    AddLoose(extents);
    arena_.SetExtents(std::move(extents));
    Loaded next = loaded_;
    for (auto& segment : next.plan.segments) segment.start = moved({segment.start}).value;
    for (Verified& entry : next.verified) entry.start = moved({entry.start}).value;
    for (auto& segment : next.plan.segments) {
      if (segment.name == "stamp") segment.start = plan.placed.stamp.value;
    }
    std::ranges::sort(next.plan.segments, {}, &report::Segment::start);
    const std::span<std::byte> zero = arena_.At({plan.zero, granule_});
    memset(zero.data(), 0, zero.size());
    if (in_.before[kInitrdPart] && now[kInitrdPart] != *in_.before[kInitrdPart]) {
      if (auto told = TellTree(plan, next); !told) return told;
    }
    // The kernel has moved pages with its caches on.
    arena_.CleanToPoc();

    std::vector<handoff::VerifyRange> verify(in_.hop.verify.begin(), in_.hop.verify.end());
    for (handoff::VerifyRange& range : verify) range.start = moved({range.start}).value;
    plan::Hop hop = in_.hop;
    hop.verify = verify;
    hop.digests = digests_.empty() ? hop.digests : digests_;
    next.arena = arena_.record();
    next.stamp = plan.placed.stamp.value;
    next.plan.entry = plan.placed.image.value;
    next.plan.bytes_in_place = plan.bytes_in_place;
    next.plan.bytes_to_move = plan.bytes_to_move;
    const auto committed = CommitGathered(session_, in_, plan, std::move(next), hop, old_);
    if (!committed && !session_.committed() && !old_tree_.empty()) {
      // What is loaded still goes by it.
      WriteTo(arena_, plan.placed.dtb, old_tree_);
      arena_.CleanToPoc();
    }
    return committed;
  }

  // No two extents have one destination: what does not belong to the payload steps aside.
  void AddLoose(std::vector<Extent>& extents) const {
    Ranges taken;
    for (const Extent& extent : extents) taken.push_back({extent.destination, extent.size});
    taken = Joined(std::move(taken));
    for (const Extent& extent : loose_) {
      const PhysRange whole{extent.destination, extent.size};
      for (const PhysRange& range : Without({&whole, 1}, taken)) {
        extents.push_back(Cut(extent, range));
      }
      for (const PhysRange& range : InBoth({&whole, 1}, taken)) {
        Extent aside = Cut(extent, range);
        aside.destination = PhysAddr{kNowhere + range.start.value};
        extents.push_back(aside);
      }
    }
  }

  // The tree names the initrd, so it changes with its place; and so does its digest.
  Result<void> TellTree(const GatherPlan& plan, Loaded& next) {
    old_tree_.resize(in_.hop.dtb_size);
    ReadFrom(arena_, plan.placed.dtb, old_tree_);
    std::vector<std::byte> tree = old_tree_;
    const int chosen = fdt_path_offset(tree.data(), "/chosen");
    const auto set = [&](const char* name, uint64_t value) {
      return fdt_setprop_inplace_u64(tree.data(), chosen, name, value);
    };
    const auto initrd =
        std::ranges::find(next.plan.segments, std::string_view("initrd"), &report::Segment::name);
    if (fdt_check_header(tree.data()) != 0 || chosen < 0 ||
        set("linux,initrd-start", initrd->start) != 0 ||
        set("linux,initrd-end", initrd->start + initrd->size) != 0) {
      return Gone("its device tree has changed");
    }
    WriteTo(arena_, plan.placed.dtb, tree);
    PieceDigester digester(system_, arena_, loaded_.digest_kind);
    digester.Add({plan.placed.dtb, tree.size()});
    const Digests fresh = Digests::Of(digester, loaded_.digest_kind);
    if (fresh.bytes.empty()) return {};
    const uint32_t size = handoff::DigestSize(loaded_.digest_kind);
    digests_.assign(in_.hop.digests.begin(), in_.hop.digests.end());
    for (const handoff::VerifyRange& range : in_.hop.verify) {
      if (range.start != in_.before[kDtbPart]->value) continue;
      const uint64_t first = uint64_t{range.first_digest} * size;
      std::ranges::copy(fresh.bytes, digests_.begin() + static_cast<ptrdiff_t>(first));
    }
    for (Verified& entry : next.verified) {
      if (entry.start == plan.placed.dtb.value) entry = fresh.verified.front();
    }
    return {};
  }

  System& system_;
  Session& session_;
  Arena& arena_;
  const Session::Old old_;
  const Loaded loaded_;
  uint64_t granule_;
  Parts parts_;
  std::vector<std::byte> control_;
  std::vector<Extent> extents_;  // of the payload
  std::vector<Extent> loose_;
  std::vector<std::byte> digests_;
  std::vector<std::byte> old_tree_;  // where it had to change
  Ranges plain_;
  GatherInput in_;
};

}  // namespace

bool TakeSome(System& system, uint64_t most) {
  const uint64_t available = system::MemAvailable(system).value_or(0);
  return system.TakeMemory(AlignDown(std::min(available / 3, most), system.PageSize())).has_value();
}

Result<void> CheckTree(const Loaded& loaded, const Arena& arena) {
  const auto& segments = loaded.plan.segments;
  const auto dtb = std::ranges::find(segments, std::string_view("dtb"), &report::Segment::name);
  const auto initrd =
      std::ranges::find(segments, std::string_view("initrd"), &report::Segment::name);
  if (loaded.plan.route != "gather" || dtb == segments.end() || initrd == segments.end()) return {};
  std::vector<std::byte> bytes(dtb->size);
  ReadFrom(arena, PhysAddr{dtb->start}, bytes);
  const auto tree = devicetree::Tree::Parse(bytes, "the loaded device tree");
  const auto told = tree ? devicetree::ReadInitrd(*tree) : std::nullopt;
  if (told != PhysRange{PhysAddr{initrd->start}, initrd->size}) {
    return Gone("its device tree has changed");
  }
  return {};
}

Result<void> CheckContents(System& system, const Loaded& loaded, const Arena& arena) {
  if (const auto told = CheckTree(loaded, arena); !told) return told;
  PieceDigester digester(system, arena, loaded.digest_kind);
  for (const Verified& entry : loaded.verified) digester.Add({{entry.start}, entry.size});
  const auto now = digester.Finish();
  for (size_t i = 0; i < loaded.verified.size(); ++i) {
    const Verified& entry = loaded.verified[i];
    if (i >= now.size() ||
        !SameHex(now[i].digests, entry.digests, handoff::DigestSize(loaded.digest_kind))) {
      return Fail(ExitCode::kArenaGone, "the loaded kernel",
                  "its memory has changed at or after " + Hex(entry.start), "load it again");
    }
  }
  return {};
}

Result<void> CheckStillLoaded(System& system) {
  const auto in_kernel = system::KexecLoaded(system);
  if (!in_kernel) return Forward(in_kernel);
  if (!*in_kernel) {
    return Fail(ExitCode::kForeignImage, "the loaded kernel", "another tool has unloaded it",
                "load it again");
  }
  return {};
}

Result<Arena> AdoptLoaded(System& system, const Loaded& loaded, uint64_t* moved) {
  if (const auto still = CheckStillLoaded(system); !still) return Forward(still);
  auto arena = Arena::Adopt(system, loaded.arena, moved);
  if (arena && *moved != 0 && loaded.plan.route != "gather") {
    return Gone(std::to_string(*moved) + " pages of its memory have moved");
  }
  return arena;
}

Result<Ranges> FindTrouble(System& system, const Loaded& loaded, const Arena& arena,
                           system::Unflagged unflagged) {
  if (loaded.plan.route != "gather") return Ranges{};
  const auto busy = FindBusyDestinations(system, loaded, Addresses(arena.extents()), unflagged);
  if (!busy) return busy;
  // Who has those by now is not who had them at the load if they have a flag.
  const Ranges taken = InBoth(*busy, loaded.taken);
  const auto by_others = system::FindBusy(system, taken, system::Unflagged::kFreeOrKexecs);
  if (!by_others) return by_others;
  return Without(*busy, Without(taken, *by_others));
}

Result<Sound> MakeSound(System& system, Session& session, Planned planned,
                        const Progress& progress) {
  // A load has lost nothing if it dies between the two, and the kernel need not hold both.
  const auto old = planned == Planned::kJustNow ? Session::Old::kGoesFirst : Session::Old::kStays;
  Ranges restless;
  bool looked_twice = false;
  bool anew = false;
  for (int attempt = 0;; ++attempt) {
    const Loaded& loaded = *session.state().current;
    uint64_t moved = 0;
    auto arena = AdoptLoaded(system, loaded, &moved);
    if (!arena) return Forward(arena);
    // A page that has no flag since it was planned with is as good as those that the kernel takes
    // and gives back from now until the jump.
    const auto trouble = FindTrouble(
        system, loaded, *arena,
        planned == Planned::kBefore ? system::Unflagged::kBusy : system::Unflagged::kFree);
    if (!trouble) return Forward(trouble);
    if (moved == 0 && trouble->empty()) return Sound{*std::move(arena), anew};
    std::string what = std::to_string(moved) + " pages have moved, and " +
                       HumanBytes(TotalSize(*trouble)) + " of its destinations are in use";
    if (!trouble->empty()) what += " (from " + Hex(trouble->front().start.value) + " on)";
    // What is in the way may only wait on a CPU's list of free pages: then it is taken from there,
    // and the list filled from elsewhere, if it is one of those that processes get their pages of.
    if (moved == 0 && planned == Planned::kBefore && !looked_twice && TakeSome(system, kMore)) {
      progress(what + ": looking again");
      looked_twice = true;
      continue;
    }
    if (attempt == kTries) return Gone(what + " again and again");
    // Before anything changes: a plan that cannot be loaded would be the end of what is.
    if (const auto allowed = system::CheckLoadAllowed(system); !allowed) {
      return Fail(allowed.error().code, "the loaded kernel", what + ", so it needs a new load",
                  Reason(allowed.error()));
    }
    progress(what + ": planning anew");
    if (const auto contents = CheckContents(system, loaded, *arena); !contents) {
      return Forward(contents);
    }
    restless.insert(restless.end(), trouble->begin(), trouble->end());
    restless = BlocksAround(restless);
    const auto done = Replanner(system, session, *arena, old).Run(*trouble, restless);
    if (done) {
      anew = true;
      planned = Planned::kJustNow;
      continue;
    }
    if (done.error().code != ExitCode::kNoContiguousMemory) return Forward(done);
    // Here, too, it may only wait on a CPU's list.
    if (attempt + 1 == kTries || !TakeSome(system, kMore)) {
      return Fail(done.error().code, "the loaded kernel", what + ", and there is no other place",
                  "khop unload, then load it again");
    }
    progress("no other place: looking again");
  }
}

}  // namespace khop::load
