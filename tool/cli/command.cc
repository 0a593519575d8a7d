// SPDX-License-Identifier: MIT
// The only file that sees CLI11, which takes long to compile and reports by exceptions.
#include "tool/cli/command.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <utility>

#include "tool/cli/cli.h"
#include "tool/load/routes.h"

namespace khop::cli {
namespace {

// What the parser fills in.
struct Arguments {
  Command command;
  std::vector<std::string> command_line;  // at most one
  std::vector<std::string> dtb;           // at most one
  std::string route = "auto";
  std::string mmu = "auto";
  std::string verify;  // empty: not given
  std::string crash_kernel;
  std::vector<std::string> crash_initrds;
  std::vector<std::string> crash_line;  // at most one
};

// "0x40000000", "64M": a number, maybe of KiB, MiB or GiB.
std::optional<uint64_t> ParseAddress(const std::string& text) {
  uint64_t value = 0;
  const bool hex = text.starts_with("0x");
  const char* const end = text.data() + text.size();
  auto [rest, error] = std::from_chars(text.data() + (hex ? 2 : 0), end, value, hex ? 16 : 10);
  if (error != std::errc()) return std::nullopt;
  if (rest == end) return value;
  static constexpr std::string_view kUnits = "KMG";
  const size_t unit = kUnits.find(*rest);
  if (unit == std::string_view::npos || rest + 1 != end) return std::nullopt;
  const auto shift = static_cast<unsigned>(10 * (unit + 1));
  if (value > UINT64_MAX >> shift) return std::nullopt;
  return value << shift;
}

void AddAddress(CLI::App* verb, const char* name, uint64_t& to, const char* about) {
  verb->add_option_function<std::string>(
          name, [&to](const std::string& text) { to = *ParseAddress(text); }, about)
      ->check([](const std::string& text) {
        return ParseAddress(text) ? std::string() : text + " is no address";
      })
      ->type_name("ADDR");
}

CLI::App* AddVerb(CLI::App& app, Arguments& arguments, Verb verb, const char* name,
                  const char* about) {
  CLI::App* const added = app.add_subcommand(name, about);
  added->callback([&arguments, verb] { arguments.command.verb = verb; });
  return added;
}

void AddJson(CLI::App* verb, Arguments& arguments) {
  verb->add_flag("--json", arguments.command.json, "machine-readable output");
}

void AddSvg(CLI::App* verb, Arguments& arguments) {
  verb->add_option("--svg", arguments.command.svg, "write a picture to this file, too")
      ->type_name("FILE");
}

void AddFrom(CLI::App* verb, Arguments& arguments) {
  verb->add_option("--from", arguments.command.from, "of the machine that this capture is of")
      ->type_name("DIR");
}

void AddVerbose(CLI::App* verb, Arguments& arguments) {
  verb->add_flag("-v,--verbose", arguments.command.verbose, "tell each step");
}

std::vector<std::string> RouteNames() {
  std::vector<std::string> names = {"auto"};
  for (const load::RouteRow& row : load::Routes()) names.emplace_back(row.name);
  return names;
}

// "auto, in-place or gather"
std::string InWords(const std::vector<std::string>& names) {
  std::string text = names.front();
  for (size_t i = 1; i < names.size(); ++i) {
    text += (i + 1 == names.size() ? " or " : ", ") + names[i];
  }
  return text;
}

void AddLoadOptions(CLI::App* verb, Arguments& arguments) {
  load::LoadOptions& options = arguments.command.load;
  auto* const kernel = verb->add_option(
      "KERNEL", options.kernel,
      "the next kernel: Image, also compressed; EFI zboot, UKI, vmlinux, uImage, FIT");
  verb->add_option("--entry", options.entry,
                   "take this boot entry (Boot Loader Specification): an ID, or default")
      ->type_name("ID")
      ->excludes(kernel);
  verb->add_option("--config", options.configuration, "take this configuration of a FIT")
      ->type_name("NAME");
  verb->add_option("--initrd", options.initrds,
                   "an initrd; give it again for more, the kernel sees them as one")
      ->type_size(1)
      ->expected(1)
      ->type_name("FILE")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  auto* const line =
      verb->add_option("--cmdline", arguments.command_line, "the next kernel's command line")
          ->expected(1)
          ->type_name("STR")
          ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  verb->add_flag("--reuse-cmdline", options.reuse_command_line,
                 "take the running kernel's command line, without BOOT_IMAGE= and initrd=")
      ->excludes(line);
  verb->add_option("--append", options.append, "add this to the command line")->type_name("STR");
  verb->add_option("--dtb", arguments.dtb, "take this device tree, not the running kernel's")
      ->expected(1)
      ->type_name("FILE")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  verb->add_option("--dtbo", options.dtbos, "apply this overlay; give it again for more")
      ->type_size(1)
      ->expected(1)
      ->type_name("FILE")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  verb->add_option("--route", arguments.route,
                   "how the payload gets to its place: " + InWords(RouteNames()))
      ->check(CLI::IsMember(RouteNames()))
      ->type_name("ROUTE");
  verb->add_option("--mmu", arguments.mmu,
                   "whether the relocator turns the MMU and caches on: auto, on or off")
      ->check(CLI::IsMember({"auto", "on", "off"}))
      ->type_name("MODE");
  verb->add_option(
          "--verify", arguments.verify,
          "what is checked before the jump: sha256, crc32c or none by the relocator; early: "
          "sha256 by all CPUs at exec --now, just before reboot(2)")
      ->check(CLI::IsMember({"sha256", "crc32c", "none", "early"}))
      ->type_name("KIND");
  verb->add_flag("--no-cma", options.no_cma,
                 "route file: keep the kernel from loading into CMA areas (Linux 6.17)");
  AddAddress(verb, "--mem-min", options.mem_min, "put the payload here or above: 0x…, 64M, …");
  AddAddress(verb, "--mem-max", options.mem_max, "put the payload below this");
  auto* const crash_kernel =
      verb->add_option("--crash-kernel", arguments.crash_kernel,
                       "with --route reserved: the kernel that a panic starts")
          ->type_name("FILE");
  verb->add_option("--crash-initrd", arguments.crash_initrds, "its initrd")
      ->type_size(1)
      ->expected(1)
      ->type_name("FILE")
      ->needs(crash_kernel)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  verb->add_option("--crash-cmdline", arguments.crash_line, "its command line")
      ->expected(1)
      ->type_name("STR")
      ->needs(crash_kernel)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  AddJson(verb, arguments);
  AddVerbose(verb, arguments);
}

void AddAll(CLI::App& app, Arguments& arguments) {
  app.set_version_flag("--version", std::string("khop ") + KHOP_VERSION);
  app.require_subcommand(0, 1);
  app.footer("Exit codes: khop help exit-codes");
  CLI::App* const load =
      AddVerb(app, arguments, Verb::kLoad, "load",
              "Load a kernel, to be started by exec; without KERNEL: the default boot entry");
  AddLoadOptions(load, arguments);
  CLI::Option* const crash = load->add_flag("--crash", arguments.command.crash,
                                            "load it to be started by a panic (kdump)");
  for (const char* const other : {"--route", "--crash-kernel", "--mem-min", "--mem-max"}) {
    crash->excludes(load->get_option(other));
  }
  auto* const configured = load->add_flag("--configured", arguments.command.configured,
                                          "load what /etc/khop.conf says, as it says");
  auto* const preload =
      load->add_flag("--preload", arguments.command.preload,
                     "load KERNEL and its initrds as /etc/khop.conf says, if it says preload = yes")
          ->needs(load->get_option("KERNEL"));
  // What may be given beside them.
  const std::set<std::string> also = {"--help",   "--json",       "--verbose", "KERNEL",
                                      "--initrd", "--configured", "--preload"};
  for (CLI::Option* const option : load->get_options()) {
    if (!also.contains(option->get_name(false, true)) && option != configured &&
        option != preload) {
      configured->excludes(option);
      preload->excludes(option);
    }
  }
  configured->excludes(load->get_option("KERNEL"));
  configured->excludes(load->get_option("--initrd"));
  configured->excludes(preload);
  CLI::App* const exec = AddVerb(app, arguments, Verb::kExec, "exec", "Start the loaded kernel");
  exec->add_flag("--now", arguments.command.now, "jump at once: no service is stopped");
  exec->add_flag("--park-cpus", arguments.command.park_cpus,
                 "take the other CPUs offline before the jump, one by one");
  exec->add_option("--watchdog", arguments.command.watchdog,
                   "let a hardware watchdog reset the machine if the next system does not serve it "
                   "in so many seconds")
      ->check(CLI::Range(1, 3600))
      ->type_name("SECONDS");
  AddJson(exec, arguments);
  AddVerbose(exec, arguments);
  CLI::App* const last_check =
      AddVerb(app, arguments, Verb::kLastCheck, "last-check",
              "For shutdown scripts, just before reboot(2): check once more; on doubt unload");
  AddVerbose(last_check, arguments);
  CLI::App* const unload =
      AddVerb(app, arguments, Verb::kUnload, "unload", "Give the loaded kernel's memory back");
  unload->add_flag("--crash", arguments.command.crash, "unload the kernel that a panic starts");
  AddJson(unload, arguments);
  AddJson(AddVerb(app, arguments, Verb::kStatus, "status",
                  "Tell what is loaded, and whether it still is intact"),
          arguments);
  CLI::App* const plan =
      AddVerb(app, arguments, Verb::kPlan, "plan",
              "Tell what load would do; without KERNEL: the plan of what is loaded");
  AddLoadOptions(plan, arguments);
  plan->add_flag("--diff-dtb", arguments.command.diff_dtb,
                 "show what changes in the device tree, as source");
  AddSvg(plan, arguments);
  AddFrom(plan, arguments);
  CLI::App* const inspect =
      AddVerb(app, arguments, Verb::kInspect, "inspect", "Tell what a file is and what is in it");
  inspect->add_option("FILE", arguments.command.file, "a kernel in any format, or anything else")
      ->required();
  AddJson(inspect, arguments);
  CLI::App* const report = AddVerb(app, arguments, Verb::kReport, "report",
                                   "Show where the time of the last hop went (in the new kernel)");
  AddJson(report, arguments);
  AddSvg(report, arguments);
  AddFrom(report, arguments);
  CLI::App* const doctor = AddVerb(app, arguments, Verb::kDoctor, "doctor",
                                   "Tell whether this machine can hop, and what stands in the way");
  AddJson(doctor, arguments);
  AddFrom(doctor, arguments);
  AddVerb(app, arguments, Verb::kCapture, "capture",
          "Save what plan, doctor and report ask this machine, for use elsewhere")
      ->add_option("DIR", arguments.command.directory, "where to: it is made if it is not there")
      ->required();
  // Has a parser of its own (kexec/options.h): this is for the help.
  app.add_subcommand(kKexec,
                     "Do what kexec-tools' kexec does with the same options: khop kexec -h");
  AddVerb(app, arguments, Verb::kHelp, "help", "Tell about a verb, or about exit-codes")
      ->add_option("TOPIC", arguments.command.topic, "a verb, or exit-codes");
  // Each option takes one value, so that a file after it is never taken for another; a flag none.
  for (CLI::App* const verb : app.get_subcommands([](const CLI::App*) { return true; })) {
    for (CLI::Option* const option : verb->get_options()) {
      option->allow_extra_args(false);
      if (option->get_items_expected_max() != 0) continue;
      option->check(
          [](const std::string& text) { return text == "true" ? "" : "it takes no value"; });
    }
  }
}

constexpr const char* kAbout = "khop replaces the running arm64 Linux kernel by another one";

Command Finish(Arguments arguments) {
  load::LoadOptions& options = arguments.command.load;
  if (!arguments.command_line.empty()) options.command_line = arguments.command_line.back();
  if (!arguments.dtb.empty()) options.dtb = arguments.dtb.back();
  for (const load::RouteRow& row : load::Routes()) {
    if (arguments.route == row.name) options.route = row.route;
  }
  if (!arguments.crash_kernel.empty()) {
    load::LoadOptions crash;
    crash.kernel = arguments.crash_kernel;
    crash.initrds = arguments.crash_initrds;
    if (!arguments.crash_line.empty()) crash.command_line = arguments.crash_line.back();
    crash.dtb = options.dtb;
    options.crash_kernel = std::make_shared<const load::LoadOptions>(std::move(crash));
  }
  if (arguments.mmu == "on") options.mmu = load::MmuMode::kOn;
  if (arguments.mmu == "off") options.mmu = load::MmuMode::kOff;
  options.digest_asked = !arguments.verify.empty();
  if (arguments.verify == "none") options.digest = handoff::DigestKind::kNone;
  options.early = arguments.verify == "early";
  if (arguments.verify == "crc32c") options.digest = handoff::DigestKind::kCrc32c;
  return std::move(arguments.command);
}

}  // namespace

Result<Parsed> Parse(const std::vector<std::string>& arguments) {
  Arguments parsed;
  CLI::App app(kAbout, "khop");
  AddAll(app, parsed);
  try {
    // CLI11 takes them last first.
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::CallForHelp&) {
    const auto asked = app.get_subcommands();
    return Parsed(asked.empty() ? app.help() : asked.front()->help("khop"));
  } catch (const CLI::CallForVersion& version) {
    return Parsed(std::string(version.what()) + "\n");
  } catch (const CLI::ParseError& error) {
    return Fail(ExitCode::kUsage, "usage", error.what(), "see khop help");
  }
  for (const CLI::App* const verb : app.get_subcommands()) {
    // Not named at all is something else: it is looked for.
    const CLI::Option* const kernel = verb->get_option_no_throw("KERNEL");
    if (kernel != nullptr && kernel->count() != 0 && parsed.command.load.kernel.empty()) {
      return Fail(ExitCode::kFileMissing, "the kernel", "its name is empty", "name a file");
    }
  }
  if (!parsed.crash_kernel.empty() && parsed.route != "reserved") {
    return Fail(ExitCode::kUsage, "usage", "--crash-kernel goes with --route reserved only",
                "load a crash kernel alone with khop load --crash");
  }
  return Parsed(Finish(std::move(parsed)));
}

Result<std::string> HelpText(const std::string& verb) {
  Arguments unused;
  CLI::App app(kAbout, "khop");
  AddAll(app, unused);
  if (verb.empty()) return app.help();
  for (const CLI::App* const about : app.get_subcommands([](const CLI::App*) { return true; })) {
    if (about->get_name() == verb) return about->help("khop");
  }
  return Fail(ExitCode::kUsage, "help", "there is no verb " + verb, "see khop help");
}

}  // namespace khop::cli
