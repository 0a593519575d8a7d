// SPDX-License-Identifier: MIT
// Reads translation tables the way the hardware does, to check what the builder made: for tests on
// the host, against the fake machine, and bare metal on the live TTBR0_ELx. Written from the Arm
// ARM (D8.2 "Translation process", D8.3 "Translation table descriptor formats", J1 AArch64.S1Walk)
// on purpose without a line of the builder's types, so that a mistake made there is not made here
// again. Nothing but tests includes it.
#pragma once

#include <cstdint>
#include <expected>

namespace khop::arm64 {

struct WalkAttributes {
  unsigned attr_index;
  unsigned ap;  // AP[2:1], with APTable of the tables passed applied
  unsigned sh;
  bool af;
  bool ng;
  bool contiguous;
  bool pxn;  // with PXNTable applied
  bool uxn;  // with UXNTable applied
  friend bool operator==(const WalkAttributes&, const WalkAttributes&) = default;
};

struct WalkLeaf {
  uint64_t va;  // of the first byte that this entry maps
  uint64_t pa;
  uint64_t size;
  int level;
  uint64_t descriptor;
  WalkAttributes attributes;
};

struct WalkFault {
  enum class Kind : uint8_t {
    kTranslation,  // no valid entry, or the address is beyond the VA size
    kReserved,     // an encoding that the architecture reserves, or RES0 bits that are set
  };
  Kind kind;
  int level;
  uint64_t va;
  uint64_t descriptor;
};

// `Read` is uint64_t(uint64_t pa): the 8 bytes at a physical address, of a table.
template <class Read>
class PageTableWalker {
 public:
  // `granule_shift` 12, 14 or 16; `va_bits` = 64 - T0SZ, at most 48; `root` = TTBR0_ELx.BADDR.
  PageTableWalker(Read read, uint64_t root, unsigned granule_shift, unsigned va_bits)
      : read_(read), root_(root), granule_(granule_shift), va_bits_(va_bits) {}

  // The entry that translates `va`.
  std::expected<WalkLeaf, WalkFault> Translate(uint64_t va) {
    if (va >> va_bits_ != 0) {
      return std::unexpected(WalkFault{WalkFault::Kind::kTranslation, FirstLevel(), va, 0});
    }
    uint64_t table = root_;
    Inherited inherited{};
    unsigned top = va_bits_;  // address bits not yet resolved
    for (int level = FirstLevel();; ++level) {
      const unsigned bottom = granule_ + (granule_ - 3) * static_cast<unsigned>(3 - level);
      const uint64_t index = (va & OnesBelow(top)) >> bottom;
      const uint64_t descriptor = read_(table + index * 8);
      const uint64_t entry_va = va & ~OnesBelow(bottom);
      switch (Classify(level, bottom, descriptor)) {
        case Kind::kInvalid:
          return Fault(WalkFault::Kind::kTranslation, level, entry_va, descriptor);
        case Kind::kBad:
          return Fault(WalkFault::Kind::kReserved, level, entry_va, descriptor);
        case Kind::kLeaf:
          return MakeLeaf(level, bottom, entry_va, descriptor, inherited);
        case Kind::kTable:
          inherited = Inherit(inherited, descriptor);
          table = Address(descriptor);
          top = bottom;
          break;
      }
    }
  }

  // Calls `leaf(const WalkLeaf&)` for every valid block or page in ascending order of address, one
  // call per entry. Stops at the first entry that the architecture does not allow.
  template <class Leaf>
  std::expected<void, WalkFault> ForEachLeaf(Leaf&& leaf) {
    return ForEachEntry([](int, uint64_t, uint64_t) {}, leaf);
  }

  // As ForEachLeaf(), and calls `table(int level, uint64_t va, uint64_t pa)` for each table, the
  // first one included, before its entries.
  template <class Table, class Leaf>
  std::expected<void, WalkFault> ForEachEntry(Table&& table, Leaf&& leaf) {
    return WalkTable(root_, FirstLevel(), va_bits_, 0, Inherited{}, table, leaf);
  }

 private:
  enum class Kind : uint8_t { kInvalid, kTable, kLeaf, kBad };
  struct Inherited {
    bool no_el0;
    bool read_only;
    bool pxn;
    bool uxn;
  };

  static constexpr uint64_t OnesBelow(unsigned bit) { return (uint64_t{1} << bit) - 1; }

  // "The number of levels is the number of times that granule - 3 bits are needed to resolve the
  // bits above the page offset", counted back from level 3.
  int FirstLevel() const {
    int level = 4;
    for (unsigned resolved = granule_; resolved < va_bits_; resolved += granule_ - 3) {
      --level;
    }
    return level;
  }

