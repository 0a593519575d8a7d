// SPDX-License-Identifier: MIT
// Hops the same guest by kexec-tools and by khop, and counts the instructions of the blackout.
#include <getopt.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "bench/blackout/cases.h"
#include "bench/blackout/goals.h"
#include "bench/blackout/machine.h"
#include "bench/blackout/runs.h"
#include "bench/blackout/tables.h"

namespace khop::bench {
namespace {

constexpr const char* kUsage = R"(usage: blackout [OPTION]...
Hops a guest in QEMU by kexec-tools and by khop, and counts the instructions from
reboot(2) to the next kernel's time zero. Without options: everything, which takes
many hours. What the output directory has from an earlier run is not run again.

  --kernels LIST       of 5.10,6.1,6.12,7.2
  --payloads LIST      sizes of the initrd, MiB (2,25,100,380,1024)
  --loaders LIST       of kexec-tools,khop
  --routes LIST        of in-place,reserved,gather,kernel
  --verify LIST        of sha256,crc32c,none,early
  --repetitions N      of each (3)
  --memory MIB         of the machine (6144); a fifth is the crash reservation
  --minutes N          start no hop after so long
  --output DIRECTORY   blackout.csv, .md and .svg go there (build/blackout)
  --fresh              forget what is there from an earlier run
  --docs               put them into docs/performance.md and docs/ as well
  --render             run nothing, only write these from the CSV
)";

struct Options {
  Selection selection;
  int repetitions = 3;
  int memory_mib = 6144;
  double minutes = 0;  // 0: no limit
  std::filesystem::path output = std::filesystem::path(KHOP_SOURCE) / "build/blackout";
  bool fresh = false;
  bool docs = false;
  bool render = false;
};

std::vector<std::string> SplitList(const std::string& text) {
  std::vector<std::string> values;
  std::istringstream in(text);
  for (std::string value; std::getline(in, value, ',');) values.push_back(value);
  return values;
}

bool ParseNumber(const std::string& text, int& value) {
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  return parsed.ec == std::errc() && parsed.ptr == text.data() + text.size() && value > 0;
}

// Only what there is.
bool ParseWords(const std::string& text, std::vector<std::string>& words) {
  const std::vector<std::string> all = words;
  words = SplitList(text);
  for (const std::string& word : words) {
    if (std::ranges::find(all, word) == all.end()) {
      fprintf(stderr, "blackout: \"%s\" is none of these\n", word.c_str());
      return false;
    }
  }
  return !words.empty();
}

bool ParseOptions(int argc, char** argv, Options& options) {
  enum : int {
    kKernels = 1,
    kPayloads,
    kLoaders,
    kRoutes,
    kVerify,
    kRepetitions,
    kMemory,
    kMinutes,
    kOutput,
    kFresh,
    kDocs,
    kRender
  };
  static constexpr option kOptions[] = {{"kernels", required_argument, nullptr, kKernels},
                                        {"payloads", required_argument, nullptr, kPayloads},
                                        {"loaders", required_argument, nullptr, kLoaders},
                                        {"routes", required_argument, nullptr, kRoutes},
                                        {"verify", required_argument, nullptr, kVerify},
                                        {"repetitions", required_argument, nullptr, kRepetitions},
                                        {"memory", required_argument, nullptr, kMemory},
                                        {"minutes", required_argument, nullptr, kMinutes},
                                        {"output", required_argument, nullptr, kOutput},
                                        {"fresh", no_argument, nullptr, kFresh},
                                        {"docs", no_argument, nullptr, kDocs},
                                        {"render", no_argument, nullptr, kRender},
                                        {nullptr, 0, nullptr, 0}};
  Selection& selection = options.selection;
  int which = 0;
  while ((which = getopt_long(argc, argv, "", kOptions, nullptr)) != -1) {
    const std::string value = optarg != nullptr ? optarg : "";
    bool good = true;
    switch (which) {
      case kKernels:
        good = ParseWords(value, selection.kernels);
        break;
      case kPayloads:
        selection.payloads.clear();
        for (const std::string& payload : SplitList(value)) {
          good = good && ParseNumber(payload, selection.payloads.emplace_back());
        }
        break;
      case kLoaders:
        good = ParseWords(value, selection.loaders);
        break;
      case kRoutes:
        good = ParseWords(value, selection.routes);
        break;
      case kVerify:
        good = ParseWords(value, selection.verifies);
        break;
      case kRepetitions:
        good = ParseNumber(value, options.repetitions);
        break;
      case kMemory:
        good = ParseNumber(value, options.memory_mib);
        break;
      case kMinutes: {
        int minutes = 0;
        good = ParseNumber(value, minutes);
        options.minutes = minutes;
        break;
      }
      case kOutput:
        options.output = value;
        break;
      case kFresh:
        options.fresh = true;
        break;
      case kDocs:
        options.docs = true;
        break;
      case kRender:
        options.render = true;
        break;
      default:
        good = false;
    }
    if (!good) return false;
  }
  return optind == argc && !selection.payloads.empty();
}

lab::Result<std::string> ReadFile(const std::filesystem::path& path) {
  const std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  if (!in) return lab::Fail("cannot read " + path.string());
  return text.str();
}

lab::Result<void> WriteFile(const std::filesystem::path& path, const std::string& text) {
  std::error_code error;
  std::filesystem::create_directories(path.parent_path(), error);
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  out << text;
  out.close();
  if (!out) return lab::Fail("cannot write " + path.string());
  return {};
}

class Bench {
 public:
  explicit Bench(Options options) : options_(std::move(options)) {}

