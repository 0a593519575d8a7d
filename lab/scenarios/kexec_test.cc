// SPDX-License-Identifier: MIT
// The same command lines through kexec-tools and through khop, in the same machine: exit code, what
// is loaded, what boots. Where they differ, docs/compat.md says so, and nowhere else.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <sstream>

#include "lab/scenarios/kexec_machine.h"

namespace khop::lab {
namespace {

std::string Trim(const std::string& text) {
  const size_t start = text.find_first_not_of(" \t`");
  if (start == std::string::npos) return "";
  return text.substr(start, text.find_last_not_of(" \t`") + 1 - start);
}

std::vector<std::string> Cells(const std::string& line) {
  std::vector<std::string> cells;
  std::istringstream in(line);
  for (std::string cell; std::getline(in, cell, '|');) cells.push_back(Trim(cell));
  return cells;
}

struct Line {
  bool crashkernel = false;
  std::string before;  // "nothing", "normal", "crash" or "both" is loaded
  std::string command;

  std::string Key() const {
    return command + (before == "nothing" ? "" : ", " + before + " loaded") +
           (crashkernel ? "" : ", no crashkernel=");
  }
};

// Those for a machine with a crash reservation, or those for one without.
std::vector<Line> ReadLines(bool crashkernel) {
  std::vector<Line> lines;
  std::ifstream file(KHOP_KEXEC_LINES);
  for (std::string text; std::getline(file, text);) {
    const auto cells = Cells(text);
    if (text.starts_with('#') || cells.size() != 3) continue;
    if ((cells[0] == "yes") != crashkernel) continue;
    lines.push_back({.crashkernel = crashkernel, .before = cells[1], .command = cells[2]});
  }
  return lines;
}

// How a command ended: "1, normal loaded".
struct Outcomes {
  std::string kexec_tools;
  std::string khop;
};

// The table of differences: | command line | kexec-tools | khop | why |, by command line.
std::map<std::string, Outcomes> ReadDifferences() {
  std::map<std::string, Outcomes> rows;
  std::ifstream file(KHOP_COMPAT_MD);
  for (std::string text; std::getline(file, text);) {
    const auto cells = Cells(text);
    // A row begins with a bar: the first cell is empty.
    if (cells.size() == 5 && cells[1].starts_with("kexec")) {
      rows[cells[1]] = {.kexec_tools = cells[2], .khop = cells[3]};
      EXPECT_FALSE(cells[4].empty()) << "no reason: " << text;
    }
  }
  return rows;
}

// Reads lines of "BEFORE|COMMAND" from the file $2, and prints "CODE NORMAL CRASH", and what it
// said, for each. $1 is the directory of the program.
constexpr const char* kScript = R"sh(#!/bin/sh
PATH=$1:$PATH
cd /k
state() { echo "$(cat /sys/kernel/kexec_loaded) $(cat /sys/kernel/kexec_crash_loaded)"; }
while IFS='|' read -r before command; do
  kexec -u >/dev/null 2>&1
  kexec -p -u >/dev/null 2>&1
  case $before in normal | both) kexec -l Image >/dev/null 2>&1 ;; esac
  case $before in crash | both) kexec -p Image >/dev/null 2>&1 ;; esac
  case "$before $(state)" in
    "nothing 0 0" | "normal 1 0" | "crash 0 1" | "both 1 1") ;;
    *) echo "cannot begin: $before $(state)" && continue ;;
  esac
  sh -c "$command" >/tmp/out 2>/tmp/err </dev/null
  code=$?
  echo "$code $(state) $(wc -l </tmp/err) $(head -n 1 /tmp/err)"
done <$2
kexec -u >/dev/null 2>&1
kexec -p -u >/dev/null 2>&1
)sh";

class Kexec : public KexecMachine {
 protected:
  void StartWithScript(const std::string& append) {
    StartWithBoth(append, [](Initramfs& guest) -> Result<void> {
      guest.AddBytes("k/compare", kScript, 0755);
      for (const bool crashkernel : {false, true}) {
        std::string text;
        for (const Line& line : ReadLines(crashkernel)) {
          text += line.before + "|" + line.command + "\n";
        }
        guest.AddBytes(LinesFile(crashkernel), text);
      }
      return {};
    });
  }

  static std::string LinesFile(bool crashkernel) {
    return crashkernel ? "k/lines-crashkernel" : "k/lines";
  }

