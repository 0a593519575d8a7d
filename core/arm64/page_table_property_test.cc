// SPDX-License-Identifier: MIT
// Random mappings over all geometries: the walker finds exactly what was mapped.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <vector>

#include "core/arm64/page_table_builder.h"
#include "core/arm64/page_table_walker.h"

namespace khop::arm64 {
namespace {

constexpr uint64_t kGarbage = 0x5a5a'5a5a'5a5a'5a5b;

// A run of addresses that translates linearly with the same attributes.
struct Extent {
  uint64_t va;
  uint64_t pa;
  uint64_t size;
  unsigned attr_index;
  unsigned ap;
  bool execute;
  friend bool operator==(const Extent&, const Extent&) = default;
};

std::ostream& operator<<(std::ostream& os, const Extent& e) {
  return os << std::hex << e.va << "->" << e.pa << "+" << e.size << std::dec << " attr "
            << e.attr_index << " ap " << e.ap << " x " << e.execute;
}

void Append(std::vector<Extent>& extents, const Extent& next) {
  if (!extents.empty()) {
    Extent& last = extents.back();
    if (last.va + last.size == next.va && last.pa + last.size == next.pa &&
        last.attr_index == next.attr_index && last.ap == next.ap && last.execute == next.execute) {
      last.size += next.size;
      return;
    }
  }
  extents.push_back(next);
}

Extent ExtentOf(const Mapping& m) {
  return {.va = m.virt.value,
          .pa = m.phys.value,
          .size = m.size,
          .attr_index = static_cast<unsigned>(m.type),
          .ap = m.access == Access::kReadWrite ? 0U : 2U,
          .execute = m.access == Access::kExecute};
}

// Entries that the Contiguous bit joins: Arm ARM D8.7.1, by granule and size of an entry.
uint64_t GroupOf(uint64_t entry_size) {
  switch (entry_size) {
    case uint64_t{4} << 10:
    case uint64_t{2} << 20:
    case uint64_t{1} << 30:
      return 16;
    case uint64_t{16} << 10:
      return 128;
    case uint64_t{32} << 20:
    case uint64_t{64} << 10:
    case uint64_t{512} << 20:
      return 32;
    default:
      ADD_FAILURE() << "no such entry size " << entry_size;
      return 1;
  }
}

class Trial {
 public:
  Trial(PageGeometry geometry, uint64_t seed)
      : geometry_(geometry),
        random_(seed),
        memory_phys_(PickAligned(uint64_t{1} << 47)),
        memory_(kPages * geometry.entries_per_table(), kGarbage),
        builder_(*PageTableBuilder::Make(geometry, memory_, {memory_phys_})) {}

  void Run() {
    const uint64_t count = Pick(1, 12);
    for (uint64_t i = 0; i < count; ++i) {
      const Mapping mapping = RandomMapping();
      const bool overlaps = std::ranges::any_of(mapped_, [&](const Mapping& m) {
        return mapping.virt < m.virt + m.size && m.virt < mapping.virt + mapping.size;
      });
      if (overlaps) {
        ExpectRefusal(mapping);
        continue;
      }
      mapped_.push_back(mapping);
      ASSERT_TRUE(builder_.Map(mapping)) << ExtentOf(mapping);
    }
    CheckSize();
    CheckLeaves();
    CheckTranslations();
  }

 private:
  static constexpr uint64_t kPages = 12 * 14;

  uint64_t Pick(uint64_t low, uint64_t high) {
    return std::uniform_int_distribution<uint64_t>(low, high)(random_);
  }
  uint64_t PickAligned(uint64_t below) {
    const uint64_t granule = geometry_.granule_size();
    return Pick(0, below / granule - 1) * granule;
  }

