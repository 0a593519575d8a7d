// SPDX-License-Identifier: MIT
// Captures: any bytes as a manifest; and, in the place of what docs/example's machine says, any
// bytes through plan, doctor and report.
#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "tool/capture/captured_system.h"
#include "tool/cli/cli.h"
#include "tool/load/test_machine.h"

namespace {

khop::capture::Capture ReadExample() {
  khop::capture::Parts parts;
  for (const auto& file : std::filesystem::directory_iterator(KHOP_EXAMPLE)) {
    std::ifstream in(file.path(), std::ios::binary);
    parts[file.path().filename()] = {std::istreambuf_iterator<char>(in), {}};
  }
  auto capture = khop::capture::Decode(parts, KHOP_EXAMPLE);
  if (!capture) std::abort();
  return *std::move(capture);
}

// The pieces of the input, split at 0xff, are what the machine says; the tree has the rest.
khop::capture::Capture Replace(khop::capture::Capture capture, std::string_view text) {
  const auto next = [&] {
    const size_t end = std::min(text.find('\xff'), text.size());
    const std::string piece(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    return piece;
  };
  for (const char* const path : {"/proc/iomem", "/proc/meminfo", "/proc/cmdline", "/proc/consoles",
                                 "/sys/devices/system/cpu/online", "/sys/kernel/kexec_loaded"}) {
    capture.files[path] = next();
  }
  capture.kernel_log = next();
  khop::capture::Moment moment;
  std::istringstream(next()) >> moment.counter >> moment.monotonic_raw >> moment.suspended >>
      moment.frequency;
  capture.moment = moment;
  capture.files["/sys/firmware/fdt"] = text;
  return capture;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace khop;  // NOLINT(google-build-using-namespace): one function
  static const capture::Capture kExample = ReadExample();
  static load::TestMachine machine;
  const std::string text(reinterpret_cast<const char*>(data), size);
  (void)capture::Decode({{capture::kManifest, text}}, "fuzz");
  for (const auto& [name, part] : capture::Encode(Replace(kExample, text))) {
    machine.system.SetFile("/tmp/fuzz/" + name, part);
  }
  for (std::vector<std::string> arguments :
       {std::vector<std::string>{"doctor"},
        {"plan", "/boot/Image", "--diff-dtb", "--svg", "/tmp/plan.svg"},
        {"plan", "/boot/Image", "--route", "gather", "--json"},
        {"report"},
        {"report", "--json", "--svg", "/tmp/report.svg"}}) {
    arguments.insert(arguments.end(), {"--from", "/tmp/fuzz"});
    std::ostringstream out;
    cli::Context context{.system = machine.system, .out = out, .err = out, .blob = machine.blob};
    if (cli::Run(context, arguments) == static_cast<int>(ExitCode::kInternal)) std::abort();
  }
  return 0;
}
