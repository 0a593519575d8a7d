// SPDX-License-Identifier: MIT
// The route for machines where a policy decides what may be started: kexec_file_load with the very
// files that were named, so that the kernel and IMA judge these and not copies. What the kernel
// refuses stays refused.
#include <algorithm>
#include <cerrno>

#include "tool/load/file_places.h"
#include "tool/load/fill.h"
#include "tool/load/held.h"
#include "tool/load/routes.h"
#include "tool/system/kexec_state.h"

namespace khop::load {

using system::System;

namespace {

std::unexpected<Failure> CannotHonour(std::string_view option, std::string_view why,
                                      std::string_view todo) {
  return Fail(ExitCode::kRouteOption, option, "kexec_file_load " + std::string(why), todo);
}

Result<void> CheckOptions(const LoadOptions& options, const Prepared& prepared) {
  if (options.dtb) {
    return CannotHonour("--dtb", "makes the next tree of the running kernel's", "leave it out");
  }
  if (options.initrds.size() > 1) {
    return CannotHonour("--initrd", "takes one", "put them into one file");
  }
  if (options.mmu != MmuMode::kAuto) {
    return CannotHonour("--mmu", "leaves the copying to the running kernel", "leave it out");
  }
  if (options.digest_asked && options.digest != handoff::DigestKind::kNone) {
    return CannotHonour("--verify", "starts the next kernel without khop's relocator",
                        "leave it out, or take another route");
  }
  if (options.mem_min != 0 || options.mem_max != UINT64_MAX) {
    return CannotHonour("--mem-min, --mem-max", "chooses the places itself", "leave them out");
  }
  const bool whole = std::ranges::all_of(prepared.initrds, &SourceFile::is_whole);
  if (!prepared.kernel.is_whole() || !whole) {
    return CannotHonour("the kernel file", "takes an Image as it is",
                        "unpack it, or take another route");
  }
  if (!prepared.made_initrd.empty()) {
    return CannotHonour("--initrd",
                        "cannot keep a next kernel without one from the first boot's, which the "
                        "firmware's tables still name",
                        "give an initrd");
  }
  return {};
}

// Older kernels do not load into CMA areas anyway, and refuse a flag that they do not know.
Result<uint32_t> Flags(System& system, const LoadOptions& options, const Prepared& prepared) {
  uint32_t flags = 0;
  if (prepared.initrds.empty()) flags |= system::kKexecFileNoInitramfs;
  if (!options.no_cma) return flags;
  if (system::HasLoadLimit(system)) {
    return CannotHonour("--no-cma",
                        "may not know it, and with kexec_load_limit_reboot each attempt to find "
                        "out would count",
                        "leave it out");
  }
  if (system.KexecFileProbe(system::kKexecFileNoCma).value != EINVAL) {
    flags |= system::kKexecFileNoCma;
  }
  return flags;
}

void Describe(const LoadOptions& options, const Prepared& prepared, uint32_t flags,
              const std::string& gic_note, report::Plan& plan) {
  plan.route_reason = "kexec_file_load: the running kernel reads, checks and moves the files";
  plan.bytes_to_move = prepared.kernel.size + prepared.initrd_size;
  // None of these are there without the relocator.
  plan.digest = "none";
  plan.bytes_to_verify = 0;
  plan.console.clear();
  plan.failure_record.clear();
  plan.conduit.clear();
  plan.mmu.clear();
  plan.mmu_reason.clear();
  plan.notes.emplace_back(
      "the running kernel chooses the places and makes the next device tree when it loads, and "
      "shows neither: there are no addresses to tell, and no differences of the trees");
  plan.notes.emplace_back(
      "after the load nothing is verified by khop, and khop report has no timeline");
  if (!gic_note.empty()) plan.notes.push_back(gic_note);
  if (options.no_cma && (flags & system::kKexecFileNoCma) == 0) {
    plan.notes.emplace_back("--no-cma: this kernel never loads into CMA areas");
  }
}

// So that exec knows the files again. `version`: of a kernel, which is looked for on the way.
Result<void> DigestFile(System& system, const SourceFile& source, digest::DigestFeatures features,
                        Digests& digests, image::VersionScan* version = nullptr) {
  std::vector<std::byte> piece;
  for (uint64_t at = 0; at < source.size; at += piece.size()) {
    piece.resize(std::min(source.size - at, handoff::kPieceSize));
    const auto got = ReadFully(system, source.file.fd(), piece, at);
    if (!got) return FailErrno(ExitCode::kFileUnreadable, source.path, got.error().value);
    if (*got != piece.size()) {
      return Fail(ExitCode::kFileChanged, source.path, "it became shorter while it was read",
                  "load again when nobody writes to it");
    }
    digests.Add(PhysAddr{at}, piece, handoff::DigestKind::kSha256, features);
    if (version != nullptr) version->Add(piece);
  }
  return {};
}

}  // namespace

Result<void> PlanByFile(System& system, const LoadOptions& options, const Prepared& prepared,
                        report::Plan& plan) {
  if (auto can = CheckOptions(options, prepared); !can) return can;
  const auto flags = Flags(system, options, prepared);
  if (!flags) return Forward(flags);
  const auto gic_note = CheckGicAgainstKexecFile(system, prepared);
  if (!gic_note) return Forward(gic_note);
  Describe(options, prepared, *flags, *gic_note, plan);
  return {};
}

Result<Held> BuildForFile(System& system, const Session& session, const LoadOptions& options,
                          const Prepared& prepared, const Progress& progress) {
  if (const auto can = CheckOptions(options, prepared); !can) return Forward(can);
  const auto flags = Flags(system, options, prepared);
  if (!flags) return Forward(flags);
  const auto gic_note = CheckGicAgainstKexecFile(system, prepared);
  if (!gic_note) return Forward(gic_note);
  progress("digesting " + HumanBytes(prepared.kernel.size + prepared.initrd_size));
  Digests digests;
  const auto features = digest::DigestFeatures::FromHwcap(system.Hwcap());
  image::VersionScan version;
  if (const auto done = DigestFile(system, prepared.kernel, features, digests, &version); !done) {
    return Forward(done);
  }
  for (const SourceFile& initrd : prepared.initrds) {
    if (const auto done = DigestFile(system, initrd, features, digests); !done) {
      return Forward(done);
    }
  }
  Held held{.loaded = {.plan = MakePlan(prepared, options),
                       .loaded_at = Utc(prepared.last_words.loaded_at),
                       .arena = HeldArena(session),
                       .digest_kind = handoff::DigestKind::kNone,
                       .verified = std::move(digests.verified),
                       .taken = {},
                       .bounds = prepared.bounds,
                       .file_flags = *flags},
            .control = {},
            .hand_over = {}};
  held.loaded.plan.kernel_version = version.version();
  Describe(options, prepared, *flags, *gic_note, held.loaded.plan);
  held.hand_over = [&system, &prepared, flags = *flags,
                    line = prepared.tree_options.command_line]() -> Result<void> {
    const int initrd = prepared.initrds.empty() ? -1 : prepared.initrds.front().file.fd();
    const auto done = system.KexecFileLoad(prepared.kernel.file.fd(), initrd, line, flags);
    if (!done) return std::unexpected(system::ExplainKexecFileLoad(system, done.error()));
    return {};
  };
  return held;
}

Result<report::Plan> LoadByFile(System& system, Session& session, const LoadOptions& options,
                                const Prepared& prepared, const Progress& progress) {
  const auto held = BuildForFile(system, session, options, prepared, progress);
  if (!held) return Forward(held);
  return Commit(session, *held, progress);
}

}  // namespace khop::load