  lab::Result<void> Run() {
    if (const auto read = ReadRuns(); !read) return read;
    const std::vector<Case> cases = PlanCases(options_.selection, &skipped_);
    if (!options_.render) {
      for (const Case& what : cases) {
        if (const auto measured = Measure(what); !measured) return measured;
      }
    }
    for (const Skipped& skip : skipped_) {
      printf("not measured: %s: %s\n", skip.what.c_str(), skip.why.c_str());
    }
    for (const Goal& goal : CheckGoals(runs_)) {
      printf("%-7s %s: %s: %s%s\n",
             !goal.known ? "?"
             : goal.met  ? "met"
                         : "MISSED",
             goal.kernel.c_str(), goal.what.c_str(), goal.measured.c_str(),
             goal.detail.empty() ? "" : (" (" + goal.detail + ")").c_str());
    }
    return Write();
  }

  // Whether every case that was tried was measured.
  bool good() const { return !failed_; }

 private:
  std::filesystem::path CsvPath() const { return options_.output / "blackout.csv"; }

  lab::Result<void> ReadRuns() {
    if (options_.fresh || !std::filesystem::exists(CsvPath())) return {};
    const auto text = ReadFile(CsvPath());
    if (!text) return std::unexpected(text.error());
    auto runs = FromCsv(*text);
    if (!runs) {
      return lab::Fail(CsvPath().string() + ": " + runs.error().what +
                       "; remove it, or name another "
                       "--output");
    }
    runs_ = *std::move(runs);
    return {};
  }

  bool TimeIsUp() const {
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - start_;
    return options_.minutes > 0 && passed.count() > options_.minutes * 60;
  }

  void Skip(const std::string& what, const std::string& why) {
    const Skipped skip = {what, why};
    if (std::ranges::find(skipped_, skip) == skipped_.end()) skipped_.push_back(skip);
  }

  // The machine of a kernel; null if the lab has none.
  lab::Result<HopMachine*> MachineOf(const std::string& kernel) {
    const auto there = machines_.find(kernel);
    if (there != machines_.end()) return &there->second;
    if (const auto found = lab::FindKernel(kernel); !found) {
      Skip("Linux " + kernel, found.error().what);
      return nullptr;
    }
    auto made = HopMachine::Make(
        kernel, {.payloads = options_.selection.payloads, .memory_mib = options_.memory_mib});
    if (!made) return std::unexpected(made.error());
    return &machines_.emplace(kernel, *std::move(made)).first->second;
  }

