// SPDX-License-Identifier: MIT
#include "tool/load/load.h"

#include "tool/cli/verbs.h"
#include "tool/config/config.h"

namespace khop::cli {
namespace {

// The command line that says what khop.conf says, for the kernel that was given or its own.
std::vector<std::string> Arguments(const config::Config& config, const load::LoadOptions& given) {
  std::vector<std::string> arguments = {"load"};
  const auto add = [&](const char* option, const std::string& value) {
    if (!value.empty()) arguments.insert(arguments.end(), {option, value});
  };
  const bool own = given.kernel.empty();
  add("--entry", own ? config.entry : "");
  for (const std::string& initrd : own ? config.initrds : given.initrds) add("--initrd", initrd);
  if (config.command_line) {
    arguments.insert(arguments.end(), {"--cmdline", *config.command_line});
  } else if (!own || !config.kernel.empty()) {
    arguments.emplace_back("--reuse-cmdline");
  }
  add("--append", config.append);
  add("--dtb", config.dtb);
  add("--route", config.route);
  add("--mmu", config.mmu);
  add("--verify", config.verify);
  const std::string& kernel = own ? config.kernel : given.kernel;
  if (!kernel.empty()) arguments.push_back(kernel);
  return arguments;
}

Result<void> Load(Context& context, const Command& command, load::LoadOptions options) {
  options.blob = context.blob;
  const auto progress = MakeProgress(context, command);
  const auto plan = command.crash ? load::LoadCrash(context.system, options, progress)
                                  : load::Load(context.system, options, progress);
  if (!plan) return Forward(plan);
  context.out << (command.json ? report::ToJson(*plan) : report::RenderText(*plan));
  return {};
}

}  // namespace

Result<void> RunLoad(Context& context, const Command& command) {
  if (!command.configured && !command.preload) return Load(context, command, command.load);
  const auto config = config::Read(context.system);
  if (!config) return Forward(config);
  if (command.preload && !config->preload) {
    context.out << "Nothing is loaded: " << config::kPath << " does not say preload = yes.\n";
    return {};
  }
  const auto parsed = Parse(Arguments(*config, command.load));
  if (!parsed) return Forward(parsed);
  return Load(context, command, std::get<Command>(*parsed).load);
}

}  // namespace khop::cli
