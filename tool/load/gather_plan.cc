// SPDX-License-Identifier: MIT
#include "tool/load/gather_plan.h"

#include <algorithm>
#include <iterator>

#include "core/arm64/geometry.h"
#include "core/plan/moves.h"
#include "core/plan/placement.h"
#include "tool/load/gather_proof.h"
#include "tool/system/huge_pages.h"

namespace khop::load {
namespace {

using plan::Piece;
using system::kHugePageSize;

constexpr std::array<std::string_view, kParts> kNames = {"the kernel", "the initrd",
                                                         "the device tree"};

PhysRange PageAt(PhysAddr address, uint64_t granule) { return {address, granule}; }

std::vector<handoff::Range> ToHandoff(const Ranges& ranges) {
  std::vector<handoff::Range> out;
  for (const PhysRange& range : ranges) out.push_back({range.start.value, range.size});
  return out;
}

class Planner {
 public:
  explicit Planner(const GatherInput& input)
      : in_(input),
        granule_(input.granule),
        owned_(input.owned),
        loose_(input.filled.empty() ? Ranges() : input.loose),
        allowed_(input.allowed) {
    const auto& sizes = input.sizes;
    file_ = {AlignUp(input.kernel_bytes, granule_), AlignUp(sizes.initrd_size, granule_),
             AlignUp(sizes.dtb_size, granule_)};
    whole_ = file_;
    whole_[kKernelPart] = std::max(file_[kKernelPart], AlignUp(sizes.image_size, granule_));
    for (size_t i = 0; i < kParts; ++i) {
      if (in_.keep[i]) at_[i] = *in_.before[i];
    }
    // Address 0 is nothing, here and in the hand-off, and Linux takes no device tree there.
    const PhysRange zero{PhysAddr{0}, granule_};
    for (Ranges* const ranges : {&owned_, &loose_, &allowed_}) {
      *ranges = Without(*ranges, {&zero, 1});
    }
  }

  Result<GatherPlan> Run() {
    if (!IsAligned(in_.sizes.text_offset, granule_)) {
      return Fail(ExitCode::kNoRoute, "the kernel",
                  "its text_offset of " + Hex(in_.sizes.text_offset) + " is no multiple of a page",
                  "take --route in-place");
    }
    // The payload has the first choice; but all that is owned may lie at its destinations.
    Result<void> done = PlaceParts();
    if (done) done = PickServicePages();
    if (!done) {
      for (size_t i = 0; i < kParts; ++i) {
        if (!in_.keep[i]) at_[i] = {};
      }
      done = PickServicePages();
      if (done) done = PlaceParts();
    }
    if (!done) return Forward(done);
    if (in_.mmu != MmuMode::kOff) {
      done = LayOut(true);
      if (done) plan_.mmu_reason = in_.mmu == MmuMode::kOn ? "asked for" : "the page tables fit";
    }
    if (in_.mmu == MmuMode::kOff || (in_.mmu == MmuMode::kAuto && !done)) {
      plan_.mmu_reason = done ? "asked for" : "the page tables do not fit: " + done.error().message;
      done = LayOut(false);
    }
    if (!done) return Forward(done);
    if (auto proved = ProveGather(plan_, granule_); !proved) return Forward(proved);
    return std::move(plan_);
  }

 private:
  const Ranges& Loose() const { return in_.filled.empty() ? owned_ : loose_; }
  PhysRange Whole(size_t i) const { return {at_[i], whole_[i]}; }
  PhysRange File(size_t i) const { return {at_[i], file_[i]}; }
  Ranges KeptOrPlaced() const {
    Ranges ranges;
    for (size_t i = 0; i < kParts; ++i) {
      if (at_[i].value != 0) ranges.push_back(Whole(i));
    }
    return Joined(std::move(ranges));
  }

  // From the ends of the shortest runs, which are of the least use as blocks; outside of
  // everything, so that they are neither written early nor listed twice in the arena.
  Result<void> PickServicePages() {
    Ranges runs = Without(Loose(), KeptOrPlaced());
    std::ranges::sort(runs, [](const PhysRange& a, const PhysRange& b) {
      return a.size != b.size ? a.size < b.size : a.start > b.start;
    });
    std::vector<PhysAddr> pages;
    for (const PhysRange& run : runs) {
      for (uint64_t end = run.size; end >= granule_ && pages.size() < kServicePages;
           end -= granule_) {
        pages.push_back(run.start + (end - granule_));
      }
    }
    if (pages.size() < kServicePages) return NoPages();
    plan_.placed.stamp = pages[0];
    plan_.zero = pages[1];
    plan_.spare = pages[2];
    Ranges service;
    for (const PhysAddr page : pages) service.push_back(PageAt(page, granule_));
    service = Joined(std::move(service));
    owned_ = Without(owned_, service);
    loose_ = Without(loose_, service);
    allowed_ = Without(allowed_, service);
    return {};
  }

