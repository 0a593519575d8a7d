// SPDX-License-Identifier: MIT
// For tests: khop's command lines on the model of a machine.
#pragma once

#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "tool/cli/cli.h"
#include "tool/load/test_machine.h"

namespace khop::cli {

struct Outcome {
  int code;
  std::string out;
  std::string err;
};

class CliMachine : public testing::Test {
 protected:
  Outcome Khop(const std::vector<std::string>& arguments) {
    std::ostringstream out;
    std::ostringstream err;
    Context context{.system = machine_.system, .out = out, .err = err, .blob = machine_.blob};
    const int code = cli::Run(context, arguments);
    machine_.system.NewProcess();
    return {code, out.str(), err.str()};
  }

  load::TestMachine machine_;
};

}  // namespace khop::cli
