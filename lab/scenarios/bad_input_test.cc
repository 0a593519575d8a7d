// SPDX-License-Identifier: MIT
// Bad input and machines that will not do: one line, its own exit code, nothing loaded, nothing
// leaked, and what was loaded before is still there and still starts.
#include "lab/scenarios/first_machine.h"

namespace khop::lab {
namespace {

class BadInput : public FirstMachine {
 protected:
  // After Load(): what no failed khop may change.
  void RememberFootprint() { footprint_ = Footprint(); }

  // Runs a command that must fail with `code`, say so in one line, and change nothing.
  void ExpectRefused(const std::string& command, int code, const std::string& says = "") {
    SCOPED_TRACE(command);
    ASSERT_FALSE(footprint_.empty());
    const Result<CommandResult> result = guest().Run(command, Seconds(180));
    MUST(result);
    EXPECT_EQ(result->exit_code, code) << result->output;
    EXPECT_TRUE(result->output.starts_with("khop: ")) << result->output;
    EXPECT_EQ(std::ranges::count(result->output, '\n'), 1) << result->output;
    EXPECT_THAT(result->output, testing::HasSubstr(says));
    EXPECT_EQ(Footprint(), footprint_);
  }

  void ExpectStillHops() {
    const Result<HopProof> proof = ProveHop(machine(), guest(), Expected(),
                                            [](Guest& g) { return g.Start("khop exec --now"); });
    MUST(proof);
  }

 private:
  std::string Footprint() {
    const Result<std::string> text = guest().Must(
        "khop status --json; khop-guest-tool lsshm; cat /sys/kernel/kexec_loaded "
        "/sys/kernel/mm/hugepages/*/nr_hugepages; ls /run/khop");
    EXPECT_TRUE(text) << text.error().what;
    return text.value_or("");
  }

  std::string footprint_;
};

// A command that writes a copy of the next kernel with one byte changed.
std::string Patched(unsigned offset, const std::string& byte) {
  return "cp /next/Image /tmp/bad && printf '\\x" + byte +
         "' | dd of=/tmp/bad bs=1 seek=" + std::to_string(offset) + " conv=notrunc 2>/dev/null";
}

// Offsets and flags of the Image header: Documentation/arch/arm64/booting.rst.
constexpr unsigned kImageSizeOffset = 16;
constexpr unsigned kFlagsOffset = 24;
constexpr unsigned kMagicOffset = 56;

TEST_F(BadInput, Kernels) {
  START_FIRST_MACHINE({.memory_mib = 1536});
  MUST(Load(""));
  RememberFootprint();
  ExpectRefused("khop load /no/such/file", 20);
  ExpectRefused("khop load ''", 20);
  ExpectRefused("khop load /tmp", 21);
  MUST(guest().Must("touch /tmp/empty; echo text > /tmp/text"));
  ExpectRefused("khop load /tmp/empty", 22);
  ExpectRefused("khop load /tmp/text", 23);
  MUST(guest().Must(Patched(kMagicOffset, "00")));
  ExpectRefused("khop load /tmp/bad", 23);
  MUST(guest().Must("dd if=/next/Image of=/tmp/bad bs=1M count=9 2>/dev/null"));
  ExpectRefused("khop load /tmp/bad", 24);
  MUST(guest().Must(Patched(kImageSizeOffset + 6, "7f")));
  ExpectRefused("khop load /tmp/bad", 23, "damaged");
  MUST(guest().Must(Patched(kFlagsOffset, "0b")));  // big-endian, 4K, anywhere
  ExpectRefused("khop load /tmp/bad", 25);
  MUST(guest().Must(Patched(kFlagsOffset, "0c")));  // 16K pages; this CPU is a Cortex-A57
  ExpectRefused("khop load /tmp/bad", 26);
  ExpectStillHops();
}

TEST_F(BadInput, OtherFilesCommandLinesAndUsers) {
  START_FIRST_MACHINE({});
  MUST(Load(""));
  RememberFootprint();
  MUST(guest().Must("touch /tmp/empty; echo text > /tmp/text"));
  ExpectRefused("khop load /next/Image --initrd /no/such/file", 20);
  ExpectRefused("khop load /next/Image --initrd /tmp", 21);
  ExpectRefused("khop load /next/Image --initrd /tmp/empty", 22);
  ExpectRefused("khop load /next/Image --initrd /dev/zero", 21);
  ExpectRefused("khop load /next/Image --mmu maybe", 2, "maybe");
  ExpectRefused("khop load /next/Image --cmdline \"$(head -c 2048 /dev/zero | tr '\\0' x)\"", 27);
  ExpectRefused("khop load /next/Image --dtb /tmp/text", 28);
  ExpectRefused("khop-guest-tool nobody /bin/khop load /next/Image", 10);
  ExpectStillHops();
}

TEST_F(BadInput, SecondKhopAtTheSameTime) {
  START_FIRST_MACHINE({});
  MUST(Load(""));
  MUST(guest().Must("khop-guest-tool lock /run/khop/lock"));
  const Result<CommandResult> second = guest().Run("khop load /next/Image");
  MUST(second);
  EXPECT_EQ(second->exit_code, 4) << second->output;
  EXPECT_EQ(std::ranges::count(second->output, '\n'), 1) << second->output;
  MUST(guest().Must("kill $(pidof khop-guest-tool); sleep 1"));
  ExpectStillHops();
}

TEST_F(BadInput, TooLittleMemory) {
  START_FIRST_MACHINE({});
  MUST(Load(""));
  RememberFootprint();
  MUST(guest().Must("truncate -s 2G /tmp/huge"));
  ExpectRefused("khop load /next/Image --initrd /tmp/huge", 30);
  ExpectStillHops();
}

// Memory enough, but the tree of the next kernel reserves a page in every 16 MiB of it.
TEST_F(BadInput, NoContiguousMemory) {
  START_FIRST_MACHINE({});
  MUST(Load(""));
  RememberFootprint();
  MUST(guest().Must("khop-guest-tool holes /tmp/holes.dtb"));
  ExpectRefused("khop load /next/Image --initrd /next/initrd --dtb /tmp/holes.dtb", 31);
  ExpectStillHops();
}

TEST_F(BadInput, KexecDisabled) {
  START_FIRST_MACHINE({});
  MUST(Load(""));
  RememberFootprint();
  MUST(guest().Must("echo 1 > /proc/sys/kernel/kexec_load_disabled"));
  ExpectRefused("khop load /next/Image", 13);
  ExpectStillHops();
}

}  // namespace
}  // namespace khop::lab