  // Gives all lines of one kind of machine to one of the programs.
  std::vector<std::string> RunLines(bool crashkernel, size_t count, const std::string& program) {
    const Result<CommandResult> result =
        guest().Run("/k/compare /" + program + " /" + LinesFile(crashkernel), Seconds(300));
    if (!result) {
      ADD_FAILURE() << result.error().what;
      return {};
    }
    std::vector<std::string> outcomes;
    std::istringstream in(result->output);
    for (std::string line; std::getline(in, line);) outcomes.push_back(line);
    EXPECT_EQ(outcomes.size(), count) << result->output;
    outcomes.resize(count);
    return outcomes;
  }

  static std::string Outcome(const std::string& printed) {
    int code = 0;
    int normal = 0;
    int crash = 0;
    if (sscanf(printed.c_str(), "%d %d %d", &code, &normal, &crash) != 3) return printed;
    const char* const loaded = normal != 0 && crash != 0 ? "both"
                               : normal != 0             ? "normal"
                               : crash != 0              ? "crash"
                                                         : "nothing";
    return std::to_string(code) + ", " + loaded;
  }

  void Compare(bool crashkernel) {
    const std::vector<Line> lines = ReadLines(crashkernel);
    ASSERT_FALSE(lines.empty());
    const auto by_kexec_tools = RunLines(crashkernel, lines.size(), "kexec-tools");
    const auto by_khop = RunLines(crashkernel, lines.size(), "khop");
    ASSERT_FALSE(HasFailure());
    auto differences = ReadDifferences();
    for (size_t i = 0; i < lines.size(); ++i) {
      const std::string key = lines[i].Key();
      const std::string theirs = Outcome(by_kexec_tools[i]);
      const std::string ours = Outcome(by_khop[i]);
      printf("%-60s %-14s %-14s %s\n", key.c_str(), theirs.c_str(), ours.c_str(),
             by_khop[i].c_str());
      const auto row = differences.find(key);
      if (row == differences.end()) {
        EXPECT_EQ(theirs, ours) << key << ": docs/compat.md does not list this";
        continue;
      }
      EXPECT_NE(theirs, ours) << key << ": docs/compat.md lists it, but they do the same";
      EXPECT_EQ(row->second.kexec_tools, theirs) << key;
      EXPECT_EQ(row->second.khop, ours) << key;
    }
  }
};

// Nothing is listed that is not tried.
TEST(KexecLines, EveryDifferenceIsOneOfThem) {
  std::vector<std::string> keys;
  for (const bool crashkernel : {false, true}) {
    for (const Line& line : ReadLines(crashkernel)) keys.push_back(line.Key());
  }
  EXPECT_GT(keys.size(), 50U);
  for (const auto& [key, row] : ReadDifferences()) {
    EXPECT_NE(std::ranges::find(keys, key), keys.end()) << key;
  }
}

TEST_F(Kexec, SameCommandLinesSameOutcome) {
  StartWithScript("crashkernel=160M");
  if (IsSkipped() || HasFatalFailure()) return;
  Compare(true);
  // By kexec-tools to a kernel without a crash reservation, and from there by khop.
  const std::string load =
      "kexec -l /next/Image-6.12 --initrd=/next/initrd --append='console=ttyAMA0 khop_lab.hop=1'";
  const auto by_kexec_tools = HopBy("6.12", "PATH=/kexec-tools:$PATH; " + load + " && kexec -e");
  MUST(by_kexec_tools);
  MUST(guest().Must("cp /sys/firmware/fdt /k/tree"));
  Compare(false);
  const auto by_khop = HopBy("6.12", "PATH=/khop:$PATH; " + load + " && kexec -e");
  MUST(by_khop);
  EXPECT_EQ(by_khop->uname, kernel("6.12").release);
  EXPECT_EQ(by_khop->command_line, "console=ttyAMA0 khop_lab.hop=1");
  EXPECT_EQ(by_khop->manifest_sha256, initrd().manifest_sha256);
  EXPECT_EQ(by_khop->uname, by_kexec_tools->uname);
  EXPECT_EQ(by_khop->command_line, by_kexec_tools->command_line);
  EXPECT_EQ(by_khop->manifest_sha256, by_kexec_tools->manifest_sha256);
  MUST(KhopJson(guest(), "report"));  // this one was khop's
}

}  // namespace
}  // namespace khop::lab
