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
  bool holes = false;  // in the memory
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
                    .holes = fields[7].ends_with(" holes"),
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
    // The boot CPU is of the last node: memory from just anywhere comes from the first.
    const int cpu = row.nodes - 1 - node;
    arguments.insert(arguments.end(), {"-object",
                                       "memory-backend-ram,id=" + name + ",size=" +
                                           std::to_string(row.memory_mib / row.nodes) + "M",
                                       "-numa",
                                       "node,nodeid=" + std::to_string(node) +
                                           ",cpus=" + std::to_string(cpu) + ",memdev=" + name});
  }
  return arguments;
}

// Memory that is no System RAM, of 8 GiB from 1 GiB on: parts of large blocks and of pages of 2
// MiB, across a limit of 4 GiB, and stretches without any run of 64 MiB.
std::vector<std::pair<uint64_t, uint64_t>> Holes() {
  constexpr uint64_t kMib = uint64_t{1} << 20;
  std::vector<std::pair<uint64_t, uint64_t>> holes = {
      {0x5fff7000, 0x9000}, {0x80001000, 512 * kMib}, {0xf0000000, 1024 * kMib + 0x3000}};
  for (uint64_t i = 0; i < 16; ++i) {
    holes.emplace_back(0x1c0000000 + i * 64 * kMib + kMib, kMib / 2);
  }
  return holes;
}

int DigHoles(void* tree) {
  for (const auto& [start, size] : Holes()) {
    int node = 0;
    if (const int error = AddReservedMemory(tree, "khop-lab,hole", start, size, &node);
        error != 0) {
      return error;
    }
  }
  return 0;
}

std::vector<std::string> SystemRamLines(const Facts& facts) {
  std::vector<std::string> lines;
  std::ranges::copy_if(facts.iomem, std::back_inserter(lines), [](const std::string& line) {
    return line.ends_with(" : System RAM") && line.front() != ' ';
  });
  return lines;
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

  // All that the relocator reads and writes lies on the boot CPU's node.
  void ExpectOnBootNode(const nlohmann::json& status) {
    const Result<std::string> nodes = guest().Must("cat /sys/devices/system/node/has_memory");
    MUST(nodes);
    if (row_.firmware == "efi") {
      // The firmware's memory map has the flash too, of which the SRAT knows nothing: Linux then
      // takes no node for what it is.
      EXPECT_EQ(*nodes, "0\n");
      return;
    }
    ASSERT_EQ(*nodes, "0-" + std::to_string(row_.nodes - 1) + "\n");
    const int node = row_.nodes - 1;
    constexpr uint64_t kRam = uint64_t{1} << 30;  // where QEMU's memory begins, node after node
    const uint64_t size = static_cast<uint64_t>(row_.memory_mib / row_.nodes) << 20;
    const uint64_t start = kRam + size * static_cast<uint64_t>(node);
    nlohmann::json all = status["segments"];
    all.push_back(status["control"]);
    ASSERT_GE(all.size(), 5U) << status.dump();
    for (const nlohmann::json& segment : all) {
      EXPECT_GE(segment.value("start", uint64_t{0}), start) << segment.dump();
      EXPECT_LT(segment.value("start", UINT64_MAX), start + size) << segment.dump();
    }
  }

  // The memory has the holes, before and after, and nothing of khop's is in one.
  void ExpectRoundHoles(const HopProof& proof) {
    const std::vector<std::string> ram = SystemRamLines(proof.before);
    EXPECT_GT(ram.size(), Holes().size()) << testing::PrintToString(ram);
    EXPECT_EQ(SystemRamLines(proof.after), ram);
    nlohmann::json all = proof.status["segments"];
    all.push_back(proof.status["control"]);
    for (const nlohmann::json& segment : all) {
      const auto start = segment.value("start", uint64_t{0});
      const auto end = start + segment.value("size", uint64_t{0});
      for (const auto& [hole, size] : Holes()) {
        EXPECT_TRUE(end <= hole || start >= hole + size) << segment.dump();
      }
    }
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
                       .extra_arguments = Nodes(row_),
                       .edit_tree = row_.holes ? TreeEdit(DigHoles) : TreeEdit()});
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
  if (row_.holes) ExpectRoundHoles(*proof);
  if (row_.nodes > 1) ExpectOnBootNode(proof->status);
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