  static std::unexpected<Failure> NoPages() {
    return Fail(ExitCode::kNoMemory, "memory for the next kernel", "too few pages could be had",
                "free memory");
  }

  Result<void> PlaceParts() {
    std::array<size_t, kParts> order = {kKernelPart, kInitrdPart, kDtbPart};
    std::ranges::sort(order, [&](size_t a, size_t b) { return whole_[a] > whole_[b]; });
    std::vector<plan::Item> items;
    std::vector<size_t> parts;
    for (const size_t i : order) {
      if (whole_[i] == 0 || in_.keep[i]) continue;
      // Of what is filled nothing will be in place elsewhere.
      const uint64_t little = in_.filled.empty() ? whole_[i] / 8 : whole_[i];
      plan::Item item{.size = whole_[i],
                      .alignment = granule_,
                      .negligible = in_.prefer_low ? little : 0,
                      .windowed = i != kDtbPart};
      if (i == kKernelPart) {
        item.alignment = kHugePageSize;
        item.offset = in_.sizes.text_offset % kHugePageSize;
      } else if (i == kInitrdPart && whole_[i] >= kHugePageSize) {
        item.alignment = kHugePageSize;  // so that blocks map it
      } else if (i == kDtbPart) {
        item.boundary = kHugePageSize;  // booting.rst
      }
      items.push_back(item);
      parts.push_back(i);
    }
    if (items.empty()) return {};
    auto failed = Place(items, parts);
    if (failed) {
      // The initrd can do with less.
      for (size_t i = 0; i < items.size(); ++i) {
        if (parts[i] == kInitrdPart) items[i].alignment = granule_;
      }
      failed = Place(items, parts);
    }
    if (!failed) return {};
    const size_t part = parts[*failed];
    return Fail(ExitCode::kNoContiguousMemory, "memory for the next kernel",
                std::string(kNames[part]) + " needs " + HumanBytes(whole_[part]) +
                    " in one stretch that is free, a process's or khop's own, and there is none",
                "free memory, or load soon after boot");
  }

  // The number of the item for which there is no place; nothing on success.
  std::optional<size_t> Place(const std::vector<plan::Item>& items,
                              const std::vector<size_t>& parts) {
    const Ranges kept = KeptOrPlaced();
    Ranges allowed = Without(allowed_, kept);
    const Ranges owned = Without(owned_, kept);
    for (const size_t i : {kKernelPart, kInitrdPart}) {
      if (!in_.keep[i] || whole_[i] == 0) continue;
      // The other one has to come into a window with it.
      const plan::PlacementWindow window;
      const PhysRange around{PhysAddr{AlignDown(at_[i].value, window.alignment)}, window.size};
      allowed = InBoth(allowed, {&around, 1});
    }
    std::vector<uint64_t> sums(owned.size() + 1);
    std::vector<PhysAddr> found(items.size());
    const auto placed = plan::PlaceItems(items, {owned, allowed}, {}, sums, found);
    if (!placed) return placed.error().value < items.size() ? placed.error().value : 0;
    for (size_t i = 0; i < items.size(); ++i) at_[parts[i]] = found[i];
    return std::nullopt;
  }

  // Where the control area is depends on how large it is, that on the moves, and those on which
  // pages it takes away: until nothing changes.
  Result<void> LayOut(bool mmu) {
    const Ranges whole = KeptOrPlaced();
    plan_.placed.image = at_[kKernelPart];
    plan_.placed.initrd = at_[kInitrdPart];
    plan_.placed.dtb = at_[kDtbPart];
    plan_.placed.mmu = mmu;
    plan_.placed.control = {};
    for (int round = 0; round < 8; ++round) {
      if (auto done = MakePieces(); !done) return done;
      if (auto done = MakeMoves(plan_.placed); !done) return done;
      const auto layout = plan::LayOutControlArea(At(in_.hop, plan_.placed), in_.blob);
      if (!layout) return PlannerFailure(layout.error());
      if (layout->size <= plan_.placed.control.size) return {};
      // Some room, as taking the area's own pages away makes for more pieces.
      const uint64_t size = layout->size + granule_ + layout->size / 16;
      if (auto done = PlaceControl(whole, AlignUp(size, granule_)); !done) return done;
    }
    return Fail(ExitCode::kNoMemory, "the control area", "it does not come to rest", "free memory");
  }