  Mapping RandomMapping() {
    // Align like a page, a group of pages or a block, and stray from it sometimes.
    const uint64_t granule = geometry_.granule_size();
    const uint64_t units[] = {granule, geometry_.contiguous_span(3),
                              granule << geometry_.bits_per_level(),
                              geometry_.granule_shift() == 12 ? uint64_t{1} << 30 : granule};
    uint64_t unit = units[Pick(0, 3)];
    if (unit > geometry_.va_size() / 4) {
      unit = granule;
    }
    uint64_t size = unit * Pick(1, 5) + (Pick(0, 1) != 0 ? granule * Pick(0, 40) : 0);
    size = std::min(size, geometry_.va_size() / 2);
    uint64_t virt = AlignDown(PickAligned(geometry_.va_size() - size), unit);
    if (!mapped_.empty() && Pick(0, 2) == 0) {  // right behind another one, or into it
      const Mapping& m = mapped_[Pick(0, mapped_.size() - 1)];
      virt = m.virt.value + m.size - (Pick(0, 3) == 0 ? granule : 0);
    }
    if (virt + size > geometry_.va_size()) {
      virt = geometry_.va_size() - size;
    }
    uint64_t phys = AlignDown(PickAligned((uint64_t{1} << 48) - size), unit);
    if (Pick(0, 3) == 0) {
      phys = AlignDown(phys, uint64_t{1} << 30) + (virt & ((uint64_t{1} << 30) - 1));
      phys = std::min(phys, (uint64_t{1} << 48) - size);
    } else if (Pick(0, 5) == 0 && phys >= granule) {
      phys -= granule;
    }
    const auto access = static_cast<Access>(Pick(0, 2));
    const auto type =
        access == Access::kExecute ? MemoryType::kNormal : static_cast<MemoryType>(Pick(0, 2));
    Mapping mapping{{virt}, {phys}, size, access, type};
    if (*PageTablePages(geometry_, {&mapping, 1}) > kPages / 12) {  // GiBs of single pages
      mapping.size = 8 * granule << geometry_.bits_per_level();
    }
    return mapping;
  }

  void ExpectRefusal(const Mapping& mapping) {
    const std::vector<uint64_t> memory = memory_;
    const PageTableBuilder builder = builder_;
    const auto result = builder_.Map(mapping);
    ASSERT_FALSE(result) << ExtentOf(mapping);
    EXPECT_EQ(result.error().code, ErrorCode::kOverlap);
    std::ranges::copy(memory, memory_.begin());
    builder_ = builder;
  }

  auto MakeWalker() {
    auto read = [this](uint64_t pa) {
      if (pa - memory_phys_ >= builder_.pages_used() << geometry_.granule_shift()) {
        ADD_FAILURE() << std::hex << pa << " is no table";
      }
      return memory_.at((pa - memory_phys_) / 8);
    };
    return PageTableWalker(read, builder_.root().value, geometry_.granule_shift(),
                           geometry_.va_bits());
  }

  void CheckSize() {
    EXPECT_LE(builder_.pages_used(), *PageTablePages(geometry_, mapped_));
    std::ranges::sort(mapped_, {}, [](const Mapping& m) { return m.virt; });
    EXPECT_EQ(builder_.pages_used(), *PageTablePages(geometry_, mapped_));
    const auto unused =
        std::span(memory_).subspan(builder_.pages_used() * geometry_.entries_per_table());
    EXPECT_TRUE(std::ranges::all_of(unused, [](uint64_t word) { return word == kGarbage; }));
  }

  // `mapped_` is in order of address from here on.
  void CheckLeaves() {
    std::vector<Extent> expected;
    for (const Mapping& m : mapped_) {
      Append(expected, ExtentOf(m));
    }
    std::vector<Extent> found;
    std::map<uint64_t, uint64_t> tables;
    std::vector<WalkLeaf> group;
    const auto walked = MakeWalker().ForEachEntry(
        [&](int, uint64_t, uint64_t pa) { ++tables[pa]; },
        [&](const WalkLeaf& leaf) {
          const WalkAttributes& a = leaf.attributes;
          EXPECT_TRUE(a.af && !a.ng && a.sh == 3 && a.pxn == a.uxn);
          Append(found, {leaf.va, leaf.pa, leaf.size, a.attr_index, a.ap, !a.pxn});
          CheckGroup(group, leaf);
        });
    EXPECT_TRUE(walked);
    EXPECT_TRUE(group.empty());
    EXPECT_EQ(found, expected);
    EXPECT_EQ(tables.size(), builder_.pages_used());  // none is used twice, none is lost
  }

  // Collects entries with the Contiguous bit until their group is complete.
  static void CheckGroup(std::vector<WalkLeaf>& group, const WalkLeaf& leaf) {
    if (!leaf.attributes.contiguous) {
      EXPECT_TRUE(group.empty());
      return;
    }
    const uint64_t span = GroupOf(leaf.size) * leaf.size;
    if (group.empty()) {
      EXPECT_EQ(leaf.va % span, 0U);
      EXPECT_EQ(leaf.pa % span, 0U);
    } else {
      EXPECT_EQ(group.back().va + group.back().size, leaf.va);
      EXPECT_EQ(group.back().pa + group.back().size, leaf.pa);
      EXPECT_EQ(group.back().size, leaf.size);
      EXPECT_EQ(group.back().attributes, leaf.attributes);
    }
    group.push_back(leaf);
    if (group.size() == GroupOf(leaf.size)) {
      group.clear();
    }
  }

