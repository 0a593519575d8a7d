// SPDX-License-Identifier: MIT
#include "core/relocator/last_words.h"

#include "core/arm64/instructions.h"

namespace khop::relocator {
namespace {

// PL011 (DDI 0183): data and flag register. 8250: transmit holding and line status register.
constexpr uint64_t kPl011Dr = 0x00;
constexpr uint64_t kPl011Fr = 0x18;
constexpr uint32_t kPl011FrTxff = 1U << 5;
constexpr uint32_t kPl011FrBusy = 1U << 3;
constexpr unsigned k8250Thr = 0;
constexpr unsigned k8250Lsr = 5;
constexpr uint32_t k8250LsrThre = 1U << 5;
constexpr uint32_t k8250LsrTemt = 1U << 6;
// Polls for one character: some 100 ms on a slow core, far more than a character takes.
constexpr uint32_t kMaxPolls = 1'000'000;

class Console {
 public:
  explicit Console(const LastWords& words) : words_(words) {}

  void Put(char c) {
    if (!Wait(kPl011FrTxff, 0, k8250LsrThre, k8250LsrThre)) return;
    if (words_.uart_kind == UartKind::kPl011) {
      arm64::MmioWrite32(words_.uart_base + kPl011Dr, static_cast<uint8_t>(c));
    } else {
      Write8250(k8250Thr, static_cast<uint8_t>(c));
    }
  }
  void Print(const char* text) {
    while (*text != '\0') Put(*text++);
  }
  void PrintHex(uint64_t value) {
    Print("0x");
    int shift = 60;
    while (shift > 0 && (value >> shift) == 0) shift -= 4;
    for (; shift >= 0; shift -= 4) {
      const auto digit = static_cast<char>((value >> shift) & 0xf);
      Put(static_cast<char>(digit < 10 ? '0' + digit : 'a' + digit - 10));
    }
  }
  // Waits until the last character has left: a reset may clear the FIFO.
  void Drain() { Wait(kPl011FrBusy, 0, k8250LsrTemt, k8250LsrTemt); }

 private:
  bool Wait(uint32_t pl011_mask, uint32_t pl011_value, uint32_t lsr_mask, uint32_t lsr_value) {
    if (dead_) return false;
    for (uint32_t polls = 0; polls < kMaxPolls; ++polls) {
      const bool ready =
          words_.uart_kind == UartKind::kPl011
              ? (arm64::MmioRead32(words_.uart_base + kPl011Fr) & pl011_mask) == pl011_value
              : (Read8250(k8250Lsr) & lsr_mask) == lsr_value;
      if (ready) return true;
    }
    dead_ = true;
    return false;
  }
  uint64_t Register8250(unsigned number) const {
    return words_.uart_base + (uint64_t{number} << words_.uart_reg_shift);
  }
  uint32_t Read8250(unsigned number) const {
    const uint64_t address = Register8250(number);
    if (words_.uart_io_width == 4) return arm64::MmioRead32(address);
    if (words_.uart_io_width == 2) return arm64::MmioRead16(address);
    return arm64::MmioRead8(address);
  }
  void Write8250(unsigned number, uint32_t value) const {
    const uint64_t address = Register8250(number);
    if (words_.uart_io_width == 4) {
      arm64::MmioWrite32(address, value);
    } else if (words_.uart_io_width == 2) {
      arm64::MmioWrite16(address, value);
    } else {
      arm64::MmioWrite8(address, value);
    }
  }

  const LastWords& words_;
  bool dead_ = false;
};

}  // namespace

void PrintLastWords(const LastWords& words, HopFailure failure, ExceptionState exception) {
  if (words.check != LastWordsCheck(words)) return;
  if (words.uart_kind != UartKind::kPl011 && words.uart_kind != UartKind::k8250) return;
  Console console(words);
  console.Print("\r\nkhop: ");
  console.Print(FailureText(failure.code));
  console.Put(' ');
  console.PrintHex(failure.value);
  if (failure.code == FailureCode::kException) {
    console.Print(" ELR ");
    console.PrintHex(exception.elr);
    console.Print(" FAR ");
    console.PrintHex(exception.far);
  }
  console.Print("; resetting\r\n");
  console.Drain();
}

}  // namespace khop::relocator
