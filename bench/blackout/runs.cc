// SPDX-License-Identifier: MIT
#include "bench/blackout/runs.h"

#include <algorithm>
#include <charconv>
#include <sstream>

namespace khop::bench {
namespace {

constexpr const char* kHeader =
    "kernel,loader,route,verify,initrd_mib,repetition,blackout,shutdown,relocator,load,load_idle,"
    "peak_bytes,any_image_bytes,"
    "payload_bytes,copied_by_kernel,kernel_mmu,copied_by_khop,khop_mmu,verified_bytes,setup";

std::vector<std::string> Split(const std::string& line) {
  std::vector<std::string> fields;
  std::istringstream in(line);
  for (std::string field; std::getline(in, field, ',');) fields.push_back(field);
  return fields;
}

template <typename T>
bool Parse(const std::string& text, T& value) {
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  return parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
}

bool ParseFlag(const std::string& text, bool& value) {
  value = text == "on";
  return value || text == "off";
}

const char* Flag(bool value) { return value ? "on" : "off"; }

}  // namespace

std::string ToCsv(const std::vector<Sample>& runs) {
  std::ostringstream out;
  out << kHeader << '\n';
  for (const Sample& r : runs) {
    out << r.what.kernel << ',' << r.what.way.loader << ',' << r.what.way.route << ','
        << r.what.way.verify << ',' << r.what.payload_mib << ',' << r.repetition << ','
        << r.blackout << ',' << r.shutdown << ',' << r.relocator << ',' << r.load << ','
        << r.load_idle << ',' << r.peak << ',' << r.any_image << ',' << r.payload << ','
        << r.by_kernel << ',' << Flag(r.kernel_mmu) << ',' << r.by_khop << ',' << Flag(r.khop_mmu)
        << ',' << r.verified << ',' << r.setup << '\n';
  }
  return out.str();
}

lab::Result<std::vector<Sample>> FromCsv(const std::string& text) {
  std::vector<Sample> runs;
  std::istringstream in(text);
  std::string line;
  std::getline(in, line);
  if (line != kHeader) return lab::Fail("its first line is not that of this program");
  while (std::getline(in, line)) {
    const std::vector<std::string> f = Split(line);
    Sample r;
    if (f.size() != 20 || !Parse(f[4], r.what.payload_mib) || !Parse(f[5], r.repetition) ||
        !Parse(f[6], r.blackout) || !Parse(f[7], r.shutdown) || !Parse(f[8], r.relocator) ||
        !Parse(f[9], r.load) || !Parse(f[10], r.load_idle) || !Parse(f[11], r.peak) ||
        !Parse(f[12], r.any_image) || !Parse(f[13], r.payload) || !Parse(f[14], r.by_kernel) ||
        !ParseFlag(f[15], r.kernel_mmu) || !Parse(f[16], r.by_khop) ||
        !ParseFlag(f[17], r.khop_mmu) || !Parse(f[18], r.verified)) {
      return lab::Fail("cannot read \"" + line + "\"");
    }
    r.what.kernel = f[0];
    r.what.way = {f[1], f[2], f[3]};
    r.setup = f[19];
    runs.push_back(std::move(r));
  }
  return runs;
}

std::optional<Figures> FiguresOf(const std::vector<Sample>& runs, const Case& what) {
  std::vector<Sample> of_it;
  std::ranges::copy_if(runs, std::back_inserter(of_it),
                       [&](const Sample& run) { return run.what == what; });
  if (of_it.empty()) return std::nullopt;
  std::ranges::sort(of_it, {}, &Sample::blackout);
  Figures figures{.runs = static_cast<int>(of_it.size()), .middle = of_it[(of_it.size() - 1) / 2]};
  figures.peak = std::ranges::max(of_it, {}, &Sample::peak).peak;
  const uint64_t width = of_it.back().blackout - of_it.front().blackout;
  figures.spread = static_cast<double>(width) / static_cast<double>(figures.middle.blackout);
  return figures;
}

}  // namespace khop::bench
