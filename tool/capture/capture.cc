// SPDX-License-Identifier: MIT
#include "tool/capture/capture.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

#include "core/digest/crc32c.h"

namespace khop::capture {

using nlohmann::json;

namespace {

constexpr size_t kInline = 512;            // longer texts get a file of their own
constexpr uint64_t kMaxPart = 256U << 20;  // nothing of a capture is near this
constexpr const char* kLog = "kernel-log";
constexpr const char* kPages = "pages";
constexpr const char* kRelocator = "relocator";

bool IsPlainText(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return (c >= ' ' && c <= '~') || c == '\n'; });
}

std::string ToHex(std::string_view bytes) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text;
  for (const char c : bytes) {
    text += kDigits[static_cast<unsigned char>(c) >> 4];
    text += kDigits[static_cast<unsigned char>(c) & 15];
  }
  return text;
}

// Nothing if there is anything but pairs of digits.
std::optional<std::string> FromHex(std::string_view text) {
  std::string bytes(text.size() / 2, '\0');
  for (size_t i = 0; i < bytes.size(); ++i) {
    uint8_t byte = 0;
    const char* const end = text.data() + 2 * i + 2;
    const auto [rest, error] = std::from_chars(end - 2, end, byte, 16);
    if (error != std::errc() || rest != end) return std::nullopt;
    bytes[i] = static_cast<char>(byte);
  }
  if (text.size() % 2 != 0) return std::nullopt;
  return bytes;
}

std::string Sum(std::string_view text) {
  return Hex(digest::Crc32c(std::as_bytes(std::span(text)), digest::DigestFeatures::Scalar()));
}

// "iomem" of /proc/iomem; with more of the path where another has that name.
std::string PartName(const std::string& path, const Parts& taken) {
  for (size_t slash = path.rfind('/');; slash = path.rfind('/', slash - 1)) {
    std::string name = path.substr(slash + 1);
    std::ranges::replace(name, '/', '-');
    const bool reserved = name == kLog || name == kPages || name == kRelocator || name.empty();
    if (!reserved && !taken.contains(name)) return name;
    if (slash == 0 || slash == std::string::npos) return name + "+";
  }
}

char Letter(system::PageUse use) {
  switch (use) {
    case system::PageUse::kFree:
      return 'f';
    case system::PageUse::kMovable:
      return 'm';
    case system::PageUse::kBusy:
      break;
  }
  return 'b';
}

// Frames in hexadecimal: "40000 200 f" is free from frame 0x40000 on, for 0x200 pages.
std::string EncodePages(const Capture& capture) {
  std::string text;
  for (const system::PageRun& run : capture.pages) {
    text += Hex(run.range.start.value / capture.page_size).substr(2) + " " +
            Hex(run.range.size / capture.page_size).substr(2) + " " + Letter(run.use) + "\n";
  }
  return text;
}

bool DecodePages(std::string_view text, uint64_t page_size, std::vector<system::PageRun>& runs) {
  const uint64_t most = UINT64_MAX / page_size;
  while (!text.empty()) {
    const size_t newline = text.find('\n');
    if (newline == std::string_view::npos) return false;
    const char* const start = &text[0];
    const char* const end = start + newline;
    uint64_t frame = 0;
    uint64_t count = 0;
    const auto first = std::from_chars(start, end, frame, 16);
    if (first.ec != std::errc() || first.ptr == end || *first.ptr != ' ') return false;
    const auto second = std::from_chars(first.ptr + 1, end, count, 16);
    if (second.ec != std::errc() || end - second.ptr != 2 || *second.ptr != ' ') return false;
    if (frame > most || count > most - frame || count == 0) return false;
    system::PageRun run{{PhysAddr{frame * page_size}, count * page_size}, system::PageUse::kBusy};
    const char use = second.ptr[1];
    if (use == 'f') run.use = system::PageUse::kFree;
    if (use == 'm') run.use = system::PageUse::kMovable;
    if (use != 'f' && use != 'm' && use != 'b') return false;
    if (!runs.empty() && run.range.start < runs.back().range.end()) return false;
    runs.push_back(run);
    text.remove_prefix(newline + 1);
  }
  return true;
}

json ToJson(const system::FileInfo& info) {
  return {{"size", info.size},    {"regular", info.is_regular},
          {"link", info.is_link}, {"directory", info.is_directory},
          {"mode", info.mode},    {"uid", info.uid}};
}

system::FileInfo InfoFrom(const json& from) {
  return {.size = from.at("size").get<uint64_t>(),
          .is_regular = from.at("regular").get<bool>(),
          .is_directory = from.at("directory").get<bool>(),
          .is_link = from.at("link").get<bool>(),
          .mode = from.at("mode").get<uint32_t>(),
          .uid = from.at("uid").get<uint32_t>()};
}

std::unexpected<Failure> Bad(const std::string& name, std::string_view why,
                             std::string_view todo = "capture again") {
  return Fail(ExitCode::kBadCapture, name, why, todo);
}

