// SPDX-License-Identifier: MIT
#include "core/relocator/last_words.h"

#include <cstddef>

#include "core/arm64/instructions.h"
#include "core/handoff/failure_record.h"

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

// A few lines, put together before any of them leaves.
class Text {
 public:
  void Put(char c) {
    if (size_ < sizeof(bytes_)) bytes_[size_++] = c;
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
  void PrintDecimal(uint64_t value) {
    uint64_t unit = 1;
    while (value / unit >= 10) unit *= 10;
    for (; unit != 0; unit /= 10) Put(static_cast<char>('0' + value / unit % 10));
  }
  const char* begin() const { return bytes_; }
  const char* end() const { return bytes_ + size_; }
  uint32_t size() const { return size_; }

 private:
  char bytes_[handoff::kMinFailureRecord - sizeof(handoff::FailureRecordHeader)];
  uint32_t size_ = 0;
};

void PrintFailure(Text& text, HopFailure failure, ExceptionState exception) {
  text.Print("khop: ");
  text.Print(FailureText(failure.code));
  text.Put(' ');
  text.PrintHex(failure.value);
  if (failure.code == FailureCode::kException) {
    text.Print(" ELR ");
    text.PrintHex(exception.elr);
    text.Print(" FAR ");
    text.PrintHex(exception.far);
  }
  text.Print("; resetting");
}

// The signature is missing until the text is whole: a reset in between leaves no half of it.
void WriteRecord(const LastWords& words, const Text& text) {
  using Header = handoff::FailureRecordHeader;
  const uint64_t base = words.record_base;
  arm64::MmioWrite32(base + offsetof(Header, signature), 0);
  uint64_t at = base + sizeof(Header);
  for (const char c : text) arm64::MmioWrite8(at++, static_cast<uint8_t>(c));
  arm64::MmioWrite32(base + offsetof(Header, start), text.size());
  arm64::MmioWrite32(base + offsetof(Header, size), text.size());
  arm64::DsbSy();
  arm64::MmioWrite32(base + offsetof(Header, signature), handoff::kFailureRecordSignature);
  arm64::DsbSy();
}

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

void LeaveLastWords(const LastWords& words, HopFailure failure, ExceptionState exception) {
  if (words.check != LastWordsCheck(words)) return;
  // Memory first: a console that faults ends in the reset at once.
  if (words.record_size >= handoff::kMinFailureRecord) {
    Text text;
    text.Print(handoff::kFailureRecordMark);
    text.PrintDecimal(words.loaded_at);
    text.Print(handoff::kFailureRecordTime);
    PrintFailure(text, failure, exception);
    text.Put('\n');
    text.Print(handoff::kFailureRecordLoaded);
    text.PrintDecimal(words.loaded_at);
    text.Put('\n');
    WriteRecord(words, text);
  }
  if (words.uart_kind != UartKind::kPl011 && words.uart_kind != UartKind::k8250) return;
  Text text;
  text.Print("\r\n");
  PrintFailure(text, failure, exception);
  text.Print("\r\n");
  Console console(words);
  for (const char c : text) console.Put(c);
  console.Drain();
}

}  // namespace khop::relocator
