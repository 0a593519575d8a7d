// SPDX-License-Identifier: MIT
#include "tool/report/json.h"

namespace khop::report {

Json ToJson(const std::vector<Segment>& segments) {
  Json list = Json::array();
  for (const Segment& s : segments) {
    list.push_back({{"name", s.name},
                    {"start", s.start},
                    {"size", s.size},
                    {"end", s.start + s.size},
                    {"file_bytes", s.file_bytes}});
  }
  return list;
}

Json ToJson(const ControlArea& control) {
  return {{"start", control.start},
          {"size", control.size},
          {"end", control.start + control.size},
          {"blob_bytes", control.blob_bytes},
          {"stack_bytes", control.stack_bytes},
          {"handoff_bytes", control.handoff_bytes},
          {"table_bytes", control.table_bytes}};
}

Json ToJson(const std::vector<ArenaPages>& arena) {
  Json list = Json::array();
  for (const ArenaPages& pages : arena) {
    list.push_back({{"page_size", pages.page_size}, {"count", pages.count}});
  }
  return list;
}

Json ToJson(const system::Speeds& speeds) {
  return {{"copy", speeds.copy},
          {"clean", speeds.clean},
          {"sha256", speeds.sha256},
          {"crc32c", speeds.crc32c}};
}

std::string Dump(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace khop::report
