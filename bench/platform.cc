// SPDX-License-Identifier: MIT
#include "bench/platform.h"

#include <cstddef>
#include <cstring>

#include "bench/flat_tree.h"
#include "core/arm64/instructions.h"
#include "core/arm64/registers.h"
#include "core/relocator/blob.h"

extern "C" {
// start.S
uint64_t BenchSemihosting(uint64_t operation, uint64_t parameter);
uint64_t BenchHvc(uint64_t function);
uint64_t BenchSmc(uint64_t function);
[[noreturn]] void BenchStop();
// While not 0, an exception skips its instruction and gives x0 = -1.
uint32_t bench_expecting;
}

namespace khop::bench {
namespace {

using relocator::PsciConduit;
using relocator::UartKind;

constexpr uint64_t kSysWrite0 = 0x04;  // Semihosting for AArch32 and AArch64, 2.0
constexpr uint64_t kSysExit = 0x18;
constexpr uint64_t kPsciSystemOff = 0x8400'0008;
constexpr uint32_t kMaxPolls = 1'000'000;

struct Uart {
  UartKind kind;
  uint64_t base;
  uint32_t shift;
  uint32_t width;
};

template <size_t kMax>
struct Ranges {
  PhysRange items[kMax];
  size_t count;
  void Add(uint64_t start, uint64_t size) {
    const PhysRange range = {PhysAddr{start}, size};
    if (count < kMax && size != 0 && range.valid()) items[count++] = range;
  }
};

struct Platform {
  Uart uart;
  Ranges<16> memory;
  Ranges<64> reserved;
  PsciConduit conduit;
  bool semihosting;
};
constinit Platform platform = {};

bool StartsWith(const char* text, const char* start) {
  while (*start != '\0') {
    if (*text++ != *start++) return false;
  }
  return true;
}

// Collects what is needed of the tree. Visited up to three times, as the console's name may be an
// alias and both may stand behind what they name.
class Collector {
 public:
  // `console`: /chosen's stdout-path, then what aliases make of it.
  char console[128] = {};
  bool first_visit = false;

  void Reset() {
    depth_ = 0;
    path_length_ = 0;
    path_[0] = '\0';
    is_console_ = false;
    uart_ = {};
  }

  void Begin(const char* name) {
    if (++depth_ >= kMaxDepth) return;
    Level& level = levels_[depth_];
    level = {};
    level.address_cells = 2;
    level.size_cells = 1;
    level.path_length = path_length_;
    if (depth_ > 1) Append("/"), Append(name);
    level.is_memory = depth_ == 2 && (StartsWith(name, "memory@") || Equal(name, "memory"));
    level.is_reserved = depth_ == 3 && ParentIs("/reserved-memory");
    if (IsConsole()) {
      is_console_ = true;
      console_depth_ = depth_;
      uart_ = {.kind = UartKind::kNone, .base = 0, .shift = 0, .width = 1};
      reg_ = {};
    }
  }

  void Property(const char* name, Bytes bytes) {
    if (depth_ >= kMaxDepth) return;
    Level& level = levels_[depth_];
    if (Equal(name, "#address-cells") && bytes.size() == 4) {
      level.address_cells = BigEndian32(bytes, 0);
    } else if (Equal(name, "#size-cells") && bytes.size() == 4) {
      level.size_cells = BigEndian32(bytes, 0);
    } else if (Equal(name, "ranges")) {
      level.ranges = bytes;
      level.has_ranges = true;
    } else if (Equal(name, "reg") && depth_ > 1 && first_visit) {
      if (level.is_memory) AddRanges(platform.memory, bytes);
      if (level.is_reserved) AddRanges(platform.reserved, bytes);
    }
    if (first_visit && Equal(path_, "/chosen") && Equal(name, "stdout-path")) {
      SetConsole(bytes);
    } else if (first_visit && Equal(path_, "/psci") && Equal(name, "method")) {
      if (HasString(bytes, "hvc")) platform.conduit = PsciConduit::kHvc;
      if (HasString(bytes, "smc")) platform.conduit = PsciConduit::kSmc;
    } else if (!first_visit && console[0] != '/' && Equal(path_, "/aliases") &&
               Equal(name, console)) {
      SetConsole(bytes);
    }
    if (is_console_ && console_depth_ == depth_) ConsoleProperty(name, bytes);
  }

  void End() {
    if (depth_ < kMaxDepth) {
      if (is_console_ && console_depth_ == depth_) FinishConsole();
      path_length_ = levels_[depth_].path_length;
      path_[path_length_] = '\0';
    }
    --depth_;
  }

 private:
  static constexpr size_t kMaxDepth = 12;
  struct Level {
    uint32_t address_cells;  // of its children
    uint32_t size_cells;
    size_t path_length;  // of its parent's path
    Bytes ranges;
    bool has_ranges;
    bool is_memory;
    bool is_reserved;
  };