bool IsPartName(std::string_view name) {
  return !name.empty() && name[0] != '.' && name.find('/') == std::string_view::npos;
}

Result<Capture> FromJson(const json& from, const Parts& parts, const std::string& name) {
  Capture capture;
  const auto part = [&](const std::string& file) -> Result<const std::string*> {
    const auto found = parts.find(file);
    const json& sums = from.at("parts");
    if (!sums.contains(file)) return Bad(name, "its manifest does not name the file " + file);
    if (found == parts.end()) return Bad(name, "the file " + Printable(file) + " is missing");
    if (sums.at(file).at("size").get<uint64_t>() != found->second.size() ||
        sums.at(file).at("crc32c").get<std::string>() != Sum(found->second)) {
      return Bad(name, "the file " + Printable(file) + " is damaged or not whole");
    }
    return &found->second;
  };
  capture.khop = from.at("khop").get<std::string>();
  capture.captured_at = from.at("captured_at").get<std::string>();
  capture.machine = from.at("machine").get<std::string>();
  capture.release = from.at("release").get<std::string>();
  capture.uid = from.at("uid").get<uint32_t>();
  capture.page_size = from.at("page_size").get<uint64_t>();
  if (capture.page_size < 4096 || capture.page_size > 65536 || !IsPowerOfTwo(capture.page_size)) {
    return Bad(name, "a page size of " + std::to_string(capture.page_size) + " cannot be");
  }
  capture.data_cache_line = from.at("data_cache_line").get<uint32_t>();
  if (capture.data_cache_line < 16 || capture.data_cache_line > 2048 ||
      !IsPowerOfTwo(capture.data_cache_line)) {
    return Bad(name,
               "a cache line of " + std::to_string(capture.data_cache_line) + " bytes cannot be");
  }
  capture.hwcap = from.at("hwcap").get<uint64_t>();
  if (from.contains("kexec_probe")) capture.kexec_probe = from["kexec_probe"].get<int>();
  if (from.contains("kexec_file_probe")) {
    capture.kexec_file_probe = from["kexec_file_probe"].get<int>();
  }
  const json& speeds = from.at("speeds");
  capture.speeds = {.copy = speeds.at("copy").get<uint64_t>(),
                    .clean = speeds.at("clean").get<uint64_t>(),
                    .sha256 = speeds.at("sha256").get<uint64_t>(),
                    .crc32c = speeds.at("crc32c").get<uint64_t>()};
  if (from.contains("moment")) {
    const json& moment = from["moment"];
    capture.moment = Moment{.counter = moment.at("counter").get<uint64_t>(),
                            .monotonic_raw = moment.at("monotonic_raw").get<uint64_t>(),
                            .suspended = moment.at("suspended").get<uint64_t>(),
                            .frequency = moment.at("frequency").get<uint64_t>()};
  }
  for (const auto& [path, text] : from.at("texts").items()) {
    capture.files[path] = text.get<std::string>();
  }
  for (const auto& [path, text] : from.at("bytes").items()) {
    const auto bytes = FromHex(text.get<std::string>());
    if (!bytes) return Bad(name, std::string(kManifest) + " is not as khop writes it");
    capture.files[path] = *bytes;
  }
  for (const auto& [path, file] : from.at("files").items()) {
    const auto text = part(file.get<std::string>());
    if (!text) return Forward(text);
    capture.files[path] = **text;
  }
  for (const auto& [path, error] : from.at("errors").items()) {
    capture.errors[path] = std::clamp(error.get<int>(), 1, 4095);  // MAX_ERRNO
  }
  capture.directories =
      from.at("directories").get<std::map<std::string, std::vector<std::string>>>();
  capture.links = from.at("links").get<std::map<std::string, std::string>>();
  for (const auto& [path, info] : from.at("infos").items()) capture.infos[path] = InfoFrom(info);
  if (from.at("parts").contains(kLog)) {
    const auto log = part(kLog);
    if (!log) return Forward(log);
    capture.kernel_log = **log;
  }
  const auto relocator = part(kRelocator);
  if (!relocator) return Forward(relocator);
  capture.relocator = **relocator;
  const auto pages = part(kPages);
  if (!pages) return Forward(pages);
  if (!DecodePages(**pages, capture.page_size, capture.pages)) {
    return Bad(name, std::string("the file ") + kPages + " has a line of an unknown form");
  }
  return capture;
}

}  // namespace

