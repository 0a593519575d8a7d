// SPDX-License-Identifier: MIT
// What a load of a compressed kernel takes at its peak, as the kernel counts it for a cgroup.
#include <algorithm>
#include <cstdio>

#include "lab/scenarios/first_machine.h"

namespace khop::lab {
namespace {

class Peak : public FirstMachine {
 protected:
  struct Form {
    const char* name;  // of lab/images.sh
    uint64_t window;   // that the decoder has to keep; 0: what the bound has room for
  };

  // The peak of a load of /next/NAME with the initrd, in bytes; `payload` gets what it loads.
  Result<double> Load(const std::string& name, uint64_t& payload) {
    const std::string group = "/tmp/cgroup/" + name;
    Result<std::string> peak = guest().Must(
        "mkdir " + group + " && echo $$ > " + group + "/cgroup.procs; khop load /next/" + name +
        " --initrd /next/initrd --route in-place > /tmp/load.log; code=$?; "
        "echo $$ > /tmp/cgroup/cgroup.procs; cat " +
        group + "/memory.peak; exit $code");
    if (!peak) return std::unexpected(peak.error());
    const Result<nlohmann::json> status = KhopJson(guest(), "status");
    if (!status) return std::unexpected(status.error());
    payload = 0;
    for (const nlohmann::json& segment : (*status)["segments"]) {
      payload += segment.value("size", uint64_t{0});
    }
    // Not counted there: hugetlb pages.
    double bytes = std::stod(*peak);
    for (const nlohmann::json& pages : (*status)["arena"]) {
      bytes += static_cast<double>(pages.value("page_size", uint64_t{0}) *
                                   pages.value("count", uint64_t{0}));
    }
    Result<std::string> unloaded = guest().Must("khop unload");
    if (!unloaded) return std::unexpected(unloaded.error());
    return bytes;
  }
};

// Payload + 2 % + 8 MiB; of xz, lzma and zstd the window comes on top, of which a decoder uses no
// more than the kernel is large (docs/images.md).
TEST_F(Peak, IsThePayloadAndTheWindow) {
  constexpr uint64_t kMiB = uint64_t{1} << 20;
  constexpr Form kForms[] = {{"gzip", 0},
                             {"lz4", 4 * kMiB},
                             {"xz-9", 64 * kMiB},
                             {"lzma-9", 64 * kMiB},
                             {"zstd-long", 128 * kMiB}};
  const Result<LabKernel> kernel = FindKernel("6.12");
  if (!kernel) GTEST_SKIP() << kernel.error().what;
  const Result<std::filesystem::path> forms = MakeRunDirectory("Peak.forms");
  MUST(forms);
  std::vector<GuestFile> files;
  for (const Form& form : kForms) {
    const auto made = WrapImage(form.name, kernel->image, "/dev/null", *forms);
    MUST(made);
    files.push_back({.path = std::string("next/") + form.name, .name = made->string()});
  }
  START_FIRST_MACHINE({.memory_mib = 1536, .next_padding = 80 * kMiB, .files = files});
  MUST(
      guest().Must("mkdir /tmp/cgroup && mount -t cgroup2 none /tmp/cgroup && "
                   "echo +memory > /tmp/cgroup/cgroup.subtree_control"));
  const auto kernel_size = std::filesystem::file_size(kernel->image);
  for (const Form& form : kForms) {
    uint64_t payload = 0;
    const Result<double> peak = Load(form.name, payload);
    MUST(peak);
    const double bound = static_cast<double>(payload) * 1.02 + 8 * kMiB;
    const auto window = static_cast<double>(std::min(form.window, kernel_size));
    printf("%-9s payload %.1f MiB, peak %.1f MiB, of which beyond the bound %.1f MiB\n", form.name,
           static_cast<double>(payload) / kMiB, *peak / kMiB, (*peak - bound) / kMiB);
    EXPECT_GT(*peak, static_cast<double>(payload));
    EXPECT_LE(*peak, bound + window) << form.name;
  }
}

}  // namespace
}  // namespace khop::lab
