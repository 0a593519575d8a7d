// SPDX-License-Identifier: MIT
// Some wrappings in every test; the others in images_full_test.cc.
#include "lab/scenarios/images_machine.h"

namespace khop::lab {
namespace {

// Kernel, initrd and command line out of one file, the kernel compressed within it.
TEST_F(Images, ZbootInUki) { HopFrom("uki-zboot", R"(["UKI","zboot","gzip","Image"])", ""); }

TEST_F(Images, Fit) { HopFrom("fit", R"(["FIT","gzip","Image"])", WithLine()); }

}  // namespace
}  // namespace khop::lab