Parts Encode(const Capture& capture) {
  Parts parts;
  json texts = json::object();
  json bytes = json::object();
  json files = json::object();
  for (const auto& [path, text] : capture.files) {
    if (text.size() <= kInline) {
      if (IsPlainText(text)) {
        texts[path] = text;
      } else {
        bytes[path] = ToHex(text);
      }
    } else {
      const std::string name = PartName(path, parts);
      files[path] = name;
      parts[name] = text;
    }
  }
  if (capture.kernel_log) parts[kLog] = *capture.kernel_log;
  parts[kPages] = EncodePages(capture);
  parts[kRelocator] = capture.relocator;
  json sums = json::object();
  for (const auto& [name, text] : parts) {
    sums[name] = {{"size", text.size()}, {"crc32c", Sum(text)}};
  }
  json infos = json::object();
  for (const auto& [path, info] : capture.infos) infos[path] = ToJson(info);
  nlohmann::ordered_json manifest = {{"khop_capture", kVersion},
                                     {"khop", capture.khop},
                                     {"captured_at", capture.captured_at},
                                     {"machine", capture.machine},
                                     {"release", capture.release},
                                     {"uid", capture.uid},
                                     {"page_size", capture.page_size},
                                     {"data_cache_line", capture.data_cache_line},
                                     {"hwcap", capture.hwcap},
                                     {"speeds",
                                      {{"copy", capture.speeds.copy},
                                       {"clean", capture.speeds.clean},
                                       {"sha256", capture.speeds.sha256},
                                       {"crc32c", capture.speeds.crc32c}}},
                                     {"parts", sums},
                                     {"files", files},
                                     {"texts", texts},
                                     {"bytes", bytes},
                                     {"errors", json(capture.errors)},
                                     {"directories", json(capture.directories)},
                                     {"links", json(capture.links)},
                                     {"infos", infos}};
  if (capture.kexec_probe) manifest["kexec_probe"] = *capture.kexec_probe;
  if (capture.kexec_file_probe) manifest["kexec_file_probe"] = *capture.kexec_file_probe;
  if (capture.moment) {
    manifest["moment"] = {{"counter", capture.moment->counter},
                          {"monotonic_raw", capture.moment->monotonic_raw},
                          {"suspended", capture.moment->suspended},
                          {"frequency", capture.moment->frequency}};
  }
  parts[kManifest] =
      manifest.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  return parts;
}

Result<Capture> Decode(const Parts& parts, const std::string& name) {
  const auto text = parts.find(kManifest);
  if (text == parts.end()) {
    return Bad(
        name, std::string("it has no ") + kManifest + ": no capture, or one that was not finished");
  }
  const json manifest = json::parse(text->second, nullptr, /*allow_exceptions=*/false);
  if (manifest.is_discarded() || !manifest.is_object()) {
    return Bad(name, std::string(kManifest) + " is damaged or not whole");
  }
  // A type that is not expected throws.
  try {
    if (!manifest.contains("khop_capture")) return Bad(name, "it is not a capture of khop's");
    if (const int version = manifest["khop_capture"].get<int>(); version != kVersion) {
      return Bad(name,
                 "it is of version " + std::to_string(version) + ", and this khop reads " +
                     std::to_string(kVersion),
                 "use the khop that made it, or capture again");
    }
    return FromJson(manifest, parts, name);
  } catch (const json::exception&) {
    return Bad(name, std::string(kManifest) + " is not as khop writes it");
  }
}

Result<void> Write(system::System& system, const std::string& directory, const Capture& capture) {
  const auto made = system.MakeDirectory(directory);
  if (!made && made.error().value != EEXIST) {
    return FailErrno(ExitCode::kSystemCall, directory, made.error().value,
                     "name a directory that can be made");
  }
  Parts parts = Encode(capture);
  const std::string manifest = std::move(parts[kManifest]);
  parts.erase(kManifest);
  // A capture before this one, or a half of one, is no capture until the end.
  const std::string manifest_path = directory + "/" + kManifest;
  (void)system.Unlink(manifest_path);
  const auto put = [&](const std::string& path, const std::string& text) -> Result<void> {
    const auto done = system::ReplaceFile(system, path, std::as_bytes(std::span(text)));
    if (!done) return FailErrno(ExitCode::kSystemCall, path, done.error().value);
    return {};
  };
  const std::string prefix = directory + "/";
  for (const auto& [name, text] : parts) {
    if (auto done = put(prefix + name, text); !done) return done;
  }
  return put(manifest_path, manifest);
}

Result<Capture> Read(system::System& system, const std::string& directory) {
  Parts parts;
  const auto get = [&](const std::string& name) {
    const auto text = system::ReadFile(system, directory + "/" + name, kMaxPart);
    if (text) parts[name] = *text;
    return text;
  };
  if (const auto manifest = get(kManifest); !manifest && manifest.error().value != ENOENT) {
    return FailErrno(ExitCode::kBadCapture, directory, manifest.error().value,
                     "name the directory of a capture");
  }
  if (!parts.empty()) {
    const json manifest = json::parse(parts[kManifest], nullptr, /*allow_exceptions=*/false);
    if (manifest.is_object() && manifest.contains("parts") && manifest["parts"].is_object()) {
      for (const auto& [name, sum] : manifest["parts"].items()) {
        if (IsPartName(name)) (void)get(name);
      }
    }
  }
  return Decode(parts, directory);
}

}  // namespace khop::capture
