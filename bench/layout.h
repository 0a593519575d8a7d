// SPDX-License-Identifier: MIT
// Where everything of one case lies in the free memory, and what is built there: the pages, the
// page tables, Linux's list, khop's moves.
#pragma once

#include <cstdint>

#include "bench/loops.h"
#include "bench/payload.h"
#include "bench/platform.h"
#include "core/arm64/page_table_builder.h"
#include "core/handoff/handoff.h"

extern "C" {
// start.S, bench.ld. Hidden: the compiler would go through a table of addresses otherwise.
[[gnu::visibility("hidden")]] extern const char _start[];
[[gnu::visibility("hidden")]] extern const char bench_data[];
[[gnu::visibility("hidden")]] extern const char bench_end[];
}

namespace khop::bench {

using arm64::Access;
using arm64::Mapping;
using arm64::PageGeometry;
using arm64::PageTableBuilder;
using handoff::Move;

inline constexpr uint64_t kMiB = uint64_t{1} << 20;
inline constexpr uint64_t kBlock = 2 * kMiB;
inline constexpr uint64_t kPage = 4096;
// As the loader has them by default.
inline constexpr PageGeometry kGeometry = PageGeometry::Static(12, 48);
// Above any memory that the identity maps could need.
inline constexpr uint64_t kWindow = uint64_t{1} << 47;
inline constexpr uint64_t kPoison = 0x5a5a'5a5a'5a5a'5a5a;

template <typename T>
T* At(PhysAddr address) {
  return reinterpret_cast<T*>(address.value);
}
inline PhysAddr AddressOf(const void* pointer) { return {reinterpret_cast<uint64_t>(pointer)}; }
inline PhysRange Code() { return {AddressOf(_start), static_cast<uint64_t>(bench_data - _start)}; }
inline PhysRange Data() {
  return {AddressOf(bench_data), static_cast<uint64_t>(bench_end - bench_data)};
}
inline PhysAddr UpTo(PhysAddr address, uint64_t alignment) {
  return {AlignUp(address.value, alignment)};
}

[[noreturn]] inline void Fail(const char* what) {
  Print("FAIL ");
  Print(what);
  Print("\n");
  PowerOff(1);
}
template <typename T>
void Must(const T& result, const char* what) {
  if (!result) Fail(what);
}

// One case: where everything lies in the free memory.
struct Layout {
  uint64_t size, page;
  PhysAddr destination, sources, tables_end;
  PhysAddr moves, list, khop_tables, linear_tables;
  uint64_t end;  // first address not needed
};

inline Layout LayOut(PhysAddr start, uint64_t size, uint64_t page) {
  Layout layout = {};
  const uint64_t pages = size / kPage;
  const uint64_t tables = (pages / 512 + 16) * kPage;  // one granule per 2 MiB and some
  layout.size = size;
  layout.page = page;
  layout.destination = UpTo(start + kPage, kBlock);  // a guard page below, one above
  layout.sources = UpTo(layout.destination + size + kPage, kBlock);
  layout.moves = layout.sources + ScatteredPages(layout.sources, size, page).area_size();
  layout.list = UpTo(layout.moves + pages * sizeof(Move), kPage);
  layout.khop_tables = layout.list + (pages / 511 + 2) * kPage;
  layout.linear_tables = layout.khop_tables + tables;
  layout.tables_end = layout.linear_tables + 4 * tables;
  layout.end = layout.tables_end.value;
  return layout;
}

struct Tables {
  uint64_t root = 0;
  uint64_t bytes = 0;
};

class TableMaker {
 public:
  TableMaker(PhysAddr memory, uint64_t size)
      : builder_(*PageTableBuilder::Make(kGeometry, {At<uint64_t>(memory), size / 8}, memory)) {
    Map(Code(), Access::kExecute);
    Map(Data(), Access::kReadWrite);
  }
  void Map(PhysRange range, Access access) {
    Map({range.start.value}, range.start, range.size, access);
  }
  void Map(VirtAddr virt, PhysAddr phys, uint64_t size, Access access) {
    const Mapping mapping = {.virt = virt, .phys = phys, .size = size, .access = access};
    Must(builder_.Map(mapping), "the page tables cannot be built");
  }
  // As the kernel's linear map is with rodata=full: by page descriptors.
  void MapByPages(PhysRange range, Access access) {
    for (uint64_t done = 0; done < range.size; done += kPage) {
      Map({range.start + done, kPage}, access);
    }
  }
  Tables Done() const { return {builder_.root().value, builder_.pages_used() * kPage}; }

