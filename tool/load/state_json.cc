// SPDX-License-Identifier: MIT
// The state file's form. nlohmann-json reports what does not fit by exceptions: they end here.
#include <nlohmann/json.hpp>

#include "core/digest/crc32c.h"
#include "tool/load/state.h"

namespace khop {

// NOLINTBEGIN: macros of nlohmann-json
static void to_json(nlohmann::json& json, const PhysRange& range) {
  json = {range.start.value, range.size};
}
static void from_json(const nlohmann::json& json, PhysRange& range) {
  json.at(0).get_to(range.start.value);
  json.at(1).get_to(range.size);
}

namespace devicetree {
NLOHMANN_JSON_SERIALIZE_ENUM(ChangeKind, {{ChangeKind::kAdded, "added"},
                                          {ChangeKind::kRemoved, "removed"},
                                          {ChangeKind::kChanged, "changed"}})
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Change, kind, path, detail)
}  // namespace devicetree

namespace report {
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Segment, name, start, size, file_bytes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ControlArea, start, size, blob_bytes, stack_bytes, handoff_bytes,
                                   table_bytes)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ArenaPages, page_size, count)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Refusal, route, reason)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(PlanFile, path, size)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Plan, route, route_reason, refused, mmu, mmu_reason, kernel,
                                   kernel_format, kernel_version, kernel_image_size,
                                   kernel_page_size, initrds, command_line, dtb_source, entry,
                                   segments, bytes_in_place, bytes_to_move, moves, control, arena,
                                   digest, bytes_to_verify, console, failure_record, conduit,
                                   dtb_changes, notes)
}  // namespace report

namespace handoff {
NLOHMANN_JSON_SERIALIZE_ENUM(DigestKind, {{DigestKind::kNone, "none"},
                                          {DigestKind::kSha256, "sha256"},
                                          {DigestKind::kCrc32c, "crc32c"}})
}  // namespace handoff

namespace load {
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(ArenaSegment, key, id, size, page_size, base)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(PoolRecord, page_size, persistent, target)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(LentPages, page_size, count)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Verified, start, size, digests)
NLOHMANN_JSON_SERIALIZE_ENUM(MmuMode, {{MmuMode::kAuto, "auto"},
                                       {MmuMode::kOn, "on"},
                                       {MmuMode::kOff, "off"}})
NLOHMANN_JSON_SERIALIZE_ENUM(Phase, {{Phase::kBuilding, "building"},
                                     {Phase::kCommitting, "committing"},
                                     {Phase::kUnloading, "unloading"}})

static void to_json(nlohmann::json& json, const ArenaRecord& arena) {
  json = {{"slot", arena.slot},
          {"segments", arena.segments},
          {"extents", EncodeExtents(*arena.extents)},
          {"lent", arena.lent}};
}
// Thrown to DecodeState() by what nlohmann-json calls: it has no other way.
struct BadExtents : nlohmann::json::exception {
  BadExtents() : nlohmann::json::exception(900, "extents") {}
};
static void from_json(const nlohmann::json& json, ArenaRecord& arena) {
  json.at("slot").get_to(arena.slot);
  json.at("segments").get_to(arena.segments);
  json.at("lent").get_to(arena.lent);
  auto extents = DecodeExtents(json.at("extents").get_ref<const std::string&>());
  if (!extents) throw BadExtents();
  for (const Extent& extent : *extents) {
    if (extent.segment >= arena.segments.size()) throw BadExtents();
  }
  arena.extents = std::make_shared<const std::vector<Extent>>(*std::move(extents));
}
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(Loaded, plan, loaded_at, arena, stamp, digest_kind, verified,
                                   mmu, taken, bounds, control_file, control_crc32c, file_flags)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE(CrashLoaded, plan, loaded_at, kernel, configuration, initrds,
                                   command_line, dtb, dtbos, digest_kind, with_payload)
// NOLINTEND

