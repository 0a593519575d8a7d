// SPDX-License-Identifier: MIT
// Hops by a route that is named.
#pragma once

#include "lab/scenarios/first_machine.h"

namespace khop::lab {

class RouteMachine : public FirstMachine {
 protected:
  void HopBy(const std::string& route, HopProof* proof = nullptr) {
    HopExpectation expected = Expected();
    expected.route = route;
    expected.reports = route != "file";
    const Result<HopProof> done =
        ProveHop(machine(), guest(), expected, [](Guest& g) { return g.Start("khop exec --now"); });
    MUST(done);
    if (proof != nullptr) {
      *proof = *done;
    }
  }
};

}  // namespace khop::lab
