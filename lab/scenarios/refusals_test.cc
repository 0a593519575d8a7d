// SPDX-License-Identifier: MIT
// Kernels and machines that cannot or must not be left by kexec: one line that says why, its own
// exit code, and nothing is changed.
#include <libfdt.h>

#include "lab/scenarios/first_machine.h"

namespace khop::lab {
namespace {

constexpr const char* kLoad = "khop load /next/Image --initrd /next/initrd";
constexpr const char* kLimit = "/proc/sys/kernel/kexec_load_limit_reboot";

class Refusals : public FirstMachine {
 protected:
  // The command must fail with `code` and one line that names `says`, and leave all as it is.
  void ExpectRefused(const std::string& command, int code, const std::string& says) {
    SCOPED_TRACE(command);
    const std::string before = Footprint();
    const Result<CommandResult> result = guest().Run(command, Seconds(180));
    MUST(result);
    printf("%s: %s", command.c_str(), result->output.c_str());
    EXPECT_EQ(result->exit_code, code) << result->output;
    EXPECT_TRUE(result->output.starts_with("khop: ")) << result->output;
    EXPECT_EQ(std::ranges::count(result->output, '\n'), 1) << result->output;
    EXPECT_THAT(result->output, testing::HasSubstr(says));
    EXPECT_EQ(Footprint(), before);
  }

  void ExpectHops() {
    const Result<HopProof> proof = ProveHop(machine(), guest(), Expected(),
                                            [](Guest& g) { return g.Start("khop exec --now"); });
    MUST(proof);
  }

