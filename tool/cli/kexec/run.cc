// SPDX-License-Identifier: MIT
#include "tool/cli/kexec/run.h"

#include <string_view>

#include "tool/cli/kexec/options.h"
#include "tool/cli/kexec/translate.h"
#include "tool/cli/kexec/usage.h"
#include "tool/load/load.h"
#include "tool/system/kexec_state.h"
#include "tool/system/memory_map.h"

namespace khop::cli::kexec {

using system::System;

namespace {

constexpr const char* kLoaded = "/sys/kernel/kexec_loaded";
constexpr const char* kCrashLoaded = "/sys/kernel/kexec_crash_loaded";

int Code(KexecExit code) { return static_cast<int>(code); }

std::unexpected<Refusal> Refuse(KexecExit code, const Failure& failure) {
  return std::unexpected(Refusal{code, failure.message});
}

// Bytes of the last "Crash kernel" of /proc/iomem, which is the one that takes images; 0 if there
// is none, or if it is hidden from this user.
uint64_t CrashKernelSize(System& system) {
  const auto map = system::ReadMemoryMap(system);
  return map && !map->crash.empty() ? map->crash.back().size : 0;
}

void DoAtOnce(Context& context, AtOnce what) {
  switch (what) {
    case AtOnce::kHelp:
      context.out << UsageText();
      break;
    case AtOnce::kVersion:
      context.out << VersionText();
      break;
    case AtOnce::kPrintCrashSize:
      context.out << CrashKernelSize(context.system) << "\n";
      break;
  }
}

// What another tool loaded is meant too.
std::expected<void, Refusal> Unload(System& system, const Options& options) {
  const auto own = options.crash ? load::UnloadCrash(system) : load::Unload(system);
  if (!own && own.error().code != ExitCode::kCrashSlotTaken) {
    return Refuse(KexecExit::kFailed, own.error());
  }
  const char* const file = options.crash ? kCrashLoaded : kLoaded;
  if (system::ReadNumber(system, file).value_or(0) == 0) return {};
  const auto done = options.crash ? system.KexecLoadCrash({0}, {}) : system.KexecLoad({0}, {});
  if (!done) return Refuse(KexecExit::kFailed, system::ExplainKexecLoad(system, done.error()));
  return {};
}

std::expected<void, Refusal> Load(Context& context, const Options& options,
                                  const load::Progress& progress) {
  const auto translated = Translate(context.system, options, context.blob);
  if (!translated) {
    return Refuse(ExitOfLoad(context.system, options, translated.error().code), translated.error());
  }
  const auto plan = options.crash ? load::LoadCrash(context.system, *translated, progress)
                                  : load::Load(context.system, *translated, progress);
  if (!plan) return Refuse(ExitOfLoad(context.system, options, plan.error().code), plan.error());
  if (options.verbose) context.err << report::RenderText(*plan);
  return {};
}

// As the machine's own shutdown does it: services are stopped, and at the end the loaded kernel
// is started.
int Shutdown(Context& context) {
  for (const char* const program : {"/sbin/shutdown", "/etc/shutdown", "/bin/shutdown"}) {
    const auto status = context.system.Run({program, "-r", "now"});
    if (status) return *status;
  }
  context.err << "khop: shutdown: there is no such program; the kernel is loaded: start it with "
                 "kexec -e\n";
  return Code(KexecExit::kFailed);
}

// Returns only if it failed.
Refusal Exec(Context& context, const Options& options, const load::Progress& progress) {
  System& system = context.system;
  // At the end of a shutdown systemd calls it, with what can be unmounted unmounted.
  const load::Leaving leaving{
      .sync = options.sync, .interfaces_down = options.ifdown, .files_may_be_gone = true};
  auto done = load::Exec(system, load::ExecMode::kNow, progress, leaving);
  if (!done && done.error().code == ExitCode::kNothingLoaded) {
    progress("starting what another tool loaded");
    done = load::Leave(system, leaving);
  }
  return {KexecExit::kFailed, done ? "kexec: the machine did not jump" : done.error().message};
}

// The steps in their order; the exit code, or why not.
std::expected<int, Refusal> RunSteps(Context& context, const Options& options) {
  const load::Progress progress = [&](std::string_view step) {
    if (options.verbose) context.err << "khop: " << Printable(step) << "\n" << std::flush;
  };
  if (options.status) {
    const char* const file = options.crash ? kCrashLoaded : kLoaded;
    const auto loaded = system::ReadNumber(context.system, file);
    if (!loaded) {
      return Refuse(KexecExit::kFailed,
                    FailErrno(ExitCode::kSystemCall, file, loaded.error().value).error());
    }
    return static_cast<int>(*loaded);
  }
  if (options.unload) {
    if (const auto done = Unload(context.system, options); !done) {
      return std::unexpected(done.error());
    }
  }
  if (options.load) {
    const auto done = Load(context, options, progress);
    if (!done) return std::unexpected(done.error());
  }
  if (!options.exec && !options.shutdown) return Code(KexecExit::kOk);
  if (system::ReadNumber(context.system, kLoaded).value_or(0) == 0) {
    return std::unexpected(Refusal{KexecExit::kUsage, "kexec: Nothing has been loaded!"});
  }
  if (options.shutdown) return Shutdown(context);
  return std::unexpected(Exec(context, options, progress));
}

}  // namespace

int Run(Context& context, const std::vector<std::string>& arguments) {
  const auto parsed = ParseOptions(arguments);
  std::expected<int, Refusal> code = Code(KexecExit::kOk);
  if (!parsed) {
    code = std::unexpected(parsed.error());
  } else if (const auto* const at_once = std::get_if<AtOnce>(&*parsed)) {
    DoAtOnce(context, *at_once);
    if (!context.out.flush()) {
      code =
          std::unexpected(Refusal{KexecExit::kFailed, "standard output: it cannot be written to"});
    }
  } else {
    code = RunSteps(context, std::get<Options>(*parsed));
  }
  if (code) return *code;
  context.err << "khop: " << code.error().message << "\n";
  return Code(code.error().code);
}

}  // namespace khop::cli::kexec