 private:
  PageTableBuilder builder_;
};

// The window through which the scattered pages are one range, and the destination; as the loader
// has it.
inline Tables MakeKhopTables(const Layout& layout, const ScatteredPages& pages) {
  TableMaker maker(layout.khop_tables, layout.linear_tables - layout.khop_tables);
  maker.Map({layout.destination, layout.size}, Access::kReadWrite);
  uint64_t virt = kWindow;
  for (uint64_t i = 0; i < pages.count(); virt += pages.size(i), ++i) {
    maker.Map({virt}, pages.at(i), pages.size(i), Access::kReadOnly);
  }
  return maker.Done();
}

inline Tables MakeLinearTables(const Layout& layout, const ScatteredPages& pages) {
  TableMaker maker(layout.linear_tables, layout.tables_end - layout.linear_tables);
  maker.MapByPages({layout.destination, layout.size}, Access::kReadWrite);
  for (uint64_t i = 0; i < pages.count(); ++i) {
    maker.MapByPages({pages.at(i), pages.size(i)}, Access::kReadWrite);
  }
  maker.MapByPages({layout.list, layout.khop_tables - layout.list}, Access::kReadOnly);
  return maker.Done();
}

// As the kernel builds it: a destination, then its pages; the last entry of a page leads on.
inline void MakeList(const Layout& layout, const ScatteredPages& pages) {
  auto* entry = At<uint64_t>(layout.list);
  const auto add = [&](PhysAddr page, uint64_t flag) {
    if ((reinterpret_cast<uint64_t>(entry) & (kPage - 1)) == kPage - 8) {
      uint64_t* const next = entry + 1;
      *entry = AddressOf(next).value | kListIndirection;
      entry = next;
    }
    *entry++ = page.value | flag;
  };
  add(layout.destination, kListDestination);
  for (uint64_t i = 0; i < pages.count(); ++i) {
    for (uint64_t done = 0; done < pages.size(i); done += kPage) {
      add(pages.at(i) + done, kListSource);
    }
  }
  add({0}, kListDone);
}

inline uint64_t MakeMoves(const Layout& layout, const ScatteredPages& pages) {
  auto* const moves = At<Move>(layout.moves);
  uint64_t done = 0;
  for (uint64_t i = 0; i < pages.count(); done += pages.size(i), ++i) {
    moves[i] = {.source = pages.at(i).value,
                .destination = layout.destination.value + done,
                .size = pages.size(i)};
  }
  return pages.count();
}

inline void FillPages(const ScatteredPages& pages, uint64_t page) {
  for (uint64_t i = 0; i < pages.count(); ++i) {
    auto* const words = At<uint64_t>(pages.at(i));
    for (uint64_t o = 0; o < pages.size(i); o += 8) words[o / 8] = PayloadWord(i * page + o);
  }
}

inline void Poison(PhysAddr start, uint64_t size) {
  auto* const words = At<uint64_t>(start);
  for (uint64_t i = 0; i < size / 8; i += 2) words[i] = words[i + 1] = kPoison;
}
inline bool IsPoison(PhysAddr start, uint64_t size) {
  const auto* const words = At<const uint64_t>(start);
  for (uint64_t i = 0; i < size / 8; ++i) {
    if (words[i] != kPoison) return false;
  }
  return true;
}
// Whether the payload arrived, and nothing beside it was written.
inline bool Arrived(const Layout& layout) {
  const auto* const words = At<const uint64_t>(layout.destination);
  for (uint64_t o = 0; o < layout.size; o += 8) {
    if (words[o / 8] != PayloadWord(o)) return false;
  }
  return IsPoison({layout.destination.value - kPage}, kPage) &&
         IsPoison(layout.destination + layout.size, kPage);
}

}  // namespace khop::bench