  Result<void> PlaceControl(const Ranges& whole, uint64_t size) {
    Ranges allowed = Without(allowed_, whole);
    if (!in_.filled.empty()) {
      // Written before the moves read.
      Ranges sources;
      for (const Piece& piece : in_.filled) sources.push_back({piece.source, piece.size});
      allowed = Without(allowed, Joined(std::move(sources)));
    }
    const Ranges owned = Without(Loose(), whole);
    const plan::Item item{.size = size, .alignment = granule_};
    std::vector<uint64_t> sums(owned.size() + 1);
    PhysAddr found;
    const auto placed = plan::PlaceItems({&item, 1}, {owned, allowed}, {}, sums, {&found, 1});
    if (!placed) {
      return Fail(ExitCode::kNoMemory, "the control area",
                  "there is no stretch of " + HumanBytes(size) + " for it", "free memory");
    }
    plan_.placed.control = {found, size};
    return {};
  }

  Result<void> MakePieces() {
    const auto done = in_.filled.empty() ? Assign() : Translate();
    if (!done) return done;
    plan_.bytes_in_place = plan_.bytes_to_move = 0;
    for (const Piece& piece : plan_.pieces) {
      (piece.in_place() ? plan_.bytes_in_place : plan_.bytes_to_move) += piece.size;
    }
    // The kernel clears its BSS with caches on, but runs on a stack and page tables in the same
    // memory before that, with caches off: lines that a process left dirty there must not come back
    // over them. In khop's own pages there are none; the others are moved to, from one zero page.
    const PhysRange bss{at_[kKernelPart] + file_[kKernelPart],
                        whole_[kKernelPart] - file_[kKernelPart]};
    const Ranges foreign = Without({&bss, 1}, in_.owned);
    for (const PhysRange& range : foreign) {
      for (uint64_t at = 0; at < range.size; at += granule_) {
        plan_.order.push_back({plan_.zero, range.start + at, granule_});
      }
      plan_.bytes_to_move += range.size;
    }
    if (in_.filled.empty()) std::ranges::sort(plan_.order, {}, &Piece::destination);
    // Only what is written, verified or entered: nothing else is mapped.
    Ranges arena = {File(kKernelPart), File(kInitrdPart), File(kDtbPart),
                    PageAt(plan_.placed.stamp, granule_)};
    if (!foreign.empty()) arena[0] = Whole(kKernelPart);
    // Within a piece, as pieces that continue each other are one.
    const auto circles = [&](const Piece& piece) {
      return PhysRange{piece.destination, piece.size}.Contains(plan_.spare);
    };
    if (std::ranges::any_of(plan_.order, circles)) arena.push_back(PageAt(plan_.spare, granule_));
    plan_.placed.arena = ToHandoff(Joined(std::move(arena)));
    return {};
  }

  // At a load: pages are filled with what is best for them.
  Result<void> Assign() {
    const Ranges destinations = Joined({File(kKernelPart), File(kInitrdPart), File(kDtbPart)});
    Ranges spare = Without(Loose(), destinations);
    if (!plan_.placed.control.empty()) spare = Without(spare, {&plan_.placed.control, 1});
    const Ranges in_place = InBoth(owned_, destinations);
    const size_t ranges = destinations.size() + in_place.size() + spare.size();
    const uint64_t pages = TotalSize(destinations) / granule_;
    // What is always enough would count against the little memory that a load may take: from a
    // quarter of it upwards.
    plan_.placed.moves = std::vector<handoff::Move>();  // of the round before
    plan_.placed.window = std::vector<plan::WindowPiece>();
    plan_.order = std::vector<Piece>();
    for (uint64_t quarters = 1;; quarters *= 2) {
      std::vector<PhysRange> scratch(plan::kScratchPerRange * ranges * quarters / 4 + 64);
      plan_.pieces.resize(std::min(pages, ranges * quarters + 64));
      const auto used =
          plan::AssignPages(destinations, in_place, spare, granule_, scratch, plan_.pieces);
      if (used) {
        plan_.pieces.resize(*used);
        plan_.pieces.shrink_to_fit();
        const auto moved =
            std::ranges::count_if(plan_.pieces, [](const Piece& p) { return !p.in_place(); });
        const uint64_t bss = whole_[kKernelPart] - file_[kKernelPart];
        plan_.order.reserve(static_cast<size_t>(moved) + bss / granule_);
        std::ranges::copy_if(plan_.pieces, std::back_inserter(plan_.order),
                             [](const Piece& piece) { return !piece.in_place(); });
        return {};
      }
      if (used.error().code == ErrorCode::kOutOfRange) return NoPages();
      if (used.error().code != ErrorCode::kOutOfMemory ||
          (quarters >= 4 && plan_.pieces.size() == pages)) {
        return PlannerFailure(used.error());
      }
    }
  }

