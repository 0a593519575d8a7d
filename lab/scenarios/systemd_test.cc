// SPDX-License-Identifier: MIT
// khop's packages on a real Debian, with its own systemd: installed, used, removed.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "lab/scenarios/debian_machine.h"

namespace khop::lab {
namespace {

using testing::HasSubstr;
using testing::Not;

class Systemd : public DebianMachine {
 protected:
  // What `khop report` says of the hop that led here.
  void ExpectReport(const std::string& route) {
    const auto report = KhopJson(guest(), "report");
    MUST(report);
    EXPECT_EQ(report->value("route", ""), route);
    // The hook, or kexec -e, noted when reboot(2) began.
    bool shutdown = false;
    for (const auto& step : report->value("steps", nlohmann::json::array())) {
      shutdown = shutdown || step.value("name", "") == "shutdown";
    }
    EXPECT_TRUE(shutdown) << report->dump();
  }
  std::string LoadLine(const LabKernel& kernel) {
    return Image(kernel) + " --initrd " + Initrd(kernel) + " --cmdline '" + kCommandLine + "'";
  }

  // What is in one list of files only.
  static std::string Differences(const std::string& before, const std::string& after) {
    const auto lines = [](const std::string& text) {
      std::istringstream in(text);
      std::set<std::string> found;
      for (std::string line; std::getline(in, line);) found.insert(line);
      return found;
    };
    std::vector<std::string> different;
    std::ranges::set_symmetric_difference(lines(before), lines(after),
                                          std::back_inserter(different));
    std::string text;
    for (const std::string& line : different) text += line + "\n";
    return text;
  }

  // The whole life of the packages on a machine; each hop is a shutdown by systemd.
  void LiveThrough(const std::string& suite, const std::string& first, const std::string& second) {
    START_DEBIAN({.suite = suite, .kernel = first, .more_kernels = {second}, .cpus = 2});
    const LabKernel one = Kernel(first);
    const LabKernel other = Kernel(second);
    const std::string before = AllFiles();
    MUST(guest().Must("dpkg -i /root/debs/khop_*.deb"));
    const auto doctor = guest().Must("khop doctor");
    MUST(doctor);
    EXPECT_THAT(*doctor, HasSubstr("systemd runs this machine"));

    // Loaded by the unit. Not installed as kexec: the hook's is the last check, and systemd calls
    // reboot(2).
    MUST(guest().Must("test ! -e /usr/sbin/kexec"));
    MUST(guest().Must(
        "{ echo 'kernel = " + Image(other) + "'; echo 'initrd = " + Initrd(other) +
            "'; echo 'preload = yes'; echo 'park-cpus = yes'; echo 'cmdline = " + kCommandLine +
            "'; } > /etc/khop.conf && { systemctl start khop-load || ! journalctl -o "
            "cat -u khop-load; } && khop status",
        Seconds(300)));
    ExpectHopTo(other, "systemctl kexec");
    if (HasFailure()) return;
    // The hook took the other CPU offline; else the kernel would have done it, after the hook.
    EXPECT_THAT(machine().console(),
                testing::ContainsRegex("psci: CPU1 killed[^@]*khop: the loaded kernel is intact"));
    ExpectReport("in-place");

    // Loaded by the hook of an installation, unloaded by that of a removal. Installed as kexec:
    // systemd calls kexec -e. And khop exec goes through systemctl.
    MUST(guest().Must("dpkg -i /root/debs/khop-kexec_*.deb && test ! -e /sbin/kexec.kexec-tools"));
    const std::string version = one.release + " " + Image(one);
    const std::string hooks = "/etc/kernel/post";
    MUST(guest().Must(hooks + "inst.d/zz-khop " + version + " && khop status", Seconds(300)));
    MUST(guest().Must(hooks + "rm.d/zz-khop " + version + " && kexec -S -l", Seconds(300)));
    // So does systemd's kernel-install.
    MUST(guest().Must("BOOT_ROOT=/boot kernel-install add " + version + " " + Initrd(one) +
                          " 2>&1 && khop status",
                      Seconds(300)));
    ExpectHopTo(one, "khop exec");
    if (HasFailure()) return;
    ExpectReport("in-place");

    // Without a trace, memory included.
    MUST(guest().Must("khop load " + LoadLine(other)));
    MUST(guest().Must("dpkg -r khop-kexec && dpkg -r khop"));
    const auto left = guest().Must("cat /sys/kernel/kexec_loaded; ipcs -m; ls -d /run/khop; true");
    MUST(left);
    EXPECT_THAT(*left, testing::StartsWith("0\n"));
    EXPECT_THAT(*left, Not(HasSubstr("root ")));
    MUST(guest().Must("test -e /etc/khop.conf && dpkg -P khop-kexec khop"));
    EXPECT_EQ(Differences(before, AllFiles()), "");

    // Doubt at the last moment: khop unloads, and systemd reboots by the firmware.
    MUST(guest().Must("dpkg -i /root/debs/khop_*.deb && khop load " + LoadLine(other)));
    MUST(guest().Must("ipcs -m | awk '$3 == \"root\" {print $2}' | xargs -n 1 ipcrm -m"));
    const size_t at = machine().console().size();
    MUST(guest().Start("systemctl kexec && sleep 999"));
    const auto end = machine().WaitForEnd(Seconds(180));
    MUST(end);
    EXPECT_EQ(end->reason, EndReason::kGuestReset);
    const std::string said = machine().console().substr(at);
    EXPECT_THAT(said, HasSubstr("khop: "));
    EXPECT_THAT(said, Not(HasSubstr("; resetting")));  // the relocator's word
  }
};

TEST_F(Systemd, Debian12KexecsTwiceAndForgets) { LiveThrough("bookworm", "6.1", "6.12"); }
TEST_F(Systemd, Debian13KexecsTwiceAndForgets) { LiveThrough("trixie", "6.12", "6.1"); }

}  // namespace
}  // namespace khop::lab
