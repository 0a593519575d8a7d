// SPDX-License-Identifier: MIT
// Stage 1 translation table descriptors, VMSAv8-64, 48-bit output addresses (Arm ARM D8.3).
//
// One encoding for three regimes
// ------------------------------
// The tables are built in user space, which cannot know the exception level that the relocator
// will run at, so one encoding has to mean the same in EL1&0, EL2&0 (VHE) and EL2 (single
// privilege level). The bits in question:
//
// - AP[1] (bit 6) allows EL0 access in EL1&0 and EL2&0; in EL2 it is RES1 and not looked at. It is
//   0 here. Set, it would satisfy RES1, but make every page an EL0 page in the other two regimes:
//   with PSTATE.PAN set, as Linux leaves it, every load and store of the relocator would fault.
//   Clear, it costs nothing: in a regime with a single privilege level the walk takes AP[1] as 1
//   and PXN and nG as 0 whatever the descriptor holds (Arm ARM J1, AArch64.S1DirectBasePermissions
//   and, before it, AArch64.TranslationTableWalk: "PXN, nG and AP[1] apply only in EL1&0 or
//   EL2&0").
// - Bit 54 is UXN in EL1&0 and EL2&0, and XN in EL2; bit 53 is PXN in EL1&0 and EL2&0, and RES0
//   and not looked at in EL2. Both bits always have the same value here. So data is executable
//   nowhere and code is executable at the relocator's level in each regime. (Code is then
//   executable at EL0 too, where nothing runs. It is not *readable* there, but for FEAT_PAN3 that
//   makes it a user page: SCTLR_ELx.EPAN must be 0, which SctlrMmuOn() takes care of.) Equal bits
//   are also right under nested virtualization (HCR_EL2.{NV,NV1} = {1,1}), where bit 54 is PXN.
// - nG is 0: global in EL1&0 and EL2&0, so that no ASID matters; RES0 in EL2.
// - Privileged code is never write-and-execute, so SCTLR_ELx.WXN makes no difference.
#pragma once

#include <cstdint>

#include "core/arm64/bit_field.h"
#include "core/arm64/geometry.h"
#include "core/base/addr.h"

namespace khop::arm64 {

// What may be done with mapped memory at the relocator's exception level.
enum class Access : uint8_t { kReadOnly, kReadWrite, kExecute /* and read, not write */ };

// The memory types in use. The values are the AttrIndx values: MAIR_ELx is kMair (registers.h).
enum class MemoryType : uint8_t {
  kNormal = 0,  // Write-Back, read and write allocate, Inner Shareable
  kDevice = 1,  // Device-nGnRE
  kNormalNonCacheable = 2,
};

// A descriptor's physical address: bits 47 to granule_shift. The lower ones hold attributes.
inline constexpr uint64_t kDescriptorAddressMask = (uint64_t{1} << kOutputAddressBits) - 4096;

// An entry of any level whose kind is not yet known. 0 is an invalid entry.
struct Descriptor : Bits<Descriptor> {
  using VALID = Field<0>;
  using TABLE_OR_PAGE = Field<1>;  // at levels 0 to 2: 1 table, 0 block; at level 3: 1 page

  constexpr bool valid() const { return Get<VALID>() != 0; }
  constexpr bool is_table(int level) const {
    return level < PageGeometry::kLastLevel && (raw & 3) == 3;
  }
};

// Points to the table of the next level. APTable, UXNTable, PXNTable and NSTable are 0: they
// restrict nothing.
struct TableDescriptor : Bits<TableDescriptor> {
  using NS_TABLE = Field<63>;
  using AP_TABLE = Field<62, 61>;
  using UXN_TABLE = Field<60>;
  using PXN_TABLE = Field<59>;

  // `table` is aligned to the granule and below 2^48.
  static constexpr TableDescriptor To(PhysAddr table) {
    return FromRaw((table.value & kDescriptorAddressMask) | 3);
  }
  constexpr PhysAddr table() const { return {raw & kDescriptorAddressMask}; }
};

// A block (levels 1 and 2) or a page (level 3).
struct LeafDescriptor : Bits<LeafDescriptor> {
  using ATTR_INDX = Field<4, 2>;
  using NS = Field<5>;
  using AP1 = Field<6>;  // EL0 may access; see above
  using AP2 = Field<7>;  // read-only
  using SH = Field<9, 8>;
  using AF = Field<10>;
  using NG = Field<11>;
  using DBM = Field<51>;
  using CONTIGUOUS = Field<52>;
  using PXN = Field<53>;
  using UXN = Field<54>;  // XN in the EL2 regime

  static constexpr uint64_t kInnerShareable = 3;

  // `pa` is aligned to what an entry of `level` maps, and below 2^48.
  static constexpr LeafDescriptor To(int level, PhysAddr pa, Access access, MemoryType type) {
    const uint64_t never_execute = access == Access::kExecute ? 0 : 1;
    return FromRaw((pa.value & kDescriptorAddressMask) |
                   (level == PageGeometry::kLastLevel ? 3U : 1U))
        .With<ATTR_INDX>(static_cast<uint64_t>(type))
        .With<AP2>(access == Access::kReadWrite ? 0 : 1)
        .With<SH>(kInnerShareable)
        // Set, as there is nobody to take an Access flag fault.
        .With<AF>(1)
        .With<PXN>(never_execute)
        .With<UXN>(never_execute);
  }
  constexpr PhysAddr output() const { return {raw & kDescriptorAddressMask}; }
};

static_assert(sizeof(Descriptor) == 8 && sizeof(TableDescriptor) == 8);
static_assert(sizeof(LeafDescriptor) == 8);

}  // namespace khop::arm64
