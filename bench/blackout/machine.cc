// SPDX-License-Identifier: MIT
#include "bench/blackout/machine.h"

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <system_error>

#include "lab/vm/hop.h"
#include "lab/vm/sha256.h"

namespace khop::bench {
namespace {

using lab::Fail;
using lab::Initramfs;
using lab::Result;
using lab::Seconds;

constexpr uint64_t kMib = uint64_t{1} << 20;
constexpr Seconds kLong(3600);  // a digest with the caches off, on a busy machine
constexpr const char* kKexec =
    "/next/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1 --library-path /next/lib/aarch64-linux-gnu "
    "/next/kexec-tools/kexec";

// `Result<void>` of anything.
template <typename T>
Result<void> Done(const Result<T>& result) {
  if (!result) return std::unexpected(result.error());
  return {};
}

uint64_t SizeOf(const std::filesystem::path& path) {
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(path, error);
  return error ? 0 : size;
}

// What all initrds begin with, compressed: it has to leave room in the smallest.
Result<void> WriteBase(const std::filesystem::path& path, const lab::LabKernel& kernel) {
  Initramfs guest;
  for (const char* directory : {"bin", "dev", "proc", "sys", "run", "tmp", "next", "modules"}) {
    guest.AddDirectory(directory);
  }
  guest.AddCharDevice("dev/console", 5, 1);
  guest.AddCharDevice("dev/null", 1, 3, 0666);
  const auto init = lab::FindGuestFile("khop-guest-init");
  if (!init) return Done(init);
  const auto busybox = lab::FindGuestFile("busybox");
  if (!busybox) return Done(busybox);
  guest.AddFile("init", *init, 0755);
  guest.AddFile("bin/busybox", *busybox, 0755);
  guest.AddSymlink("bin/sh", "busybox");
  for (const char* program : {"khop", "khop-guest-tool"}) {
    guest.AddSymlink(std::string("bin/") + program, std::string("/next/bin/") + program);
  }
  for (size_t i = 0; i < kernel.modules.size(); ++i) {
    auto module = lab::ReadUnpacked(kernel.modules[i]);
    if (!module) return Done(module);
    guest.AddBytes("modules/" + std::to_string(i), *std::move(module));
  }
  return guest.WritePacked(path);
}

// `base` and bytes that do not compress, of `mib` MiB together. Returns the size of the latter.
Result<uint64_t> WriteInitrd(const std::filesystem::path& path, const std::filesystem::path& base,
                             int mib) {
  const uint64_t size = static_cast<uint64_t>(mib) * kMib;
  // Archives begin at multiples of 4, and the second has headers and an end of its own.
  const uint64_t start = (SizeOf(base) + 3) / 4 * 4;
  constexpr uint64_t kHeaders = 1024;
  if (start == 0 || start + kHeaders >= size) {
    return Fail("the guest's programs alone take " + std::to_string(start) +
                " bytes of the initrd of " + std::to_string(mib) + " MiB");
  }
  const uint64_t padding = (size - start - kHeaders) / 4096 * 4096;
  Initramfs noise;
  noise.AddPadding("padding", padding, 2026);
  const std::filesystem::path second = path.string() + ".noise";
  const auto written = noise.Write(second);
  if (!written) return std::unexpected(written.error());
  std::error_code error;
  std::filesystem::copy_file(base, path, std::filesystem::copy_options::overwrite_existing, error);
  if (!error) std::filesystem::resize_file(path, start, error);
  std::ofstream out(path, std::ios::binary | std::ios::app);
  out << std::ifstream(second, std::ios::binary).rdbuf();
  out.close();
  if (!error) std::filesystem::resize_file(path, size, error);
  if (error || !out) return Fail("cannot write " + path.string());
  std::filesystem::remove(second, error);
  return padding;
}

// image_size of an Image's header (Documentation/arm64/booting.rst).
uint64_t ImageSize(const std::filesystem::path& image) {
  std::ifstream in(image, std::ios::binary);
  in.seekg(16);
  uint64_t size = 0;
  for (int i = 0; i < 8; ++i) size |= static_cast<uint64_t>(in.get() & 0xff) << (8 * i);
  return in ? size : 0;
}

std::string QemuVersion() {
  std::string version = "?";
  FILE* const pipe = popen("qemu-system-aarch64 --version", "r");
  if (pipe == nullptr) return version;
  char word[32] = {};
  if (fscanf(pipe, "QEMU emulator version %31s", word) == 1) version = word;
  pclose(pipe);
  return version;
}

// Linux 5.16 and later copy with the MMU on.
bool CopiesWithMmu(const std::string& kernel) {
  int major = 0;
  int minor = 0;
  sscanf(kernel.c_str(), "%d.%d", &major, &minor);
  return major > 5 || (major == 5 && minor >= 16);
}

// Runs a command whose lines are "NAME NUMBER NAME NUMBER…".
Result<std::map<std::string, uint64_t>> Numbers(lab::Guest& guest, const std::string& command) {
  const auto text = guest.Must(command, kLong);
  if (!text) return std::unexpected(text.error());
  std::map<std::string, uint64_t> numbers;
  std::istringstream in(*text);
  std::string name;
  for (uint64_t number = 0; in >> name >> number;) numbers[name] = number;
  return numbers;
}

// No block of free memory of this size is left whole for the route gather.
constexpr int kPieceKib = 2048;

}  // namespace

Result<HopMachine> HopMachine::Make(const std::string& kernel, const MachineOptions& options) {
  HopMachine made;
  made.kernel_name_ = kernel;
  made.options_ = options;
  const auto found = lab::FindKernel(kernel);
  if (!found) return std::unexpected(found.error());
  made.kernel_ = *found;
  made.image_size_ = ImageSize(found->image);
  // A quarter would not be had again below 4 GiB beside a payload that lies in the first one.
  made.command_line_ =
      "console=ttyAMA0 khop_lab.nodigest crashkernel=" + std::to_string(options.memory_mib / 5) +
      "M";
  const auto directory =
      lab::MakeRunDirectory("blackout-" + kernel + "-" + std::to_string(options.memory_mib));
  if (!directory) return std::unexpected(directory.error());
  made.directory_ = *directory;
  made.base_ = *directory / "base.cpio.gz";
  if (const auto written = WriteBase(made.base_, made.kernel_); !written) {
    return std::unexpected(written.error());
  }
  Initramfs disk;
  disk.AddFile("Image", made.kernel_.image);
  for (const int mib : options.payloads) {
    Initrd initrd{.path = *directory / ("initrd-" + std::to_string(mib)), .size = 0, .padding = 0};
    const auto padding = WriteInitrd(initrd.path, made.base_, mib);
    if (!padding) return std::unexpected(padding.error());
    initrd.padding = *padding;
    initrd.size = SizeOf(initrd.path);
    disk.AddFile(initrd.path.filename().string(), initrd.path);
    made.initrds_[mib] = initrd;
  }
  disk.AddDirectory("bin");
  for (const char* program : {"khop", "khop-guest-tool"}) {
    const auto file = lab::FindGuestFile(program);
    if (!file) return std::unexpected(file.error());
    disk.AddFile(std::string("bin/") + program, *file, 0755);
    if (program == std::string("khop")) {
      const auto digest = lab::Sha256OfFiles({file->string()});
      if (!digest) return std::unexpected(digest.error());
      made.khop_ = digest->substr(0, 12);
    }
  }
  if (const auto added = lab::AddKexecTools(disk, &made.kexec_tools_); !added) {
    return std::unexpected(added.error());
  }
  if (const auto written = disk.WriteDisk(*directory / "disk.iso"); !written) {
    return std::unexpected(written.error());
  }
  made.qemu_ = QemuVersion();
  return made;
}

std::string HopMachine::SetupOf(const Way& way) const {
  return kernel_.release + "; " + (way.loader == "khop" ? "khop " + khop_ : kexec_tools_) + "; " +
         std::to_string(options_.memory_mib) + " MiB; just booted; QEMU " + qemu_;
}

Result<lab::Machine> HopMachine::Start() const {
  return lab::Machine::Start(
      {.kernel = kernel_.image,
       .initrd = base_,
       .command_line = command_line_,
       // Without the ITS: kexec-tools leaves its tables unreserved, and the kernel after it warns.
       .machine = "virt,gic-version=3,its=off",
       .memory_mib = options_.memory_mib,
       .instruction_count = true,
       .extra_arguments = {"-drive",
                           "if=none,id=disk,format=raw,readonly=on,file=" +
                               (directory_ / "disk.iso").string(),
                           "-device", "virtio-blk-device,drive=disk"},
       .console_log = directory_ / "console.log"});
}

// Loads twice: once to watch the memory, once to count. kexec-tools, whose memory no goal is about
// and whose loads take longest, is watched in the first run only.
Result<void> HopMachine::Load(lab::Guest& guest, const Case& what, Sample& run) const {
  const std::string initrd = "/next/initrd-" + std::to_string(what.payload_mib);
  const std::string line = "'" + command_line_ + " khop_bench.next'";
  const bool khop = what.way.loader == "khop";
  std::string load;
  if (khop) {
    load = "khop load --json /next/Image --initrd " + initrd + " --cmdline " + line + " --route " +
           what.way.route + " --verify " + what.way.verify;
  } else {
    load = std::string(kKexec) + " -l /next/Image --initrd=" + initrd + " --command-line=" + line +
           (what.way.verify == "none" ? " --no-checks" : "");
  }
  if (what.way.route == "gather") {
    const auto pieces = guest.Must("khop-guest-tool fragment " + std::to_string(kPieceKib), kLong);
    if (!pieces) return Done(pieces);
  }
  // From the page cache, so that no disk is waited for.
  const auto warm = guest.Must("cat /next/Image " + initrd + " > /dev/null", kLong);
  if (!warm) return Done(warm);
  // From 5.16 on that is mostly a copy of the tables of all memory.
  const auto any = Numbers(guest, "khop-guest-tool peak khop-guest-tool kexec load");
  if (!any) return Done(any);
  run.any_image = any->at("peak");
  const auto none = guest.Must("khop-guest-tool kexec unload", kLong);
  if (!none) return Done(none);
  if (khop || run.repetition == 1) {
    // The digest that kexec-tools takes needs minutes and no memory.
    const auto peak = Numbers(guest, "khop-guest-tool peak " + load + (khop ? "" : " --no-checks"));
    if (!peak) return Done(peak);
    run.peak = peak->at("peak");
    const auto unloaded = guest.Must(khop ? "khop unload" : std::string(kKexec) + " -u", kLong);
    if (!unloaded) return Done(unloaded);
  }
  const auto count = Numbers(guest, "khop-guest-tool count " + load);
  if (!count) return Done(count);
  run.load = count->at("ticks");
  run.load_idle = count->at("idle");
  // Kernel and initrd; the device tree is small.
  run.payload = image_size_ + initrds_.at(what.payload_mib).size;
  run.kernel_mmu = CopiesWithMmu(kernel_name_);
  run.by_kernel = run.payload;
  if (khop) {
    const auto plan = guest.Must("cat /tmp/measured", kLong);
    if (!plan) return Done(plan);
    const auto json = nlohmann::json::parse(*plan, nullptr, false);
    if (!json.is_object()) return Fail("khop load --json printed no JSON object:\n" + *plan);
    run.payload = 0;
    for (const auto& segment : json["segments"]) run.payload += segment.value("size", uint64_t{0});
    run.by_kernel = json["control"].value("size", uint64_t{0});
    if (what.way.route == "kernel") run.by_kernel += run.payload;
  }
  return {};
}

// The kernel that came up is the wanted one, with what it was given.
Result<void> HopMachine::CheckNext(lab::Guest& guest, const Case& what) const {
  const uint64_t padding = initrds_.at(what.payload_mib).padding;
  return Done(
      guest.Must("grep -q ' khop_bench.next$' /proc/cmdline && test $(stat -c %s /padding) = " +
                     std::to_string(padding) + " && test $(cat /sys/kernel/kexec_crash_size) != 0",
                 kLong));
}

Result<Sample> HopMachine::Measure(const Case& what, int repetition) {
  auto machine = Start();
  if (!machine) return std::unexpected(machine.error());
  lab::Guest guest(*machine);
  const auto up = guest.WaitUntilUp(kLong);
  if (!up) return std::unexpected(up.error());
  if (const auto mounted = guest.Must(lab::kMountDisk, kLong); !mounted) {
    return std::unexpected(mounted.error());
  }
  Sample run{.what = what, .repetition = repetition, .setup = SetupOf(what.way)};
  if (const auto loaded = Load(guest, what, run); !loaded) return std::unexpected(loaded.error());
  const bool khop = what.way.loader == "khop";
  // khop notes the count before reboot(2) itself; but what the running kernel holds nobody can
  // write to any more, and kexec-tools notes nothing.
  const bool by_exec = khop && what.way.route != "kernel";
  const size_t console = machine->console().size();
  const auto left =
      guest.Start(by_exec ? "khop exec --now" : "khop-guest-tool reboot > /dev/console");
  if (!left) return std::unexpected(left.error());
  const auto facts = guest.WaitUntilUp(kLong);
  if (!facts) return std::unexpected(facts.error());
  if (const auto next = CheckNext(guest, what); !next) return std::unexpected(next.error());
  if (const auto mounted = guest.Must(lab::kMountDisk, kLong); !mounted) {
    return std::unexpected(mounted.error());
  }
  const auto zero = Numbers(guest, "khop-guest-tool zero");
  if (!zero) return std::unexpected(zero.error());
  uint64_t reboot = 0;
  if (!by_exec) {
    const size_t at = machine->console().find("rebooting at ", console);
    if (at == std::string::npos ||
        sscanf(machine->console().c_str() + at, "rebooting at %" SCNu64, &reboot) != 1) {
      return Fail("the guest did not say when it called reboot(2)");
    }
  }
  if (khop) {
    const auto report = lab::KhopJson(guest, "report");
    if (!report) return std::unexpected(report.error());
    run.by_khop = report->value("bytes_moved", uint64_t{0});
    run.verified = report->value("bytes_verified", uint64_t{0});
    run.khop_mmu = report->value("mmu", false);
    for (const auto& step : (*report)["steps"]) {
      const std::string name = step.value("name", "");
      if (name == "shutdown" && by_exec) reboot = step.value("start", uint64_t{0});
      if (name == "set-up" && reboot != 0) run.shutdown = step.value("start", uint64_t{0}) - reboot;
      if (name == "set-up" || name == "move" || name == "verify" || name == "finish") {
        run.relocator += step.value("ticks", uint64_t{0});
      }
    }
  } else {
    run.verified = what.way.verify == "none" ? 0 : run.payload;
  }
  const uint64_t end = zero->at("zero");
  if (reboot == 0 || end <= reboot) {
    return Fail("time zero of the next kernel, " + std::to_string(end) +
                ", is not after reboot(2), " + std::to_string(reboot));
  }
  run.blackout = end - reboot;
  const auto instructions = [&](uint64_t ticks) {
    return ticks * (1'000'000'000 / facts->counter_hz);
  };
  for (uint64_t* ticks :
       {&run.blackout, &run.shutdown, &run.relocator, &run.load, &run.load_idle}) {
    *ticks = instructions(*ticks);
  }
  return run;
}

}  // namespace khop::bench
