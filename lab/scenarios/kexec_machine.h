// SPDX-License-Identifier: MIT
// A machine with both programs that are called kexec: /kexec-tools/kexec and /khop/kexec.
#pragma once

#include <string>

#include "lab/scenarios/chain_machine.h"

namespace khop::lab {

class KexecMachine : public ChainMachine {
 protected:
  // The first kernel is Debian 6.1; skips the test where the lab has no kexec-tools.
  void StartWithBoth(const std::string& append,
                     const std::function<Result<void>(Initramfs&)>& add = {});

  std::string package_;  // of kexec-tools
};

}  // namespace khop::lab
