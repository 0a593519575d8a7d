// SPDX-License-Identifier: MIT
// khop_relocate.ko on stock Debian 5.10: images that Debian's kexec-tools loaded.
#include "lab/scenarios/module_machine.h"

namespace khop::lab {
namespace {

class Module : public ModuleMachine {};

// The image is there before the module. `--no-checks`: kexec-tools' purgatory would not find the
// tree as it was.
TEST_F(Module, MovesWithTheMmuOn) {
  START_WITH_MODULE({});
  MUST(LoadByKexec("--no-checks"));
  MUST(Insert("timeline=2 verify=crc32c"));
  ASSERT_NO_FATAL_FAILURE(HopAndFind(kPlanned));
  ExpectMmuWasOn();
}

// Removed and inserted again, with memory denied: the image is where the stock code takes it.
TEST_F(Module, LeavesTheImageToTheStockCode) {
  START_WITH_MODULE({});
  MUST(Insert());
  MUST(LoadByKexec("--no-checks"));
  MUST(guest().Must("rmmod khop_relocate"));
  MUST(Insert("timeline=2 fail_allocation=3"));
  ASSERT_NO_FATAL_FAILURE(HopAndFind(std::string(kLeftAlone) + "no memory"));
  EXPECT_EQ(SctlrOfMoves(), 0u);
}

}  // namespace
}  // namespace khop::lab
