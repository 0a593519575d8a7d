// SPDX-License-Identifier: MIT
#include "lab/scenarios/kexec_machine.h"

#include "tool/image/test_image.h"

namespace khop::lab {
namespace {

// /k: small files for loads that nobody starts.
void AddSmallFiles(Initramfs& guest) {
  const auto image = image::MakeImage({.image_size = 0x200000, .size = 0x100000});
  guest.AddDirectory("k");
  guest.AddBytes("k/Image", {reinterpret_cast<const char*>(image.data()), image.size()});
  guest.AddBytes("k/initrd", std::string(100'000, 'i'));
  guest.AddBytes("k/text", "This is no kernel.\n");
}

}  // namespace

void KexecMachine::StartWithBoth(const std::string& append,
                                 const std::function<Result<void>(Initramfs&)>& add) {
  Initramfs probe;
  if (const Result<void> there = AddKexecTools(probe, &package_); !there) {
    GTEST_SKIP() << there.error().what;
  }
  StartChain({.kernels = {"6.1", "6.12"},
              .memory_mib = 1280,
              .append = append,
              .add = [&](Initramfs& guest) -> Result<void> {
                AddSmallFiles(guest);
                if (add) {
                  if (const Result<void> added = add(guest); !added) return added;
                }
                return AddKexecTools(guest);
              }});
  if (IsSkipped() || HasFatalFailure()) return;
  printf("compared with %s\n", package_.c_str());
  MUST(guest().Must("cp /sys/firmware/fdt /k/tree"));
}

}  // namespace khop::lab