  static bool Equal(const char* a, const char* b) {
    while (*a == *b && *a != '\0') ++a, ++b;
    return *a == *b;
  }
  bool ParentIs(const char* path) const {
    const size_t length = levels_[depth_].path_length;
    return length == Length(path) && memcmp(path_, path, length) == 0;
  }
  bool IsConsole() const { return console[0] == '/' && Equal(path_, console); }

  void Append(const char* text) {
    while (*text != '\0' && path_length_ < sizeof(path_) - 1) path_[path_length_++] = *text++;
    path_[path_length_] = '\0';
  }
  // "path:options" without the options.
  void SetConsole(Bytes bytes) {
    size_t n = 0;
    for (; n < bytes.size() && n < sizeof(console) - 1; ++n) {
      const auto c = static_cast<char>(bytes[n]);
      if (c == '\0' || c == ':') break;
      console[n] = c;
    }
    console[n] = '\0';
  }
  template <size_t kMax>
  void AddRanges(Ranges<kMax>& ranges, Bytes bytes) {
    const Level& parent = levels_[depth_ - 1];
    uint64_t start = 0;
    uint64_t size = 0;
    for (size_t at = 0; at < bytes.size();) {
      if (!TakeCells(bytes, &at, parent.address_cells, &start) ||
          !TakeCells(bytes, &at, parent.size_cells, &size)) {
        return;
      }
      ranges.Add(start, size);
    }
  }
  void ConsoleProperty(const char* name, Bytes bytes) {
    if (Equal(name, "compatible")) {
      if (HasString(bytes, "arm,pl011") || HasString(bytes, "arm,sbsa-uart")) {
        uart_.kind = UartKind::kPl011;
      } else if (HasString(bytes, "ns16550a") || HasString(bytes, "ns16550") ||
                 HasString(bytes, "snps,dw-apb-uart") ||
                 HasString(bytes, "brcm,bcm2835-aux-uart")) {
        uart_.kind = UartKind::k8250;
        if (HasString(bytes, "brcm,bcm2835-aux-uart")) uart_.shift = 2, uart_.width = 4;
      }
    } else if (Equal(name, "reg")) {
      reg_ = bytes;
    } else if (Equal(name, "reg-shift") && bytes.size() == 4) {
      uart_.shift = BigEndian32(bytes, 0);
    } else if (Equal(name, "reg-io-width") && bytes.size() == 4) {
      uart_.width = BigEndian32(bytes, 0);
    }
  }
  // The console's address, translated by the `ranges` of every bus above it.
  void FinishConsole() {
    is_console_ = false;
    size_t at = 0;
    uint64_t address = 0;
    if (!TakeCells(reg_, &at, levels_[depth_ - 1].address_cells, &address)) return;
    for (size_t bus = depth_ - 1; bus > 1; --bus) {
      if (!levels_[bus].has_ranges) return;
      if (levels_[bus].ranges.empty()) continue;
      if (!Translate(levels_[bus], levels_[bus - 1].address_cells, &address)) return;
    }
    uart_.base = address;
    if (uart_.kind != UartKind::kNone && uart_.shift <= 4) platform.uart = uart_;
  }
  static bool Translate(const Level& bus, uint32_t parent_cells, uint64_t* address) {
    uint64_t child = 0, parent = 0, size = 0;
    for (size_t at = 0; at < bus.ranges.size();) {
      if (!TakeCells(bus.ranges, &at, bus.address_cells, &child) ||
          !TakeCells(bus.ranges, &at, parent_cells, &parent) ||
          !TakeCells(bus.ranges, &at, bus.size_cells, &size)) {
        return false;
      }
      if (*address >= child && *address - child < size) {
        *address = *address - child + parent;
        return true;
      }
    }
    return false;
  }