  lab::Result<void> Measure(const Case& what) {
    const auto found = MachineOf(what.kernel);
    if (!found) return std::unexpected(found.error());
    if (*found == nullptr) return {};
    HopMachine& machine = **found;
    const std::string setup = machine.SetupOf(what.way);
    const auto other = [&](const Sample& run) { return run.what == what && run.setup != setup; };
    int have = 0;
    for (const Sample& run : runs_) have += run.what == what && run.setup == setup ? 1 : 0;
    if (have > 0) std::erase_if(runs_, other);
    for (int repetition = have + 1; repetition <= options_.repetitions; ++repetition) {
      if (TimeIsUp()) {
        Skip(what.Name(), "the time was up");
        return {};
      }
      const auto start = std::chrono::steady_clock::now();
      const auto run = machine.Measure(what, repetition);
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      if (!run) {
        failed_ = true;
        Skip(what.Name(), "it failed: " + run.error().what.substr(0, run.error().what.find('\n')));
        fprintf(stderr, "%s: %s\n", what.Name().c_str(), run.error().what.c_str());
        return {};
      }
      // Not before there is one to take their place.
      std::erase_if(runs_, other);
      runs_.push_back(*run);
      const auto millions = [](uint64_t count) { return static_cast<double>(count) / 1e6; };
      printf(
          "%s: %.3f M instructions (shutdown %.3f, relocator %.3f), load %.1f M, of it idle %.1f "
          "M, peak %.1f of %.1f MiB; %.0f s\n",
          what.Name().c_str(), millions(run->blackout), millions(run->shutdown),
          millions(run->relocator), millions(run->load), millions(run->load_idle),
          static_cast<double>(run->peak) / (1 << 20), static_cast<double>(run->payload) / (1 << 20),
          took.count());
      fflush(stdout);
      if (const auto kept = WriteFile(CsvPath(), ToCsv(runs_)); !kept) return kept;
    }
    return {};
  }

  lab::Result<void> Write() {
    if (runs_.empty()) return {};
    const std::string markdown = ToMarkdown(runs_, skipped_);
    const std::string picture = ToSvg(runs_, PicturedPayload());
    if (const auto done = WriteFile(options_.output / "blackout.md", markdown); !done) return done;
    if (const auto done = WriteFile(options_.output / "blackout.svg", picture); !done) return done;
    if (!options_.docs) return {};
    const std::filesystem::path docs = std::filesystem::path(KHOP_SOURCE) / "docs";
    const auto document = ReadFile(docs / "performance.md");
    if (!document) return std::unexpected(document.error());
    const auto with = PutBetweenMarks(*document, markdown);
    if (!with) return std::unexpected(with.error());
    if (const auto done = WriteFile(docs / "performance.md", *with); !done) return done;
    if (const auto done = WriteFile(docs / "blackout.csv", ToCsv(runs_)); !done) return done;
    return WriteFile(docs / "blackout.svg", picture);
  }

  int PicturedPayload() const {
    int largest = 0;
    for (const Sample& run : runs_) {
      if (run.what.payload_mib == 100) return 100;
      largest = std::max(largest, run.what.payload_mib);
    }
    return largest;
  }

  Options options_;
  std::vector<Sample> runs_;
  std::vector<Skipped> skipped_;
  std::map<std::string, HopMachine> machines_;
  bool failed_ = false;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

int Main(int argc, char** argv) {
  Options options;
  if (!ParseOptions(argc, argv, options)) {
    fputs(kUsage, stderr);
    return 2;
  }
  Bench bench(std::move(options));
  if (const auto done = bench.Run(); !done) {
    fprintf(stderr, "blackout: %s\n", done.error().what.c_str());
    return 1;
  }
  return bench.good() ? 0 : 1;
}

}  // namespace
}  // namespace khop::bench

int main(int argc, char** argv) { return khop::bench::Main(argc, argv); }
