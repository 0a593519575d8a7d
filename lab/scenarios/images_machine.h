// SPDX-License-Identifier: MIT
// Hops from a kernel that is wrapped in one way or another.
#pragma once

#include "lab/scenarios/first_machine.h"

namespace khop::lab {

class Images : public FirstMachine {
 protected:
  // Loads /next/Image, which khop inspect says is `format`, with more arguments,
  // and hops.
  void HopFrom(const std::string& wrap, const std::string& format, const std::string& arguments) {
    START_FIRST_MACHINE({.wrap = wrap, .memory_mib = 1536});
    const Result<nlohmann::json> inspected = KhopJson(guest(), "inspect /next/Image");
    MUST(inspected);
    EXPECT_EQ(inspected->value("formats", nlohmann::json::array()).dump(), format);
    EXPECT_EQ(inspected->value("kernel", nlohmann::json::object()).value("version", ""),
              next_kernel_.release);
    MUST(guest().Must("khop load /next/Image " + arguments));
    const Result<CommandResult> left = guest().Run("ls -A /tmp | grep -v khop.err; pidof khop");
    MUST(left);
    EXPECT_EQ(left->output, "") << "nothing is left in /tmp, and no child";
    const Result<HopProof> proof = ProveHop(machine(), guest(), Expected(),
                                            [](Guest& g) { return g.Start("khop exec --now"); });
    MUST(proof);
  }

  static std::string WithBoth() {
    return "--initrd /next/initrd --cmdline '" + std::string(kNextCommandLine) + "'";
  }
  static std::string WithLine() { return "--cmdline '" + std::string(kNextCommandLine) + "'"; }
};

}  // namespace khop::lab
