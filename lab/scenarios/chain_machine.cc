// SPDX-License-Identifier: MIT
#include "lab/scenarios/chain_machine.h"

#include <cstdio>
#include <system_error>

namespace khop::lab {
namespace {

// Always of the same length: the size of the device tree is compared.
std::string CommandLine(int hop) {
  char line[64];
  snprintf(line, sizeof line, "console=ttyAMA0 khop_lab.hop=%04d", hop);
  return line;
}

Result<GuestImage> MakeInitrd(const std::filesystem::path& path,
                              const std::map<std::string, LabKernel>& kernels,
                              const std::function<Result<void>(Initramfs&)>& add) {
  Result<Initramfs> guest = BaseGuest();
  if (!guest) return std::unexpected(guest.error());
  if (add) {
    if (const Result<void> added = add(*guest); !added) return std::unexpected(added.error());
  }
  guest->AddDirectory("modules");
  for (const auto& [name, kernel] : kernels) {
    guest->AddDirectory("modules/" + kernel.release);
    for (size_t i = 0; i < kernel.modules.size(); ++i) {
      Result<std::string> module = ReadUnpacked(kernel.modules[i]);
      if (!module) return std::unexpected(module.error());
      guest->AddBytes("modules/" + kernel.release + "/" + std::to_string(i), *std::move(module));
    }
  }
  const Result<Initramfs::Written> written = guest->Write(path);
  if (!written) return std::unexpected(written.error());
  return GuestImage{.path = path, .written = *written};
}

}  // namespace

void ChainMachine::StartChain(const ChainConfig& config) {
  for (const std::string& name : config.kernels) {
    const Result<LabKernel> kernel = FindKernel(name);
    if (!kernel) GTEST_SKIP() << kernel.error().what;
    kernels_[name] = *kernel;
  }
  const testing::TestInfo* info = testing::UnitTest::GetInstance()->current_test_info();
  const Result<std::filesystem::path> directory =
      MakeRunDirectory(std::string(info->test_suite_name()) + "." + info->name());
  MUST(directory);
  directory_ = *directory;
  const Result<GuestImage> initrd = MakeInitrd(directory_ / "initrd.cpio", kernels_, config.add);
  MUST(initrd);
  initrd_ = *initrd;
  Initramfs disk;
  for (const auto& [name, kernel] : kernels_) disk.AddFile("Image-" + name, kernel.image);
  disk.AddFile("initrd", initrd_.path);
  MUST(disk.WriteDisk(directory_ / "disk.iso"));
  running_ = config.kernels.front();
  Result<Machine> machine =
      Machine::Start({.kernel = kernels_[running_].image,
                      .initrd = initrd_.path,
                      .command_line = CommandLine(0) + " khop_lab.nodigest " + config.append,
                      .cpu = config.cpu,
                      .machine = config.machine,
                      .memory_mib = config.memory_mib,
                      .cpus = config.cpus,
                      .extra_arguments = {"-drive",
                                          "if=none,id=disk,format=raw,readonly=on,file=" +
                                              (directory_ / "disk.iso").string(),
                                          "-device", "virtio-blk-device,drive=disk"},
                      .console_log = directory_ / "console.log"});
  MUST(machine);
  machine_ = std::move(*machine);
  guest_.emplace(machine_);
  const Result<Facts> facts = guest_->WaitUntilUp(Seconds(180));
  MUST(facts);
  ASSERT_EQ(facts->uname, kernels_[running_].release);
  MountDisk();
}

void ChainMachine::TearDown() {
  machine_.Kill();
  std::error_code error;
  std::filesystem::remove(directory_ / "initrd.cpio", error);
  std::filesystem::remove(directory_ / "disk.iso", error);
  if (HasFailure()) {
    ADD_FAILURE() << "the console's last lines (all: " << machine_.console_log().string() << "):\n"
                  << machine_.ConsoleTail();
  }
}

void ChainMachine::MountDisk() {
  MUST(
      guest().Must("for m in /modules/$(uname -r)/*; do [ -f $m ] || continue; "
                   "insmod $m || exit 1; done; mount -t iso9660 -o ro /dev/vda /next"));
}

void ChainMachine::HopTo(const std::string& kernel, const std::string& route,
                         const std::string& arguments, const std::string& before_exec) {
  const std::string command_line = CommandLine(++hops_);
  MUST(guest().Must("khop load /next/Image-" + kernel + " --initrd /next/initrd --cmdline '" +
                        command_line + "' --route " + route + " " + arguments,
                    Seconds(240)));
  MUST(guest().Must(before_exec));
  Result<HopProof> proof = ProveHop(
      machine(), guest(),
      {.release = kernels_.at(kernel).release,
       .command_line = command_line,
       .initrd_sha256 = initrd_.written.sha256,
       .manifest_sha256 = initrd_.written.manifest_sha256,
       .route = route},
      [](Guest& g) { return g.Start("khop exec --now"); }, Seconds(240));
  MUST(proof);
  proof_ = *std::move(proof);
  running_ = kernel;
  MountDisk();
}

Result<Facts> ChainMachine::HopBy(const std::string& kernel, const std::string& command) {
  ++hops_;
  const int pid = machine_.pid();
  if (const Result<void> started = guest().Start(command); !started) {
    return std::unexpected(started.error());
  }
  Result<Facts> after = guest().WaitUntilUp(Seconds(240));
  if (!after) return after;
  if (!machine_.running() || machine_.pid() != pid) {
    return Fail("the machine is not the one that the hop began on");
  }
  running_ = kernel;
  MountDisk();
  return after;
}

}  // namespace khop::lab
