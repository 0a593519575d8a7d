// SPDX-License-Identifier: MIT
// The line before a reset on models of the UARTs: PL011 (DDI 0183), and 8250 whose registers are
// spread and accessed as its device tree says. A model takes no character while it is not ready,
// and none by an access that is not its own.
#include "core/relocator/last_words.h"

#include <gtest/gtest.h>

#include <string>

#include "core/arm64/fake/mmio.h"

namespace khop::relocator {
namespace {

constexpr uint64_t kBase = 0x3eff1000;
constexpr unsigned kBusyPolls = 3;  // after each character
constexpr const char* kLine =
    "\r\nkhop: payload digest does not match at 0x44a00000; resetting\r\n";
constexpr HopFailure kFailure = {FailureCode::kDigest, 0x44a00000};

class Uart : public arm64::fake::MmioDevice {
 public:
  std::string sent;
  uint64_t reads = 0;
  bool stuck = false;    // never ready
  bool drained = false;  // somebody has waited for the last character to leave

 protected:
  void Send(uint32_t value) {
    EXPECT_EQ(busy_, 0U) << "not ready";
    EXPECT_LT(value, 0x100U);
    sent += static_cast<char>(value);
    busy_ = kBusyPolls;
    drained = false;
  }
  // Whether it is still at work; each look takes time.
  bool Busy() {
    ++reads;
    if (stuck) return true;
    if (busy_ != 0) --busy_;
    drained = busy_ == 0;
    return !drained;
  }

 private:
  unsigned busy_ = 0;
};

class Pl011 : public Uart {
 public:
  uint32_t Read(uint64_t address, unsigned size) override {
    EXPECT_EQ(address, kBase + 0x18);
    EXPECT_EQ(size, 4U);
    const uint32_t others = 1U << 4 | 1U << 7;  // RXFE, TXFE
    return others | (Busy() ? 1U << 3 | 1U << 5 : 0);
  }
  void Write(uint64_t address, unsigned size, uint32_t value) override {
    EXPECT_EQ(address, kBase);
    EXPECT_EQ(size, 4U);
    Send(value);
  }
};

class Uart8250 : public Uart {
 public:
  Uart8250(unsigned shift, unsigned width) : shift_(shift), width_(width) {}
  uint32_t Read(uint64_t address, unsigned size) override {
    EXPECT_EQ(address, kBase + (uint64_t{5} << shift_)) << "LSR";
    EXPECT_EQ(size, width_);
    // What a wide access shows beside the register is not said.
    const uint32_t beside = size == 1 ? 0 : size == 2 ? 0xab00 : 0xabababU << 8;
    return beside | 1U | (Busy() ? 0U : 1U << 5 | 1U << 6);
  }
  void Write(uint64_t address, unsigned size, uint32_t value) override {
    EXPECT_EQ(address, kBase) << "THR";
    EXPECT_EQ(size, width_);
    Send(value);
  }

 private:
  unsigned shift_;
  unsigned width_;
};

LastWords Words(UartKind kind, unsigned shift = 0, unsigned width = 4) {
  LastWords words = {};
  words.uart_base = kBase;
  words.uart_kind = kind;
  words.uart_reg_shift = static_cast<uint8_t>(shift);
  words.uart_io_width = static_cast<uint8_t>(width);
  words.conduit = PsciConduit::kHvc;
  words.check = LastWordsCheck(words);
  return words;
}

// The models are written to behind the compiler's back, through MmioDevice.
// NOLINTBEGIN(misc-const-correctness)
TEST(LastWordsTest, Pl011) {
  Pl011 uart;
  LeaveLastWords(Words(UartKind::kPl011), kFailure, {});
  EXPECT_EQ(uart.sent, kLine);
  EXPECT_TRUE(uart.drained);
}

TEST(LastWordsTest, Of8250InEveryShapeThatTreesHave) {
  struct Shape {
    unsigned shift;
    unsigned width;
  };
  for (const Shape shape : {Shape{0, 1}, Shape{1, 1}, Shape{1, 2}, Shape{2, 1}, Shape{2, 2},
                            Shape{2, 4}, Shape{3, 4}, Shape{4, 4}}) {
    SCOPED_TRACE(testing::Message() << "reg-shift " << shape.shift << " width " << shape.width);
    Uart8250 uart(shape.shift, shape.width);
    LeaveLastWords(Words(UartKind::k8250, shape.shift, shape.width), kFailure, {});
    EXPECT_EQ(uart.sent, kLine);
    EXPECT_TRUE(uart.drained);
  }
}

TEST(LastWordsTest, AnExceptionHasItsAddresses) {
  Uart8250 uart(2, 4);
  LeaveLastWords(Words(UartKind::k8250, 2, 4), {FailureCode::kException, 0x96000045},
                 {.elr = 0x42e00abc, .far = 0});
  EXPECT_NE(uart.sent.find(" 0x96000045 ELR 0x42e00abc FAR 0x0; resetting\r\n"), std::string::npos)
      << uart.sent;
}

// A console that is stuck costs the line, and not the reset.
TEST(LastWordsTest, EveryWaitIsBounded) {
  Pl011 pl011;
  pl011.stuck = true;
  LeaveLastWords(Words(UartKind::kPl011), kFailure, {});
  EXPECT_EQ(pl011.sent, "");
  EXPECT_LE(pl011.reads, 1'000'000U) << "it is given up for good, and not for each character";
  Uart8250 uart(0, 1);
  uart.stuck = true;
  LeaveLastWords(Words(UartKind::k8250, 0, 1), kFailure, {});
  EXPECT_EQ(uart.sent, "");
  EXPECT_LE(uart.reads, 1'000'000U);
}

TEST(LastWordsTest, SilentWhereDamagedOrWithoutAConsole) {
  Pl011 uart;
  LastWords words = Words(UartKind::kPl011);
  words.uart_base ^= 0x1000;
  LeaveLastWords(words, kFailure, {});
  LeaveLastWords(Words(UartKind::kNone), kFailure, {});
  EXPECT_EQ(uart.reads, 0U);
  EXPECT_EQ(uart.sent, "");
}

// NOLINTEND(misc-const-correctness)

}  // namespace
}  // namespace khop::relocator