namespace {

constexpr int kVersion = 5;
constexpr const char* kFile = "the state of khop (/run/khop/state.json)";
// The checksum is over the text with zeros in its place.
constexpr std::string_view kChecksum = "\"crc32c\": \"";
constexpr std::string_view kNoChecksum = "00000000";

// Where the digits of the checksum are.
size_t FindChecksum(std::string_view text) {
  const size_t at = text.find(kChecksum);
  const size_t digits = at + kChecksum.size();
  return at == std::string_view::npos || digits + kNoChecksum.size() > text.size()
             ? std::string_view::npos
             : digits;
}

void Seal(std::string& text, size_t digits) {
  text.replace(digits, kNoChecksum.size(), kNoChecksum);
  const uint32_t sum =
      digest::Crc32c(std::as_bytes(std::span(text)), digest::DigestFeatures::Scalar());
  for (size_t i = 0; i < kNoChecksum.size(); ++i) {
    text[digits + i] = "0123456789abcdef"[sum >> (28 - 4 * i) & 15];
  }
}

}  // namespace

std::string EncodeState(const State& state, const std::string& boot_id) {
  nlohmann::json json = {{"version", kVersion}, {"boot_id", boot_id}, {"crc32c", kNoChecksum}};
  if (state.current) json["current"] = *state.current;
  if (state.pending) {
    json["pending"] = {{"phase", state.pending->phase},
                       {"slot", state.pending->slot},
                       {"pools", state.pending->pools}};
    if (state.pending->loaded) json["pending"]["loaded"] = *state.pending->loaded;
  }
  if (!state.settle.empty()) json["settle"] = state.settle;
  if (state.compaction) json["compaction"] = *state.compaction;
  if (state.crash) json["crash"] = *state.crash;
  if (state.crash_unsure) json["crash_unsure"] = true;
  if (state.departure) {
    json["departure"] = {{"park_cpus", state.departure->park_cpus},
                         {"watchdog", state.departure->watchdog}};
  }
  // Paths need not be UTF-8.
  std::string text = json.dump(1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
  Seal(text, FindChecksum(text));
  return text;
}

Result<State> DecodeState(const std::string& text, std::string* boot_id) {
  static constexpr std::string_view kTodo = "run khop unload to start afresh";
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded() || !json.is_object()) {
    return Fail(ExitCode::kBadState, kFile, "it is damaged", kTodo);
  }
  try {
    if (json.at("version").get<int>() != kVersion) {
      return Fail(ExitCode::kBadState, kFile, "another version of khop wrote it", kTodo);
    }
    const size_t digits = FindChecksum(text);
    std::string sealed = text;
    if (digits != std::string::npos) Seal(sealed, digits);
    if (digits == std::string::npos || sealed != text) {
      return Fail(ExitCode::kBadState, kFile, "it is damaged", kTodo);
    }
    *boot_id = json.at("boot_id").get<std::string>();
    State state;
    if (json.contains("current")) state.current = json["current"].get<Loaded>();
    if (json.contains("settle")) state.settle = json["settle"].get<PoolRecords>();
    if (json.contains("compaction")) state.compaction = json["compaction"].get<uint64_t>();
    if (json.contains("crash")) state.crash = json["crash"].get<CrashLoaded>();
    if (json.contains("crash_unsure")) state.crash_unsure = json["crash_unsure"].get<bool>();
    if (json.contains("departure")) {
      const nlohmann::json& from = json["departure"];
      state.departure = Departure{.park_cpus = from.at("park_cpus").get<bool>(),
                                  .watchdog = from.at("watchdog").get<uint32_t>()};
    }
    if (json.contains("pending")) {
      const nlohmann::json& from = json["pending"];
      Pending pending{.phase = from.at("phase").get<Phase>(),
                      .slot = from.at("slot").get<int>(),
                      .pools = from.at("pools").get<PoolRecords>(),
                      .loaded = {}};
      if (from.contains("loaded")) pending.loaded = from["loaded"].get<Loaded>();
      if (pending.slot < 0 || pending.slot >= kSlots ||
          (pending.phase == Phase::kCommitting && !pending.loaded)) {
        return Fail(ExitCode::kBadState, kFile, "it is damaged", kTodo);
      }
      state.pending = std::move(pending);
    }
    return state;
  } catch (const nlohmann::json::exception&) {
    return Fail(ExitCode::kBadState, kFile, "it is damaged", kTodo);
  }
}

}  // namespace load
}  // namespace khop