 private:
  std::string Footprint() {
    const Result<std::string> text = guest().Must(
        "khop-guest-tool lsshm; cat /sys/kernel/kexec_loaded "
        "/sys/kernel/mm/hugepages/*/nr_hugepages; cat /run/khop/state.json 2>/dev/null; "
        "cat /proc/sys/kernel/kexec_load_limit_* 2>/dev/null; true");
    EXPECT_TRUE(text) << text.error().what;
    return text.value_or("");
  }
};

// As under Secure Boot: LOCK_DOWN_IN_EFI_SECURE_BOOT does by itself what the parameter does.
TEST_F(Refusals, Lockdown) {
  START_FIRST_MACHINE({.append = "lockdown=integrity"});
  // securityfs is not mounted here, so that the kernel log has to tell.
  MUST(guest().Must("! test -e /sys/kernel/security/lockdown"));
  ExpectRefused(kLoad, 14, "lockdown");
  ExpectRefused("khop plan /next/Image", 14, "lockdown");
  MUST(guest().Must("mount -t securityfs securityfs /sys/kernel/security"));
  ExpectRefused(kLoad, 14, "lockdown");
  ExpectRefused("khop exec --now", 3, "no kernel is loaded");
}

TEST_F(Refusals, LockdownSinceTheLoad) {
  START_FIRST_MACHINE({.kernel = "6.12", .next_kernel = "6.1"});
  MUST(Load("--verify none"));
  MUST(
      guest().Must("mount -t securityfs securityfs /sys/kernel/security && "
                   "echo integrity > /sys/kernel/security/lockdown"));
  ExpectRefused("khop exec --now", 14, "lockdown");
  ExpectRefused("khop unload", 14, "lockdown");
  ExpectRefused(kLoad, 14, "lockdown");
  MUST(guest().Must("umount /sys/kernel/security"));
  ExpectRefused("khop exec --now", 14, "lockdown");
}

class ProtectedKvm : public Refusals {
 protected:
  void ExpectRefusedOn(const std::string& kernel, const std::string& cpu) {
    START_FIRST_MACHINE({.kernel = kernel,
                         .cpu = cpu,
                         .machine = "virt,gic-version=3,virtualization=on",
                         .append = "kvm-arm.mode=protected printk.devkmsg=on"});
    MUST(guest().Must("dmesg | grep -q 'kvm .*: Protected .VHE.* mode initialized'"));
    ExpectRefused(kLoad, 18, "protected KVM");
    // With the kernel log full of other things the kernel itself has to refuse, and is understood.
    MUST(
        guest().Run("line=\"<7>$(head -c 900 /dev/zero | tr '\\0' x)\"; i=0; "
                    "while [ $i -lt 2000 ]; do echo \"$line\"; i=$((i + 1)); done > /dev/kmsg",
                    Seconds(120)));
    MUST(guest().Must("! dmesg | grep -q Protected"));
    ExpectRefused(kLoad, 18, "protected KVM");
    MUST(guest().Must("dmesg | grep -q 'CPUs are stuck in the kernel'"));
  }
};

TEST_F(ProtectedKvm, WithoutVhe) { ExpectRefusedOn("6.1", "cortex-a57"); }
TEST_F(ProtectedKvm, OnACpuWithVhe) { ExpectRefusedOn("6.12", "neoverse-n1"); }

// A limit of one: the one load is not wasted, what is loaded starts, and nothing else is loaded.
TEST_F(Refusals, LoadLimit) {
  START_FIRST_MACHINE({.kernel = "6.12", .next_kernel = "6.1"});
  MUST(guest().Must(std::string("echo 0 > /proc/sys/kernel/kexec_load_limit_panic; echo 1 > ") +
                    kLimit));
  MUST(guest().Must("khop plan /next/Image"));
  MUST(Load(""));
  EXPECT_EQ(guest().Must(std::string("cat ") + kLimit).value_or(""), "0\n");
  ExpectRefused(kLoad, 15, "kexec_load_limit_reboot");
  ExpectRefused("khop unload", 15, "kexec_load_limit_reboot");
  ExpectHops();
}

// The gather route may need a second load, at exec. Where that cannot be had, nothing of the first
// one is touched: as it was planned it is still there.
TEST_F(Refusals, LoadLimitAtExec) {
  START_FIRST_MACHINE({.kernel = "6.12", .next_kernel = "6.1"});
  MUST(guest().Must(std::string("echo 1 > ") + kLimit));
  MUST(Load("--route gather"));
  SoftOffline("kernel", 0.5);
  SoftOffline("initrd", 0.9);
  const Result<CommandResult> status = guest().Run("khop status --json");
  MUST(status);
  EXPECT_THAT(status->output,
              testing::ContainsRegex("[1-9][0-9]* of [0-9]+ have moved; exec "
                                     "cannot plan anew: .*kexec_load_limit_reboot"));
  ExpectRefused("khop exec --now", 15, "kexec_load_limit_reboot");
}

int AllCpusBySpinTable(void* tree) {
  const int cpus = fdt_path_offset(tree, "/cpus");
  int cpu = 0;
  fdt_for_each_subnode(cpu, tree, cpus) {
    if (std::string_view(fdt_get_name(tree, cpu, nullptr)).substr(0, 4) != "cpu@") continue;
    constexpr char kSpinTable[] = "spin-table";
    int error = fdt_setprop(tree, cpu, "enable-method", kSpinTable, sizeof(kSpinTable));
    // A page that nobody reads: these CPUs never come up.
    if (error == 0) error = fdt_setprop_u64(tree, cpu, "cpu-release-addr", 0x7ffff000);
    if (error != 0) return error;
  }
  return 0;
}

// The second CPU does not come up at all; offline or stuck, the kernel refuses.
TEST_F(Refusals, SpinTable) {
  START_FIRST_MACHINE({.cpus = 2, .append = "maxcpus=1", .edit_tree = AllCpusBySpinTable});
  EXPECT_EQ(guest().Must("cat /sys/devices/system/cpu/possible").value_or(""), "0-1\n");
  EXPECT_EQ(guest().Must("cat /sys/devices/system/cpu/online").value_or(""), "0\n");
  ExpectRefused(kLoad, 19, "spin tables");
}

// A kernel that never had another CPU has nothing to stop; the reset is by PSCI.
TEST_F(Refusals, SpinTableWithOneCpuHops) {
  START_FIRST_MACHINE({.cpus = 2, .append = "nr_cpus=1", .edit_tree = AllCpusBySpinTable});
  EXPECT_EQ(guest().Must("cat /sys/devices/system/cpu/possible").value_or(""), "0\n");
  MUST(guest().Must(std::string(kLoad) + " --cmdline '" + kNextCommandLine + " nr_cpus=1'"));
  HopExpectation expected = Expected();
  expected.command_line += " nr_cpus=1";
  const Result<HopProof> proof =
      ProveHop(machine(), guest(), expected, [](Guest& g) { return g.Start("khop exec --now"); });
  MUST(proof);
}

// ID_AA64MMFR0_EL1 does not tell user space that a Cortex-A57 has no 16 KiB pages; its MIDR does.
TEST_F(Refusals, PageSizeThatTheCpuDoesNotHave) {
  START_FIRST_MACHINE({.next_kernel = "6.12-16k"});
  ExpectRefused(kLoad, 26, "16 KiB");
}

}  // namespace
}  // namespace khop::lab