  void CheckTranslations() {
    auto walker = MakeWalker();
    auto check = [&](uint64_t va) {
      const auto it = std::ranges::find_if(
          mapped_, [&](const Mapping& m) { return va - m.virt.value < m.size; });
      const auto leaf = walker.Translate(va);
      ASSERT_EQ(leaf.has_value(), it != mapped_.end()) << std::hex << va;
      if (leaf) {
        EXPECT_EQ(leaf->pa + (va - leaf->va), it->phys.value + (va - it->virt.value));
      }
    };
    for (const Mapping& m : mapped_) {
      check(m.virt.value - 1);
      check(m.virt.value);
      check(m.virt.value + Pick(0, m.size - 1));
      check(m.virt.value + m.size - 1);
      check(m.virt.value + m.size);
      check(Pick(0, geometry_.va_size() - 1));
    }
  }

  PageGeometry geometry_;
  std::mt19937_64 random_;
  uint64_t memory_phys_;
  std::vector<uint64_t> memory_;
  PageTableBuilder builder_;
  std::vector<Mapping> mapped_;
};

TEST(PageTableProperty, TheWalkerFindsExactlyWhatWasMapped) {
  for (const unsigned granule_shift : {12U, 14U, 16U}) {
    for (const unsigned va_bits : {25U, 33U, 36U, 39U, 42U, 47U, 48U}) {
      for (uint64_t seed = 0; seed < 15; ++seed) {
        SCOPED_TRACE(testing::Message() << granule_shift << "/" << va_bits << " seed " << seed);
        Trial(*PageGeometry::Make(granule_shift, va_bits), seed).Run();
        if (testing::Test::HasFailure()) {
          return;
        }
      }
    }
  }
}

// The gather route: scattered pages as one contiguous virtual range.
TEST(PageTableProperty, ScatteredPagesCostLittle) {
  for (const unsigned granule_shift : {12U, 14U, 16U}) {
    for (const unsigned va_bits : {39U, 42U, 48U}) {
      SCOPED_TRACE(testing::Message() << granule_shift << "/" << va_bits);
      const PageGeometry geometry = *PageGeometry::Make(granule_shift, va_bits);
      const uint64_t granule = geometry.granule_size();
      std::vector<uint64_t> frames(20'000);
      for (uint64_t i = 0; i < frames.size(); ++i) {
        frames[i] = 0x4000'0000 + 2 * i * granule;  // no two are neighbours
      }
      std::ranges::shuffle(frames, std::mt19937_64(va_bits));
      // Off any alignment, in the middle of the space.
      const uint64_t base = geometry.va_size() / 2 + 7 * granule;
      std::vector<Mapping> mappings;
      for (uint64_t i = 0; i < frames.size(); ++i) {
        mappings.push_back({{base + i * granule}, {frames[i]}, granule});
      }
      const auto bound = PageTablePages(geometry, mappings);
      ASSERT_TRUE(bound);
      const uint64_t payload = frames.size() * granule;
      EXPECT_LE(*bound * granule, payload / geometry.entries_per_table() + 8 * granule);
      EXPECT_LE(*bound * granule, payload / 512 + 8 * granule);

      std::vector<uint64_t> memory(*bound * geometry.entries_per_table());
      auto builder = PageTableBuilder::Make(geometry, memory, {0x8'0000'0000});
      ASSERT_TRUE(builder);
      for (const Mapping& mapping : mappings) {
        ASSERT_TRUE(builder->Map(mapping));
      }
      EXPECT_EQ(builder->pages_used(), *bound);
      auto read = [&](uint64_t pa) { return memory.at((pa - 0x8'0000'0000) / 8); };
      PageTableWalker walker(read, builder->root().value, granule_shift, va_bits);
      uint64_t i = 0;
      EXPECT_TRUE(walker.ForEachLeaf([&](const WalkLeaf& leaf) {
        ASSERT_LT(i, frames.size());
        EXPECT_EQ(leaf.va, base + i * granule);
        EXPECT_EQ(leaf.pa, frames[i]);
        EXPECT_EQ(leaf.size, granule);
        ++i;
      }));
      EXPECT_EQ(i, frames.size());
    }
  }
}

}  // namespace
}  // namespace khop::arm64
