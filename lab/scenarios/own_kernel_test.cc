// SPDX-License-Identifier: MIT
// The lab's own kernel (64 KiB pages, kexec_file_load, signatures) as the running one.
#include "lab/scenarios/own_kernel_machine.h"

namespace khop::lab {
namespace {

constexpr const char* kOwn = "6.12-64k";

class OwnKernel : public OwnKernelMachine {};

TEST_F(OwnKernel, InPlaceOn64KPages) {
  START_FIRST_MACHINE({.kernel = kOwn});
  MUST(Load("--route in-place"));
  ASSERT_NO_FATAL_FAILURE(HopBy("in-place"));
}

TEST_F(OwnKernel, GatherOn64KPages) {
  START_FIRST_MACHINE({.kernel = kOwn});
  MUST(Load("--route gather"));
  ASSERT_NO_FATAL_FAILURE(HopBy("gather"));
}

TEST_F(OwnKernel, KernelOn64KPages) {
  START_FIRST_MACHINE({.kernel = kOwn});
  MUST(Load("--route kernel"));
  ASSERT_NO_FATAL_FAILURE(HopBy("kernel"));
}

TEST_F(OwnKernel, SignedKernelByFile) { HopSignedByFile(kOwn); }
TEST_F(OwnKernel, UnsignedKernelIsRefused) { RefuseUnsigned(kOwn); }
TEST_F(OwnKernel, ImaPolicyIsAsked) { AskImasPolicy(kOwn); }

}  // namespace
}  // namespace khop::lab
