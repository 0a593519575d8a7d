// SPDX-License-Identifier: MIT
#include "core/relocator/cache.h"
#include "module/relocation.h"

void khop_clean(const void* memory, size_t size, uint32_t line) {
  khop::relocator::ForEachLine<khop::arm64::DcCivac>(reinterpret_cast<uint64_t>(memory), size,
                                                     uint64_t{line});
}
