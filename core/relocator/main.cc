// SPDX-License-Identifier: MIT
// Between entry.S and the hop: finds out where it runs and at which exception level.
#include <cstdint>

#include "core/arm64/instructions.h"
#include "core/arm64/regime.h"
#include "core/relocator/blob.h"
#include "core/relocator/cache.h"
#include "core/relocator/hop.h"
#include "core/relocator/last_words.h"

// entry.S
extern "C" [[noreturn]] void KhopJump(uint64_t entry, uint64_t dtb, uint64_t sctlr);
extern "C" [[noreturn]] void KhopFail(uint64_t code, uint64_t value, uint64_t elr, uint64_t far);

// entry.S has it as a number.
static_assert(static_cast<uint32_t>(khop::FailureCode::kException) == 29);

namespace khop::relocator {
namespace {

template <arm64::Regime kRegime>
[[noreturn]] void RunAndLeave(const Placement& placement, uint64_t entry_ticks) {
  Jump jump;
  const HopFailure failure = RunHop<kRegime>(placement, entry_ticks, &jump);
  if (!failure.ok()) KhopFail(static_cast<uint64_t>(failure.code), failure.value, 0, 0);
  KhopJump(jump.entry, jump.dtb, jump.sctlr);
}

}  // namespace
}  // namespace khop::relocator

// Called by entry.S on the stack that `header` names, with the MMU off.
extern "C" [[noreturn]] void KhopMain(const khop::relocator::BlobHeader* header,
                                      uint64_t entry_ticks) {
  using khop::PhysAddr;
  using khop::arm64::Regime;
  const auto base = PhysAddr{reinterpret_cast<uint64_t>(header)};
  const auto& parameters = header->parameters;
  if (parameters.stack_size < khop::relocator::kMinStackSize) {
    KhopFail(static_cast<uint64_t>(khop::FailureCode::kStack), parameters.stack_size, 0, 0);
  }
  const khop::relocator::Placement placement = {
      .blob = {base, header->size},
      .stack = {base + parameters.stack_offset, parameters.stack_size},
      .handoff = base + parameters.handoff_offset,
  };
  const auto current_el = khop::arm64::CurrentEl::FromRaw(khop::arm64::ReadCurrentEl());
  const bool at_el2 = current_el.Get<khop::arm64::CurrentEl::EL>() == 2;
  const auto hcr = khop::arm64::HcrEl2::FromRaw(at_el2 ? khop::arm64::ReadHcrEl2() : 0);
  switch (khop::arm64::RegimeOf(current_el, hcr)) {
    case Regime::kEl1:
      khop::relocator::RunAndLeave<Regime::kEl1>(placement, entry_ticks);
    case Regime::kEl2:
      khop::relocator::RunAndLeave<Regime::kEl2>(placement, entry_ticks);
    case Regime::kEl2Host:
      khop::relocator::RunAndLeave<Regime::kEl2Host>(placement, entry_ticks);
  }
  __builtin_unreachable();
}

// Called by KhopFail with the MMU off on a fresh stack; returns the conduit for the reset.
extern "C" uint64_t KhopLastWords(const khop::relocator::BlobHeader* header, uint64_t code,
                                  uint64_t value, uint64_t elr, uint64_t far) {
  using khop::relocator::LastWordsCheck;
  const auto& words = header->parameters.last_words;
  // The running kernel may have had the record's memory in its caches.
  if (words.check == LastWordsCheck(words)) {
    const auto ctr = khop::arm64::CtrEl0::FromRaw(khop::arm64::ReadCtrEl0());
    khop::relocator::ForEachLine<khop::arm64::DcCivac>(words.record_base, words.record_size,
                                                       ctr.dcache_line_size());
    khop::arm64::DsbSy();
  }
  khop::relocator::LeaveLastWords(words, {static_cast<khop::FailureCode>(code), value},
                                  {.elr = elr, .far = far});
  return words.check == LastWordsCheck(words) ? static_cast<uint64_t>(words.conduit) : 0;
}