  size_t depth_ = 0;
  size_t path_length_ = 0;
  size_t console_depth_ = 0;
  bool is_console_ = false;
  char path_[256] = {};
  Level levels_[kMaxDepth] = {};
  Uart uart_ = {};
  Bytes reg_;
};
constinit Collector collector;

void ReadTree(const FlatTree& tree) {
  tree.ForEachReservation(
      [](uint64_t start, uint64_t size) { platform.reserved.Add(start, size); });
  platform.reserved.Add(tree.address(), tree.size());
  for (int visit = 0; visit < 3; ++visit) {
    collector.first_visit = visit == 0;
    collector.Reset();
    tree.Walk(collector);
  }
}

uint32_t Read8250(uint32_t number) {
  const Uart& uart = platform.uart;
  const uint64_t address = uart.base + (uint64_t{number} << uart.shift);
  return uart.width == 4 ? arm64::MmioRead32(address) : arm64::MmioRead8(address);
}

// A console that never gets ready costs the output, not the run.
void PutUart(char c) {
  const Uart& uart = platform.uart;
  const auto ready = [&] {
    if (uart.kind == UartKind::kPl011) return (arm64::MmioRead32(uart.base + 0x18) & 1U << 5) == 0;
    return (Read8250(5) & 1U << 5) != 0;
  };
  uint32_t polls = 0;
  while (!ready()) {
    if (++polls == kMaxPolls) return;
  }
  if (uart.kind == UartKind::kPl011) {
    arm64::MmioWrite32(uart.base, static_cast<uint8_t>(c));
  } else if (uart.width == 4) {
    arm64::MmioWrite32(uart.base, static_cast<uint8_t>(c));
  } else {
    arm64::MmioWrite8(uart.base, static_cast<uint8_t>(c));
  }
}

// Lets the last characters out before the power goes.
void DrainUart() {
  const Uart& uart = platform.uart;
  for (uint32_t polls = 0; polls < kMaxPolls; ++polls) {
    if (uart.kind == UartKind::kPl011 && (arm64::MmioRead32(uart.base + 0x18) & 1U << 3) == 0) {
      return;
    }
    if (uart.kind == UartKind::k8250 && (Read8250(5) & 1U << 6) != 0) return;
    if (uart.kind == UartKind::kNone) return;
  }
}

// Calls that this machine may not have: -1 then.
template <typename Call>
uint64_t Try(Call call) {
  *const_cast<volatile uint32_t*>(&bench_expecting) = 1;
  const uint64_t result = call();
  *const_cast<volatile uint32_t*>(&bench_expecting) = 0;
  return result;
}

}  // namespace

void FindPlatform(uint64_t tree_address, PhysRange image) {
  platform.reserved.Add(image.start.value, image.size);
  const FlatTree tree(tree_address);
  if (tree.size() != 0) {
    ReadTree(tree);
  } else if (KHOP_BENCH_UART != 0) {
    platform.uart = {.kind = UartKind::kPl011, .base = KHOP_BENCH_UART, .shift = 0, .width = 4};
  }
  if (platform.memory.count == 0) platform.memory.Add(KHOP_BENCH_MEMORY, KHOP_BENCH_MEMORY_SIZE);
  if (platform.uart.kind == UartKind::kNone) {
    // What comes back is not defined for SYS_WRITE0, but for SYS_ERRNO it is.
    constexpr uint64_t kSysErrno = 0x13;
    platform.semihosting = Try([] { return BenchSemihosting(kSysErrno, 0); }) != ~uint64_t{0};
  }
}

PhysRange FreeMemory() {
  PhysRange best;
  const auto try_from = [&](PhysRange region, PhysAddr start) {
    if (!region.Contains(start)) return;
    PhysAddr end = region.end();
    for (size_t i = 0; i < platform.reserved.count; ++i) {
      const PhysRange& reserved = platform.reserved.items[i];
      if (reserved.Contains(start)) return;
      if (reserved.start > start && reserved.start < end) end = reserved.start;
    }
    if (end - start > best.size) best = {start, end - start};
  };
  for (size_t i = 0; i < platform.memory.count; ++i) {
    const PhysRange& region = platform.memory.items[i];
    try_from(region, region.start);
    for (size_t j = 0; j < platform.reserved.count; ++j) {
      try_from(region, platform.reserved.items[j].end());
    }
  }
  return best;
}

void Print(const char* text) {
  if (platform.uart.kind != UartKind::kNone) {
    for (; *text != '\0'; ++text) {
      if (*text == '\n') PutUart('\r');
      PutUart(*text);
    }
  } else if (platform.semihosting) {
    BenchSemihosting(kSysWrite0, reinterpret_cast<uint64_t>(text));
  }
}

void PrintNumber(uint64_t value) {
  char text[21];
  char* at = text + sizeof(text);
  *--at = '\0';
  do {
    *--at = static_cast<char>('0' + value % 10);
    value /= 10;
  } while (value != 0);
  Print(at);
}

void PrintRatio(uint64_t numerator, uint64_t denominator) {
  if (denominator == 0) {
    Print("-");
    return;
  }
  const uint64_t scaled = (numerator * 10'000 + denominator / 2) / denominator;
  PrintNumber(scaled / 10'000);
  char decimals[6] = ".0000";
  uint64_t rest = scaled % 10'000;
  for (size_t i = 4; i > 0; --i, rest /= 10) decimals[i] = static_cast<char>('0' + rest % 10);
  Print(decimals);
}

void PowerOff(uint64_t status) {
  using arm64::CurrentEl;
  DrainUart();
  const bool at_el1 = CurrentEl::FromRaw(arm64::ReadCurrentEl()).Get<CurrentEl::EL>() == 1;
  const auto psci = [&](PsciConduit conduit) {
    // At EL2 an HVC would come back to us.
    if (conduit == PsciConduit::kHvc && at_el1) Try([] { return BenchHvc(kPsciSystemOff); });
    if (conduit != PsciConduit::kNone) Try([] { return BenchSmc(kPsciSystemOff); });
  };
  psci(platform.conduit);
  // {ADP_Stopped_ApplicationExit, status}
  const uint64_t parameters[2] = {0x20026, status};
  Try([&] { return BenchSemihosting(kSysExit, reinterpret_cast<uint64_t>(parameters)); });
  // Nothing said how: whatever there may be.
  psci(PsciConduit::kHvc);
  BenchStop();
}

}  // namespace khop::bench