  uint64_t Address(uint64_t descriptor) const {
    return descriptor & 0x0000'ffff'ffff'ffff & ~OnesBelow(granule_);
  }

  Kind Classify(int level, unsigned bottom, uint64_t descriptor) const {
    if ((descriptor & 1) == 0) {
      return Kind::kInvalid;
    }
    const bool bit1 = (descriptor >> 1 & 1) != 0;
    if (level < 3 && bit1) {
      // Bits 50:48 and those between 11 and the address are RES0; 58:51 and 11:2 are ignored.
      const bool reserved =
          (descriptor >> 48 & 7) != 0 || (descriptor & OnesBelow(granule_) & ~uint64_t{0xfff}) != 0;
      return reserved ? Kind::kBad : Kind::kTable;
    }
    if (level == 3) {
      if (!bit1) {
        return Kind::kBad;
      }
    } else {
      const bool block_allowed = granule_ == 12 ? level == 1 || level == 2 : level == 2;
      if (!block_allowed) {
        return Kind::kBad;
      }
    }
    // Between the attributes (bits 11:2) and the address, and bits 50:48: RES0 here (nT, GP and
    // wide addresses are not used).
    const bool reserved =
        (descriptor & OnesBelow(bottom) & ~uint64_t{0xfff}) != 0 || (descriptor >> 48 & 7) != 0;
    return reserved ? Kind::kBad : Kind::kLeaf;
  }

  static Inherited Inherit(Inherited from, uint64_t descriptor) {
    from.pxn = from.pxn || (descriptor >> 59 & 1) != 0;
    from.uxn = from.uxn || (descriptor >> 60 & 1) != 0;
    from.no_el0 = from.no_el0 || (descriptor >> 61 & 1) != 0;
    from.read_only = from.read_only || (descriptor >> 62 & 1) != 0;
    return from;
  }

  WalkLeaf MakeLeaf(int level, unsigned bottom, uint64_t va, uint64_t descriptor,
                    Inherited inherited) const {
    unsigned ap = static_cast<unsigned>(descriptor >> 6 & 3);
    if (inherited.no_el0) {
      ap &= 2;
    }
    if (inherited.read_only) {
      ap |= 2;
    }
    return {.va = va,
            .pa = descriptor & 0x0000'ffff'ffff'ffff & ~OnesBelow(bottom),
            .size = uint64_t{1} << bottom,
            .level = level,
            .descriptor = descriptor,
            .attributes = {.attr_index = static_cast<unsigned>(descriptor >> 2 & 7),
                           .ap = ap,
                           .sh = static_cast<unsigned>(descriptor >> 8 & 3),
                           .af = (descriptor >> 10 & 1) != 0,
                           .ng = (descriptor >> 11 & 1) != 0,
                           .contiguous = (descriptor >> 52 & 1) != 0,
                           .pxn = inherited.pxn || (descriptor >> 53 & 1) != 0,
                           .uxn = inherited.uxn || (descriptor >> 54 & 1) != 0}};
  }

  static std::unexpected<WalkFault> Fault(WalkFault::Kind kind, int level, uint64_t va,
                                          uint64_t descriptor) {
    return std::unexpected(WalkFault{kind, level, va, descriptor});
  }

  template <class Table, class Leaf>
  std::expected<void, WalkFault> WalkTable(uint64_t table_pa, int level, unsigned top,
                                           uint64_t table_va, Inherited inherited, Table& table,
                                           Leaf& leaf) {
    table(level, table_va, table_pa);
    const unsigned bottom = granule_ + (granule_ - 3) * static_cast<unsigned>(3 - level);
    for (uint64_t index = 0; index < uint64_t{1} << (top - bottom); ++index) {
      const uint64_t descriptor = read_(table_pa + index * 8);
      const uint64_t va = table_va + (index << bottom);
      switch (Classify(level, bottom, descriptor)) {
        case Kind::kInvalid:
          break;
        case Kind::kBad:
          return Fault(WalkFault::Kind::kReserved, level, va, descriptor);
        case Kind::kLeaf:
          leaf(MakeLeaf(level, bottom, va, descriptor, inherited));
          break;
        case Kind::kTable: {
          auto below = WalkTable(Address(descriptor), level + 1, bottom, va,
                                 Inherit(inherited, descriptor), table, leaf);
          if (!below) {
            return below;
          }
          break;
        }
      }
    }
    return {};
  }

  Read read_;
  uint64_t root_;
  unsigned granule_;
  unsigned va_bits_;
};

}  // namespace khop::arm64
