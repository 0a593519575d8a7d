// SPDX-License-Identifier: MIT
// The lab's own 5.10: kexec_file_load, signatures and IMA on a kernel that relocates with the MMU
// off.
#include "lab/scenarios/own_kernel_machine.h"

namespace khop::lab {
namespace {

class Own510 : public OwnKernelMachine {};

TEST_F(Own510, SignedKernelByFile) { HopSignedByFile("5.10-signed"); }
TEST_F(Own510, UnsignedKernelIsRefused) { RefuseUnsigned("5.10-signed"); }
TEST_F(Own510, ImaPolicyIsAsked) { AskImasPolicy("5.10-signed"); }

}  // namespace
}  // namespace khop::lab