  // Later: the pages hold what they hold.
  Result<void> Translate() {
    plan_.pieces.clear();
    for (const Piece& piece : in_.filled) {
      Piece moved = piece;
      for (size_t i = 0; i < kParts; ++i) {
        if (!in_.before[i] || !PhysRange{*in_.before[i], file_[i]}.Contains(piece.destination)) {
          continue;
        }
        moved.destination = at_[i] + (piece.destination - *in_.before[i]);
        break;
      }
      plan_.pieces.push_back(moved);
    }
    // An order, found page by page, is for what goes where something lies, or lies where something
    // goes. The rest may come first.
    Ranges sources;
    Ranges destinations;
    for (const Piece& piece : plan_.pieces) {
      if (piece.in_place()) continue;
      sources.push_back({piece.source, piece.size});
      destinations.push_back({piece.destination, piece.size});
    }
    const Ranges both = InBoth(Joined(std::move(sources)), Joined(std::move(destinations)));
    std::vector<Piece> entangled;
    uint64_t pages = 0;
    plan_.order.clear();
    for (const Piece& piece : plan_.pieces) {
      if (piece.in_place()) continue;
      if (Touches(both, {piece.source, piece.size}) ||
          Touches(both, {piece.destination, piece.size})) {
        entangled.push_back(piece);
        pages += piece.size / granule_;
      } else {
        plan_.order.push_back(piece);
      }
    }
    std::ranges::sort(plan_.order, {}, &Piece::destination);
    std::vector<Piece> scratch(2 * pages);
    std::vector<Piece> ordered(pages + pages / 2);
    const auto used =
        plan::OrderMoves(entangled, granule_, PageAt(plan_.spare, granule_), scratch, ordered);
    if (!used) return PlannerFailure(used.error());
    ordered.resize(*used);
    plan_.order.insert(plan_.order.end(), ordered.begin(), ordered.end());
    return {};
  }

 public:
  Result<void> MakeMoves(Placed& placed) const {
    const auto geometry = arm64::PageGeometry::Make(in_.hop.granule_shift, in_.hop.va_bits);
    if (!geometry) return PlannerFailure(geometry.error());
    // Beyond everything that is mapped to itself, the control area included.
    const uint64_t above = std::max(in_.ram_end, placed.control.end().value);
    placed.moves.resize(plan_.order.size());
    placed.window.resize(placed.mmu ? plan_.order.size() : 0);
    const auto made = plan::LayOutMoves(plan_.order, placed.mmu ? &*geometry : nullptr, above,
                                        placed.moves, placed.window);
    if (!made) return PlannerFailure(made.error());
    placed.moves.resize(made->moves);
    placed.moves.shrink_to_fit();
    placed.window.resize(made->windows);
    placed.window.shrink_to_fit();
    return {};
  }
  void Resume(const GatherPlan& plan) { plan_ = plan; }

 private:
  const GatherInput& in_;
  uint64_t granule_;
  Ranges owned_;
  Ranges loose_;
  Ranges allowed_;
  std::array<uint64_t, kParts> file_;
  std::array<uint64_t, kParts> whole_;
  std::array<PhysAddr, kParts> at_ = {};  // 0: it has no place yet
  GatherPlan plan_;
};

}  // namespace

uint64_t GatherNeed(const PayloadSizes& sizes, uint64_t kernel_bytes, uint64_t granule) {
  const uint64_t payload = AlignUp(kernel_bytes, granule) + AlignUp(sizes.initrd_size, granule) +
                           AlignUp(sizes.dtb_size, granule);
  // Tables for pages that are all scattered, 8 bytes each, and a move (24 bytes) for every other.
  const uint64_t scattered = payload / granule * (8 + 12);
  const uint64_t control = AlignUp(sizes.control_size + scattered * 17 / 16, granule) + 2 * granule;
  return payload + control + kServicePages * granule;
}

Result<GatherPlan> PlanGather(const GatherInput& input) { return Planner(input).Run(); }

Result<Placed> WithoutMmu(const GatherInput& input, const GatherPlan& plan) {
  Planner planner(input);
  planner.Resume(plan);
  Placed placed = plan.placed;
  placed.mmu = false;
  if (auto made = planner.MakeMoves(placed); !made) return Forward(made);
  const auto layout = plan::LayOutControlArea(At(input.hop, placed), input.blob);
  if (!layout) return PlannerFailure(layout.error());
  if (layout->size >= placed.control.size) {
    return Fail(ExitCode::kNoMemory, "the control area", "it is no smaller with the MMU off",
                "free memory");
  }
  placed.control.size = layout->size;
  return placed;
}

}  // namespace khop::load
