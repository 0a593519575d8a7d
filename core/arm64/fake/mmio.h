// SPDX-License-Identifier: MIT
// Device registers of the modelled machine: what MmioRead32() and its like reach.
#pragma once

#include <cassert>
#include <cstdint>

namespace khop::arm64::fake {

class MmioDevice {
 public:
  // From here on all accesses are this device's.
  MmioDevice() { Slot() = this; }
  MmioDevice(const MmioDevice&) = delete;
  MmioDevice& operator=(const MmioDevice&) = delete;
  virtual ~MmioDevice() { Slot() = nullptr; }

  // `size`: bytes of the access, 1, 2 or 4.
  virtual uint32_t Read(uint64_t address, unsigned size) = 0;
  virtual void Write(uint64_t address, unsigned size, uint32_t value) = 0;

  static MmioDevice& Current() {
    assert(Slot() != nullptr);
    return *Slot();
  }

 private:
  static MmioDevice*& Slot() {
    static MmioDevice* device = nullptr;
    return device;
  }
};

}  // namespace khop::arm64::fake
