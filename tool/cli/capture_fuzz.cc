// SPDX-License-Identifier: MIT
// Captures: any bytes as a manifest; and any bytes as what a machine says, through plan, doctor and
// report.
#include <cstdint>
#include <sstream>

#include "tool/capture/captured_system.h"
#include "tool/cli/cli.h"
#include "tool/load/test_machine.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace khop;  // NOLINT(google-build-using-namespace): one function
  const std::string text(reinterpret_cast<const char*>(data), size);
  (void)capture::Decode({{capture::kManifest, text}}, "fuzz");
  static load::TestMachine machine;
  // The pieces of the input, split at 0xff, are the machine's files.
  capture::Capture capture;
  capture.machine = "aarch64";
  capture.release = "6.1.0";
  size_t at = 0;
  for (const char* const path :
       {"/proc/iomem", "/proc/meminfo", "/proc/cmdline", "/proc/consoles",
        "/sys/devices/system/cpu/online", "/sys/kernel/kexec_loaded", "/sys/firmware/fdt"}) {
    const size_t end =
        path == std::string("/sys/firmware/fdt") ? std::string::npos : text.find('\xff', at);
    capture.files[path] = text.substr(at, end == std::string::npos ? end : end - at);
    if (end == std::string::npos) break;
    at = end + 1;
  }
  capture.kernel_log = text;
  for (const auto& [name, part] : capture::Encode(capture)) {
    machine.system.SetFile("/tmp/fuzz/" + name, part);
  }
  for (std::vector<std::string> arguments :
       {std::vector<std::string>{"doctor"}, {"plan", "/boot/Image"}, {"report", "--json"}}) {
    arguments.insert(arguments.end(), {"--from", "/tmp/fuzz"});
    std::ostringstream out;
    cli::Context context{.system = machine.system, .out = out, .err = out, .blob = machine.blob};
    (void)cli::Run(context, arguments);
  }
  return 0;
}
