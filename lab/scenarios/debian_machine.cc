// SPDX-License-Identifier: MIT
#include "lab/scenarios/debian_machine.h"

#include <cstdlib>
#include <system_error>

namespace khop::lab {
namespace {

constexpr const char* kLabService = R"([Unit]
Description=The lab
[Service]
Type=idle
# At once, with all that it runs: no command ends before the shutdown does.
KillSignal=SIGKILL
ExecStart=/opt/khop-lab/init --serve
StandardOutput=journal
)";

std::filesystem::path Arm64Directory() {
  const char* const moved = std::getenv("KHOP_ARM64_DIR");
  return moved != nullptr && *moved != '\0' ? moved : KHOP_ARM64_DIR;
}

std::filesystem::path RootImage(const std::string& suite) {
  const char* const moved = std::getenv("KHOP_LAB_DIR");
  return std::filesystem::path(moved != nullptr && *moved != '\0' ? moved : KHOP_LAB_DIR) /
         "debian" / suite / "root.img";
}

}  // namespace

void DebianBox::StartDebian(const DebianConfig& config) {
  const std::filesystem::path root = RootImage(config.suite);
  std::error_code error;
  if (!std::filesystem::exists(root, error)) {
    GTEST_SKIP() << "there is no Debian root " << root.string()
                 << " (ctest -R 'lab.debian' makes it)";
  }
  const testing::TestInfo* info = testing::UnitTest::GetInstance()->current_test_info();
  const auto directory =
      MakeRunDirectory(std::string(info->test_suite_name()) + "." + info->name() + config.name);
  MUST(directory);
  directory_ = *directory;
  const auto init = FindGuestFile("khop-guest-init");
  MUST(init);
  std::vector<RootFile> files = {
      {.path = "opt/khop-lab/init", .source = *init, .mode = 0755},
      {.path = "etc/systemd/system/khop-lab.service", .text = kLabService},
      {.path = "etc/systemd/system/multi-user.target.wants/khop-lab.service",
       .link = "../khop-lab.service"},
      // Packages leave the initrds as the scenario made them.
      {.path = "etc/initramfs-tools/update-initramfs.conf", .text = "update_initramfs=no\n"},
      // The console is the lab's.
      {.path = "etc/systemd/system/serial-getty@ttyAMA0.service", .link = "/dev/null"}};
  for (const auto& deb :
       std::filesystem::directory_iterator(Arm64Directory() / "packages-made", error)) {
    if (deb.path().extension() != ".deb") continue;
    files.push_back({.path = "root/debs/" + deb.path().filename().string(), .source = deb.path()});
  }
  if (files.size() < 8) {
    GTEST_SKIP() << "khop's packages are not made (packages/check build/arm64 does it)";
  }
  files.insert(files.end(), config.files.begin(), config.files.end());
  std::vector<std::string> names = {config.kernel};
  names.insert(names.end(), config.more_kernels.begin(), config.more_kernels.end());
  std::vector<std::filesystem::path> made;
  for (const std::string& name : names) {
    const auto kernel = FindKernel(name);
    if (!kernel) GTEST_SKIP() << kernel.error().what;
    const std::filesystem::path initrd = directory_ / ("initrd-" + name);
    MUST(WriteRootInitrd(name, {}, initrd));
    made.push_back(initrd);
    files.push_back({.path = Image(*kernel).substr(1), .source = kernel->image});
    files.push_back({.path = Initrd(*kernel).substr(1), .source = initrd});
  }
  const std::filesystem::path first = directory_ / "first.cpio";
  MUST(WriteRootInitrd(config.kernel, files, first));
  for (const auto& initrd : made) std::filesystem::remove(initrd, error);
  std::vector<std::string> devices = DiskArguments(root, /*snapshot=*/true);
  devices.insert(devices.end(), config.extra_arguments.begin(), config.extra_arguments.end());
  auto machine = Machine::Start(
      {.kernel = FindKernel(config.kernel)->image,
       .initrd = first,
       .command_line = kCommandLine + (config.append.empty() ? "" : " " + config.append),
       .memory_mib = config.memory_mib,
       .cpus = config.cpus,
       .allow_reboot = config.allow_reboot,
       .extra_arguments = devices,
       .console_log = directory_ / "console.log"});
  MUST(machine);
  machine_ = std::move(*machine);
  guest_.emplace(machine_);
  ExpectUp(Kernel(config.kernel));
}

void DebianBox::ExpectUp(const LabKernel& kernel, Seconds deadline) {
  const auto facts = guest_->WaitUntilUp(deadline);
  MUST(facts);
  ASSERT_EQ(facts->uname, kernel.release);
  MUST(guest_->Must("systemctl is-system-running --wait || systemctl --failed --no-legend",
                    Seconds(300)));
}

void DebianBox::Stop() {
  machine_.Kill();
  std::error_code error;
  std::filesystem::remove(directory_ / "first.cpio", error);
  if (testing::Test::HasFailure()) {
    ADD_FAILURE() << "the console's last lines (all: " << machine_.console_log().string() << "):\n"
                  << machine_.ConsoleTail();
  }
}

void DebianBox::ExpectHopTo(const LabKernel& kernel, const std::string& command,
                            const std::string& command_line) {
  const int pid = machine_.pid();
  const auto before = guest().GatherFacts();
  MUST(before);
  // systemctl comes back at once.
  MUST(guest().Start(command + " && sleep 999"));
  const auto after = guest().WaitUntilUp(Seconds(300));
  MUST(after);
  ASSERT_TRUE(machine_.running());
  EXPECT_EQ(machine_.pid(), pid);
  EXPECT_EQ(after->uname, kernel.release);
  EXPECT_EQ(after->command_line, command_line);
  EXPECT_GT(after->counter, before->counter);  // a reset would have begun it anew
  EXPECT_GE(SystemRam(*after) + (uint64_t{16} << 20), SystemRam(*before));
  // Kernels from 6.8 on show the initrd that they got.
  MUST(
      guest().Must("test ! -e /sys/firmware/initrd || cmp /sys/firmware/initrd " + Initrd(kernel)));
}

std::string DebianBox::AllFiles() {
  const auto files = guest().Must(
      "find / -xdev \\( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o "
      "-path /var/log -o -path /var/lib/dpkg -o -path /var/lib/systemd -o -path /var/tmp -o "
      "-path /var/cache \\) -prune -o -type d -printf '%p %m\\n' -o -printf '%p %m %s %l\\n' | "
      "sort");
  EXPECT_TRUE(files);
  return files ? *files : "";
}

}  // namespace khop::lab
