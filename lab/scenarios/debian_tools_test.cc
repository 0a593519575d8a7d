// SPDX-License-Identifier: MIT
// khop beside and below what a Debian machine has: kdump-tools, an initramfs of initramfs-tools.
#include "lab/scenarios/debian_machine.h"

namespace khop::lab {
namespace {

using testing::HasSubstr;
using testing::Not;

class DebianTools : public DebianMachine {
 protected:
  static constexpr const char* kKernel = "6.1";

  void InstallKdumpTools() {
    MUST(guest().Must(
        "{ echo USE_KDUMP=1; echo KDUMP_KERNEL=" + Image(Kernel(kKernel)) +
            "; echo KDUMP_INITRD=" + Initrd(Kernel(kKernel)) +
            "; } > /etc/default/kdump-tools && "
            "DEBIAN_FRONTEND=noninteractive dpkg --force-confold -i /root/later/*.deb 2>&1",
        Seconds(900)));
  }
  // Of the first kernel, for modprobe and mkinitramfs.
  static std::vector<RootFile> Modules(const std::vector<std::string>& names) {
    std::vector<RootFile> modules;
    for (const auto& file : FindModules(kKernel, names)) {
      modules.push_back(
          {.path = "lib/modules/" + Kernel(kKernel).release + "/kernel/" + file.filename().string(),
           .source = file});
    }
    return modules;
  }
  std::string Output(const std::string& command, Seconds deadline = Seconds(180)) {
    const auto output = guest().Must(command + " 2>&1", deadline);
    EXPECT_TRUE(output) << (output ? "" : output.error().what);
    return output ? *output : "";
  }
};

// khop is the kexec that kdump-tools call.
TEST_F(DebianTools, KdumpToolsRunOnKhop) {
  START_DEBIAN({.suite = "bookworm",
                .kernel = kKernel,
                .memory_mib = 2048,
                .cpus = 2,
                .append = "crashkernel=512M"});
  InstallKdumpTools();
  if (HasFailure()) return;
  MUST(guest().Must("dpkg -i /root/debs/khop_*.deb /root/debs/khop-kexec_*.deb"));
  EXPECT_THAT(Output("/sbin/kexec --version"), HasSubstr("khop"));

  // The installation has loaded one by kexec-tools' own.
  EXPECT_EQ(Output("cat /sys/kernel/kexec_crash_loaded"), "1\n");
  EXPECT_THAT(Output("kdump-config unload"), HasSubstr("unloaded kdump kernel"));
  EXPECT_EQ(Output("cat /sys/kernel/kexec_crash_loaded"), "0\n");

  EXPECT_THAT(Output("kdump-config test"), HasSubstr("/sbin/kexec -p"));
  EXPECT_THAT(Output("kdump-config load"), HasSubstr("loaded kdump kernel"));
  EXPECT_EQ(Output("cat /sys/kernel/kexec_crash_loaded"), "1\n");
  EXPECT_THAT(Output("kdump-config status"), HasSubstr("ready to kdump"));
  EXPECT_THAT(Output("kdump-config show"), HasSubstr("/sbin/kexec -p"));
  EXPECT_THAT(Output("khop status"), HasSubstr("Crash image  " + Image(Kernel(kKernel))));
  EXPECT_THAT(Output("kdump-config unload"), HasSubstr("unloaded kdump kernel"));
  EXPECT_EQ(Output("cat /sys/kernel/kexec_crash_loaded"), "0\n");
  EXPECT_THAT(Output("kdump-config status || true"), HasSubstr("Not ready to kdump"));

  // Their service, and what their udev rule does when a CPU comes. udevd's own filter of system
  // calls has no kexec_load, so that on Debian 12 the rule itself changes nothing, whoever's kexec
  // it is.
  MUST(guest().Must("systemctl restart kdump-tools", Seconds(300)));
  EXPECT_EQ(Output("cat /sys/kernel/kexec_crash_loaded"), "1\n");
  const std::string once = Output("khop status");  // has the time of the load
  MUST(
      guest().Must("cpu=/sys/devices/system/cpu/cpu1/online; "
                   "echo 0 > $cpu && echo 1 > $cpu && udevadm settle",
                   Seconds(240)));
  EXPECT_EQ(Output("khop status"), once);
  EXPECT_EQ(Output("cat /sys/kernel/kexec_crash_loaded"), "1\n");
  EXPECT_THAT(
      Output("kdump-config try-reload", Seconds(300)),
      testing::AllOf(HasSubstr("unloaded kdump kernel"), HasSubstr("\nloaded kdump kernel")));
  EXPECT_NE(Output("khop status"), once);
  EXPECT_EQ(Output("cat /sys/kernel/kexec_crash_loaded"), "1\n");

  // And the dump itself: the capture kernel comes up, they save, and reboot.
  const size_t at = machine().console().size();
  MUST(guest().Start("echo c > /proc/sysrq-trigger"));
  const auto end = machine().WaitForEnd(Seconds(600));
  MUST(end);
  EXPECT_EQ(end->reason, EndReason::kGuestReset);
  const std::string said = machine().console().substr(at);
  EXPECT_THAT(said, HasSubstr("sysrq triggered crash"));
  EXPECT_THAT(said, HasSubstr("saved vmcore in /var/crash"));
}

// With kexec-tools' own kexec they know nothing of khop, and take the reservation when they like.
TEST_F(DebianTools, KdumpToolsComeBetween) {
  START_DEBIAN({.suite = "bookworm",
                .kernel = kKernel,
                .more_kernels = {"6.12"},
                .memory_mib = 2048,
                .append = "crashkernel=512M"});
  InstallKdumpTools();
  if (HasFailure()) return;
  MUST(guest().Must("dpkg -i /root/debs/khop_*.deb"));
  const LabKernel next = Kernel("6.12");
  const std::string command_line = std::string(kCommandLine) + " crashkernel=512M";
  const std::string load = "khop load " + Image(next) + " --initrd " + Initrd(next) +
                           " --cmdline '" + command_line + "' ";
  // What is theirs is not displaced.
  MUST(guest().Must("systemctl restart kdump-tools", Seconds(300)));
  const auto refused = guest().Run(load + "--route reserved", Seconds(300));
  MUST(refused);
  EXPECT_NE(refused->exit_code, 0) << refused->output;
  EXPECT_EQ(Output("cat /sys/kernel/kexec_crash_loaded"), "1\n");
  EXPECT_EQ(Output("cat /sys/kernel/kexec_loaded"), "0\n");
  EXPECT_THAT(Output(load, Seconds(300)), HasSubstr("Route        in-place"));
  EXPECT_EQ(Output("cat /sys/kernel/kexec_crash_loaded"), "1\n");
  MUST(guest().Must("khop unload"));

  // What is khop's they displace: khop sees it, and refuses before the shutdown.
  MUST(guest().Must("kdump-config unload"));
  MUST(guest().Must(load + "--route reserved", Seconds(300)));
  MUST(guest().Must("khop status"));
  EXPECT_THAT(Output("kdump-config load"), HasSubstr("loaded kdump kernel"));
  const auto displaced = guest().Run("khop exec");
  MUST(displaced);
  EXPECT_NE(displaced->exit_code, 0) << displaced->output;
  EXPECT_THAT(displaced->output, HasSubstr("khop: "));

  // A service that unloads during the shutdown, as other distributions' do (Debian's stays). What
  // lay there still does: it is checked once more, and is intact.
  const auto at_shutdown = [&](const std::string& does) {
    MUST(
        guest().Must("kdump-config unload; d=/etc/systemd/system/kdump-tools.service.d; "
                     "mkdir -p $d && printf '[Unit]\\nConflicts=shutdown.target\\n"
                     "Before=shutdown.target\\n[Service]\\nExecStop=\\nExecStop=/usr/sbin/"
                     "kdump-config " +
                     does +
                     "\\n' > $d/lab.conf && systemctl daemon-reload && "
                     "systemctl is-active kdump-tools"));
    MUST(guest().Must(load + "--route reserved", Seconds(300)));
  };
  MUST(guest().Must("khop unload; true"));
  at_shutdown("unload");
  if (HasFailure()) return;
  ExpectHopTo(next, "systemctl kexec", command_line);
  if (HasFailure()) return;
  EXPECT_THAT(
      machine().console(),
      testing::ContainsRegex("unloaded kdump kernel[^@]*khop: the loaded kernel is intact"));

  // One that loads there, over it: a plain reboot.
  at_shutdown("load");
  if (HasFailure()) return;
  const size_t at = machine().console().size();
  MUST(guest().Start("systemctl kexec && sleep 999"));
  const auto end = machine().WaitForEnd(Seconds(300));
  MUST(end);
  EXPECT_EQ(end->reason, EndReason::kGuestReset);
  const std::string said = machine().console().substr(at);
  EXPECT_THAT(said, HasSubstr("khop: the loaded kernel: another tool has loaded a crash kernel"));
  EXPECT_THAT(said, Not(HasSubstr("; resetting")));  // the relocator's word
}

// An initramfs that hops like a boot loader.
TEST_F(DebianTools, AnInitramfsHops) {
  const LabKernel first = Kernel(kKernel);
  const LabKernel next = Kernel("6.12");
  std::vector<RootFile> files =
      Modules({"virtio", "virtio_ring", "virtio_mmio", "virtio_blk", "crc16", "crc32c_generic",
               "libcrc32c", "mbcache", "jbd2", "ext4"});
  // mkinitramfs wants to know what the kernel can unpack.
  files.push_back(
      {.path = "boot/config-" + first.release, .source = first.image.parent_path() / "config"});
  START_DEBIAN({.suite = "bookworm", .kernel = kKernel, .more_kernels = {"6.12"}, .files = files});
  const std::string loader = "/boot/loader.img";
  MUST(
      guest().Must("dpkg -i /root/debs/khop_*.deb && echo 'initramfs = yes' > /etc/khop.conf && "
                   "printf 'virtio_mmio\\nvirtio_blk\\next4\\n' >> /etc/initramfs-tools/modules && "
                   "echo MODULES=list > /etc/initramfs-tools/conf.d/lab && depmod " +
                       first.release + " && mkinitramfs -o " + loader + " " + first.release +
                       " 2>&1 && lsinitramfs " + loader + " | grep -x usr/sbin/khop",
                   Seconds(900)));
  MUST(guest().Must("khop load " + Image(first) + " --initrd " + loader + " --cmdline '" +
                        kCommandLine + " root=/dev/vda khop.kernel=" + Image(next) +
                        " khop.initrd=" + Initrd(next) + "'",
                    Seconds(300)));
  const size_t at = machine().console().size();
  MUST(guest().Start("khop exec --now"));
  ExpectUp(next, Seconds(600));
  EXPECT_EQ(Output("cat /proc/cmdline"), std::string(kCommandLine) + " root=/dev/vda\n");
  const std::string said = machine().console().substr(at);
  EXPECT_THAT(said, HasSubstr("Linux version " + first.release));
  EXPECT_THAT(said, HasSubstr("Linux version " + next.release));
}

// systemd's shutdown leaves the watchdog on, and what arrives stops it.
TEST_F(DebianTools, AWatchdogRunsOnUntilTheMachineIsUp) {
  const LabKernel kernel = Kernel(kKernel);
  START_DEBIAN({.suite = "bookworm",
                .kernel = kKernel,
                .append = "watchdog.stop_on_reboot=0",
                .files = Modules({"i6300esb"}),
                .extra_arguments = {"-device", "i6300esb"}});
  MUST(
      guest().Must("dpkg -i /root/debs/khop_*.deb && depmod && modprobe i6300esb && "
                   "echo i6300esb >> /etc/modules && systemctl enable khop-arrived 2>&1"));
  MUST(guest().Must("khop load " + Image(kernel) + " --initrd " + Initrd(kernel) + " --cmdline '" +
                        kCommandLine + "'",
                    Seconds(300)));
  // What the unit does, first: somebody has left it running.
  const std::string state = "cat /sys/class/watchdog/watchdog0/state";
  MUST(guest().Must("echo > /dev/watchdog0"));
  EXPECT_EQ(Output(state), "active\n");
  MUST(guest().Must("systemctl start khop-arrived"));
  EXPECT_EQ(Output(state), "inactive\n");
  const size_t at = machine().console().size();
  ExpectHopTo(kernel, "khop exec --watchdog 900");
  // The kernel's word for one that is closed and runs on.
  EXPECT_THAT(machine().console().substr(at), HasSubstr("watchdog0: watchdog did not stop"));
  EXPECT_EQ(Output(state), "inactive\n");
  EXPECT_THAT(Output("systemctl show -p Result -p ExecMainStartTimestampMonotonic khop-arrived"),
              testing::AllOf(HasSubstr("Result=success"), Not(HasSubstr("Monotonic=0\n"))));
}

}  // namespace
}  // namespace khop::lab
