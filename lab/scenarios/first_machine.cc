// SPDX-License-Identifier: MIT
#include "lab/scenarios/first_machine.h"

#include <system_error>

namespace khop::lab {

void FirstMachine::StartFirst(const FirstMachineConfig& config) {
  config_ = config;
  const Result<LabKernel> kernel = FindKernel(config.kernel);
  const Result<LabKernel> next_kernel = FindKernel(config.next_kernel);
  if (!kernel || !next_kernel) {
    GTEST_SKIP() << (kernel ? next_kernel : kernel).error().what;
  }
  kernel_ = *kernel;
  next_kernel_ = *next_kernel;
  next_kernel_.image.replace_filename(config.next_file);
  kernel_.drivers = FindModules(config.kernel, config.drivers);
  if (!config.next_program.empty()) {
    const Result<std::filesystem::path> program = FindGuestFile(config.next_program);
    MUST(program);
    next_kernel_.image = *program;
  }
  const testing::TestInfo* info = testing::UnitTest::GetInstance()->current_test_info();
  // A test may start several machines, one after the other; the last one's log stays.
  const Result<std::filesystem::path> directory =
      MakeRunDirectory(std::string(info->test_suite_name()) + "." + info->name());
  MUST(directory);
  directory_ = *directory;
  const Result<GuestImage> next =
      MakeNextGuest(directory_, config.next_padding, 2026,
                    config.next_carries_kernel ? next_kernel_.image : std::filesystem::path(),
                    config.next_with_makedumpfile);
  if (!next && config.next_with_makedumpfile) {
    GTEST_SKIP() << next.error().what;
  }
  MUST(next);
  next_guest_ = *next;
  if (!config.wrap.empty()) {
    const Result<std::filesystem::path> wrapped =
        WrapImage(config.wrap, next_kernel_.image, next_guest_.path, directory_);
    if (!wrapped) {
      GTEST_SKIP() << wrapped.error().what;
    }
    next_kernel_.image = *wrapped;
  }
  const std::filesystem::path disk = config.on_disk ? directory_ / "disk.iso" : "";
  const Result<GuestImage> first =
      MakeFirstGuest(directory_, next_kernel_.image, next_guest_.path, kernel_, disk, config.files);
  MUST(first);
  std::vector<std::string> devices = config.extra_arguments;
  if (config.on_disk) {
    devices.insert(devices.end(),
                   {"-drive", "if=none,id=disk,format=raw,readonly=on,file=" + disk.string(),
                    "-device", "virtio-blk-device,drive=disk"});
  }
  if (config.efi) {
    const Result<std::filesystem::path> firmware = FindEfiFirmware();
    if (!firmware) {
      GTEST_SKIP() << firmware.error().what;
    }
    // The generator is where the EFI stub's seeds come from.
    devices.insert(devices.end(), {"-bios", firmware->string(), "-device", "virtio-rng-pci"});
  }
  Result<Machine> machine =
      Machine::Start({.kernel = kernel_.image,
                      .initrd = first->path,
                      .command_line = "console=ttyAMA0 khop_lab.nodigest " + config.append,
                      .cpu = config.cpu,
                      .machine = config.machine,
                      .memory_mib = config.memory_mib,
                      .cpus = config.cpus,
                      .instruction_count = config.instruction_count,
                      .allow_reboot = config.allow_reboot,
                      .extra_arguments = devices,
                      .edit_tree = config.edit_tree,
                      .console_log = directory_ / "console.log"});
  MUST(machine);
  machine_ = std::move(*machine);
  guest_.emplace(machine_);
  const Result<Facts> facts = guest_->WaitUntilUp(Seconds(180));
  MUST(facts);
  facts_ = *facts;
  ASSERT_EQ(facts_.uname, kernel_.release);
  MUST(CheckFirmware());
  if (config.on_disk) {
    MUST(guest_->Must(kMountDisk));
  }
}

void FirstMachine::TearDown() {
  machine_.Kill();
  std::error_code error;
  std::filesystem::remove(directory_ / "first.cpio", error);
  std::filesystem::remove(directory_ / "next.cpio", error);
  std::filesystem::remove(directory_ / "disk.iso", error);
  if (!config_.wrap.empty()) std::filesystem::remove(directory_ / config_.wrap, error);
  if (HasFailure()) {
    ADD_FAILURE() << "the console's last lines (all: " << machine_.console_log().string() << "):\n"
                  << machine_.ConsoleTail();
  }
}

Result<std::string> FirstMachine::Load(const std::string& more) {
  return guest().Must("khop load /next/Image --initrd /next/initrd --cmdline '" +
                      std::string(kNextCommandLine) + "' " + more);
}

HopExpectation FirstMachine::Expected() const {
  return {.release = next_kernel_.release,
          .command_line = kNextCommandLine,
          .initrd_sha256 = next_guest_.written.sha256,
          .manifest_sha256 = next_guest_.written.manifest_sha256,
          .counter_is_wall_clock = !config_.instruction_count};
}

Result<void> FirstMachine::CheckFirmware() {
  const bool acpi = config_.efi && config_.machine.find("acpi=off") == std::string::npos;
  const Result<std::string> found = guest().Must(
      std::string("test ") + (config_.efi ? "" : "! ") + "-d /sys/firmware/efi && test " +
      (acpi ? "" : "! ") + "-f /sys/firmware/acpi/tables/FACP");
  if (!found) {
    return std::unexpected(found.error());
  }
  return {};
}

void FirstMachine::ExpectResetWithReason(const std::string& reason) {
  const size_t before = machine_.console().size();
  const Result<MachineEnd> end = machine_.WaitForEnd(Seconds(60));
  MUST(end);
  EXPECT_EQ(end->reason, EndReason::kGuestReset) << ToString(end->reason);
  const std::string said = machine_.console().substr(before);
  EXPECT_THAT(said, testing::ContainsRegex("khop: .*" + reason + ".*; resetting"));
  EXPECT_THAT(said, testing::Not(testing::HasSubstr("Booting Linux")));
  EXPECT_THAT(said, testing::Not(testing::HasSubstr("@khop begin")));
}

uint64_t FirstMachine::SegmentStart(const std::string& name, uint64_t* size) {
  const Result<nlohmann::json> status = KhopJson(guest(), "status");
  if (!status) {
    ADD_FAILURE() << status.error().what;
    return 0;
  }
  for (const nlohmann::json& segment : status->value("segments", nlohmann::json::array())) {
    if (segment.value("name", "").starts_with(name)) {
      if (size != nullptr) {
        *size = segment.value("size", uint64_t{0});
      }
      return segment.value("start", uint64_t{0});
    }
  }
  ADD_FAILURE() << "khop status names no segment " << name << ": " << status->dump();
  return 0;
}

void FirstMachine::SoftOffline(const std::string& segment, double where) {
  uint64_t size = 0;
  const uint64_t start = SegmentStart(segment, &size);
  const uint64_t page = start + static_cast<uint64_t>(static_cast<double>(size) * where);
  MUST(guest().Must("echo " + std::to_string(page) +
                    " > /sys/devices/system/memory/soft_offline_page"));
}

uint64_t FirstMachine::AvailableKib() {
  const Result<std::string> text = guest().Must(
      "sync; echo 3 > /proc/sys/vm/drop_caches; sleep 1; "
      // MemAvailable leaves out the free pages on the CPUs' own lists, 20 MiB and more.
      "awk '/^MemAvailable:/{n += $2} /^ *count:/{n += 4 * $2} END{print n}' "
      "/proc/meminfo /proc/zoneinfo");
  if (!text) {
    ADD_FAILURE() << text.error().what;
    return 0;
  }
  return std::strtoull(text->c_str(), nullptr, 10);
}

}  // namespace khop::lab
