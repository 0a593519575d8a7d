// SPDX-License-Identifier: MIT
#include <nlohmann/json.hpp>
#include <string>

#include "tool/cli/verbs.h"
#include "tool/load/payload.h"
#include "tool/load/tree_source.h"
#include "tool/report/json.h"
#include "tool/report/text.h"

namespace khop::cli {
namespace {

using image::Contents;
using image::Item;
using report::Json;

std::string PageSize(uint32_t bytes) {
  return bytes == 0 ? "page size not said" : "pages of " + HumanBytes(bytes);
}

std::string Render(const load::SourceFile& file, const Contents& contents) {
  report::TextPage page;
  page.Field("File", Printable(file.path) + ", " + HumanBytes(file.file_size));
  page.Field("Format", contents.Format());
  if (contents.kernel) {
    const image::Kernel& kernel = *contents.kernel;
    page.Field("Kernel", kernel.version.empty() ? "of unknown version" : kernel.version);
    page.Field("", HumanBytes(kernel.recipe.size) + " unpacked, " +
                       HumanBytes(kernel.header.image_size) + " in memory, " +
                       PageSize(kernel.header.page_size));
  }
  if (contents.command_line) page.Field("Command line", Printable(*contents.command_line));
  for (const std::string& note : contents.notes) page.Field("Note", note);
  page.Line("In it");
  for (const Item& item : contents.items) {
    std::string line(2 + size_t{2} * item.depth, ' ');
    line += (item.name.empty() ? "" : item.name + ": ") + item.what;
    if (item.where.size != 0) {
      line += ", " + HumanBytes(item.where.size) + " at " + std::to_string(item.where.offset);
    }
    if (!item.detail.empty()) line += " (" + item.detail + ")";
    page.Line(line);
  }
  return page.text();
}

Json Parts(const std::vector<image::Part>& parts) {
  Json json = Json::array();
  for (const image::Part& part : parts) {
    json.push_back({{"name", part.name}, {"offset", part.where.offset}, {"size", part.where.size}});
  }
  return json;
}

std::string ToJson(const load::SourceFile& file, const Contents& contents) {
  Json kernel = nullptr;
  if (contents.kernel) {
    const image::ImageHeader& header = contents.kernel->header;
    kernel = {{"version", contents.kernel->version},
              {"size", contents.kernel->recipe.size},
              {"codec", image::CodecName(contents.kernel->recipe.codec)},
              {"image_size", header.image_size},
              {"text_offset", header.text_offset},
              {"page_size", header.page_size},
              {"placed_anywhere", header.placed_anywhere}};
  }
  Json items = Json::array();
  for (const Item& item : contents.items) {
    items.push_back({{"depth", item.depth},
                     {"name", item.name},
                     {"what", item.what},
                     {"offset", item.where.offset},
                     {"size", item.where.size},
                     {"detail", item.detail}});
  }
  Json line = nullptr;
  if (contents.command_line) line = *contents.command_line;
  return report::Dump({{"schema", report::kSchema},
                       {"path", file.path},
                       {"size", file.file_size},
                       {"formats", contents.formats},
                       {"kernel", kernel},
                       {"initrds", Parts(contents.initrds)},
                       {"device_trees", Parts(contents.trees)},
                       {"command_line", line},
                       {"items", items},
                       {"notes", contents.notes}});
}

}  // namespace

Result<void> RunInspect(Context& context, const Command& command) {
  const auto file = load::OpenSource(context.system, command.file, "the file");
  if (!file) return Forward(file);
  const image::Question question{.name = command.file,
                                 .compatible = load::RunningCompatible(context.system),
                                 .configuration = {},
                                 .need_kernel = false};
  const auto contents =
      image::InspectInSandbox(load::InputOf(context.system, *file), file->file_size, question);
  if (!contents) return Forward(contents);
  context.out << (command.json ? ToJson(*file, *contents) : Render(*file, *contents));
  return {};
}

}  // namespace khop::cli
