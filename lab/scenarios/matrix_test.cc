// SPDX-License-Identifier: MIT
// One hop on each machine of matrix.txt; what was found goes into build/lab/matrix, from where
// lab/support.cmake makes docs/support.md.
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "lab/scenarios/first_machine.h"

namespace khop::lab {
namespace {

struct Row {
  std::string name;
  std::string kernel;
  std::string next_kernel;
  std::string firmware;
  std::string cpu;
  std::string machine;
  int cpus = 0;
  int memory_mib = 0;
  int nodes = 0;
  std::string level;
  std::string route;
};

void PrintTo(const Row& row, std::ostream* out) { *out << row.name; }

std::string Trimmed(std::string text) {
  text.erase(0, text.find_first_not_of(' '));
  text.erase(text.find_last_not_of(' ') + 1);
  return text;
}

std::vector<Row> ReadMatrix() {
  std::ifstream file(KHOP_MATRIX);
  std::vector<Row> rows;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with('#')) continue;
    std::vector<std::string> fields;
    std::istringstream stream(line);
    for (std::string field; std::getline(stream, field, '|');) fields.push_back(Trimmed(field));
    if (fields.size() != 12) {
      fprintf(stderr, "%s: not a row of 12 fields: %s\n", KHOP_MATRIX, line.c_str());
      exit(2);
    }
    rows.push_back({.name = fields[0],
                    .kernel = fields[1],
                    .next_kernel = fields[2],
                    .firmware = fields[3],
                    .cpu = fields[4],
                    .machine = fields[5],
                    .cpus = std::stoi(fields[6]),
                    .memory_mib = std::stoi(fields[7]),
                    .nodes = std::stoi(fields[8]),
                    .level = fields[9],
                    .route = fields[10]});
  }
  return rows;
}

std::vector<std::string> Nodes(const Row& row) {
  std::vector<std::string> arguments;
  if (row.nodes < 2) return arguments;
  for (int node = 0; node < row.nodes; ++node) {
    const std::string name = "node" + std::to_string(node);
    arguments.insert(arguments.end(), {"-object",
                                       "memory-backend-ram,id=" + name + ",size=" +
                                           std::to_string(row.memory_mib / row.nodes) + "M",
                                       "-numa",
                                       "node,nodeid=" + std::to_string(node) +
                                           ",cpus=" + std::to_string(node) + ",memdev=" + name});
  }
  return arguments;
}

class Matrix : public FirstMachine, public testing::WithParamInterface<Row> {
 protected:
  void WriteResult(const HopProof& proof) const {
    const Result<std::filesystem::path> directory = MakeRunDirectory("../matrix/" + row_.name);
    MUST(directory);
    std::ofstream(*directory / "result")
        << proof.before.uname << '|' << proof.after.uname << '|'
        << proof.report.value("bytes_moved", uint64_t{0}) << '|'
        << proof.report.value("bytes_verified", uint64_t{0}) << '\n';
  }

  // What the next kernel found of the machine and of khop's tree.
  void CheckNextKernel() {
    const Result<std::string> log = guest().Must("dmesg");
    MUST(log);
    MUST(CheckFirmware());
    EXPECT_THAT(*log, testing::Not(testing::HasSubstr("KASLR disabled")));
    if (row_.firmware != "efi") return;
    // EFI's MEMRESERVE table carries the interrupt controller's tables over.
    EXPECT_THAT(*log, testing::Not(testing::HasSubstr("Booted with LPIs enabled")));
  }

  const Row& row_ = GetParam();
};

TEST_P(Matrix, Hop) {
  MUST(MakeRunDirectory("../matrix/" + row_.name));  // without an earlier run's result
  START_FIRST_MACHINE({.kernel = row_.kernel,
                       .next_kernel = row_.next_kernel,
                       .efi = row_.firmware == "efi",
                       .cpu = row_.cpu,
                       .machine = row_.machine,
                       .cpus = row_.cpus,
                       .memory_mib = row_.memory_mib,
                       .extra_arguments = Nodes(row_)});
  const Result<std::string> log = guest().Must("dmesg");
  MUST(log);
  // A kernel that has EL2 has KVM up: the hop takes it down.
  EXPECT_EQ(log->find("mode initialized successfully") != std::string::npos, row_.level != "EL1");
  MUST(Load("--route " + row_.route));
  HopExpectation expected = Expected();
  expected.route = row_.route;
  const Result<HopProof> proof = ProveHop(
      machine(), guest(), expected, [](Guest& g) { return g.Start("khop exec -v --now"); },
      Seconds(240));
  MUST(proof);
  EXPECT_EQ(proof->report.value("exception_level", 0), row_.level == "EL1" ? 1 : 2);
  EXPECT_EQ(proof->report.value("vhe", false), row_.level == "VHE");
  EXPECT_TRUE(proof->report.value("mmu", false));
  const Result<std::string> online = guest().Must("cat /sys/devices/system/cpu/online");
  MUST(online);
  EXPECT_EQ(*online, row_.cpus == 1 ? "0\n" : "0-" + std::to_string(row_.cpus - 1) + "\n");
  CheckNextKernel();
  if (!HasFailure()) WriteResult(*proof);
}

INSTANTIATE_TEST_SUITE_P(Rows, Matrix, testing::ValuesIn(ReadMatrix()),
                         [](const testing::TestParamInfo<Row>& row) { return row.param.name; });

}  // namespace
}  // namespace khop::lab
