// SPDX-License-Identifier: MIT
// The fake twin of instructions.h: the same functions, acting on fake::Machine. Included by
// instructions.h only.
#pragma once

#include <cstring>

#include "core/arm64/fake/machine.h"
#include "core/arm64/fake/mmio.h"

namespace khop::arm64 {

inline void DsbSy() { fake::Machine::Current().DsbSy(); }
inline void Isb() { fake::Machine::Current().Isb(); }

inline uint64_t ReadCurrentEl() { return fake::Machine::Current().ReadCurrentEl(); }
inline uint64_t ReadHcrEl2() { return fake::Machine::Current().ReadHcrEl2(); }
inline uint64_t ReadCtrEl0() {
  const uint64_t words = fake::Machine::Current().config().line_size / 4;
  return static_cast<uint64_t>(__builtin_ctzll(words)) << CtrEl0::DMIN_LINE::kShift;
}
inline uint64_t ReadDczidEl0() { return fake::Machine::Current().config().dczid; }
inline uint64_t ReadCntfrqEl0() { return 62'500'000; }
inline uint64_t ReadIdAa64mmfr0El1() { return fake::Machine::Current().config().id_aa64mmfr0; }
inline uint64_t ReadIdAa64mmfr3El1() { return fake::Machine::Current().config().id_aa64mmfr3; }
inline uint64_t ReadIdAa64pfr0El1() { return fake::Machine::Current().config().id_aa64pfr0; }
inline uint64_t ReadIdAa64isar0El1() { return fake::Machine::Current().config().id_aa64isar0; }
inline uint64_t ReadCntvct() { return fake::Machine::Current().ReadCntvct(); }

template <Regime kRegime>
uint64_t ReadSctlr() {
  return fake::Machine::Current().ReadSctlr(kRegime);
}
template <Regime kRegime>
void WriteSctlr(uint64_t value) {
  fake::Machine::Current().WriteRegister(fake::Operation::kWriteSctlr, kRegime, value);
}
template <Regime kRegime>
void WriteTtbr0(uint64_t value) {
  fake::Machine::Current().WriteRegister(fake::Operation::kWriteTtbr0, kRegime, value);
}
template <Regime kRegime>
void WriteTcr(uint64_t value) {
  fake::Machine::Current().WriteRegister(fake::Operation::kWriteTcr, kRegime, value);
}
template <Regime kRegime>
void WriteMair(uint64_t value) {
  fake::Machine::Current().WriteRegister(fake::Operation::kWriteMair, kRegime, value);
}
template <Regime kRegime>
void WriteTcr2(uint64_t value) {
  fake::Machine::Current().WriteRegister(fake::Operation::kWriteTcr2, kRegime, value);
}
template <Regime kRegime>
uint64_t ReadFpTrap() {
  return kRegime == Regime::kEl2 ? CptrEl2::TFP::kMask : 0;
}
template <Regime kRegime>
void WriteFpTrap(uint64_t value) {
  fake::Machine::Current().WriteRegister(fake::Operation::kWriteFpTrap, kRegime, value);
}
template <Regime kRegime>
void TlbiAll() {
  fake::Machine::Current().TlbiAll(kRegime);
}

inline void DcCvac(uint64_t address) {
  fake::Machine::Current().DataCache(fake::Operation::kDcCvac, address);
}
inline void DcCivac(uint64_t address) {
  fake::Machine::Current().DataCache(fake::Operation::kDcCivac, address);
}
inline void DcIvac(uint64_t address) {
  fake::Machine::Current().DataCache(fake::Operation::kDcIvac, address);
}
inline void DcZva(uint64_t address) { fake::Machine::Current().DcZva(address); }
template <unsigned kAhead>
void PrefetchOnce(uint64_t) {}

struct GeneralLine {
  uint64_t words[8];
};
inline GeneralLine LoadGeneralLine(uint64_t& from) {
  GeneralLine line;
  memcpy(&line, reinterpret_cast<const void*>(from), sizeof(line));
  from += sizeof(line);
  return line;
}
inline void StoreGeneralLine(const GeneralLine& line, uint64_t& to) {
  memcpy(reinterpret_cast<void*>(to), &line, sizeof(line));
  to += sizeof(line);
  fake::Machine::Current().LineStored();
}
template <unsigned kIndex>
void LoadVectorLine(uint64_t& from) {
  memcpy(fake::Machine::Current().VectorLine(kIndex), reinterpret_cast<const void*>(from), 64);
  from += 64;
}
template <unsigned kIndex>
void StoreVectorLine(uint64_t& to) {
  memcpy(reinterpret_cast<void*>(to), fake::Machine::Current().VectorLine(kIndex), 64);
  to += 64;
  fake::Machine::Current().LineStored();
}

inline void IcIallu() { fake::Machine::Current().IcIallu(); }

inline uint32_t MmioRead32(uint64_t address) {
  return fake::MmioDevice::Current().Read(address, 4);
}
inline uint32_t MmioRead16(uint64_t address) {
  return fake::MmioDevice::Current().Read(address, 2);
}
inline uint32_t MmioRead8(uint64_t address) { return fake::MmioDevice::Current().Read(address, 1); }
inline void MmioWrite32(uint64_t address, uint32_t value) {
  fake::MmioDevice::Current().Write(address, 4, value);
}
inline void MmioWrite16(uint64_t address, uint32_t value) {
  fake::MmioDevice::Current().Write(address, 2, value);
}
inline void MmioWrite8(uint64_t address, uint32_t value) {
  fake::MmioDevice::Current().Write(address, 1, value);
}

}  // namespace khop::arm64
