// SPDX-License-Identifier: MIT
#include <cerrno>
#include <ctime>

#include "tool/capture/recorder.h"
#include "tool/cli/verbs.h"
#include "tool/doctor/doctor.h"
#include "tool/load/failure_record.h"
#include "tool/load/load.h"
#include "tool/report/timeline.h"

namespace khop::cli {
namespace {

// The smallest thing that is a kernel to plan: a header, and nothing behind it.
std::string StubKernel() {
  constexpr size_t kSize = 4096;
  std::string image(kSize, '\0');
  image[17] = 0x10;  // image_size: 4096
  image[24] = 0x8;   // placed anywhere, page size not told
  image.replace(56, 4, "ARM\x64");
  return image;
}

}  // namespace

Result<Subject> OpenSubject(Context& context, const Command& command) {
  if (command.from.empty()) return Subject{context.system, context.blob, nullptr};
  auto capture = capture::Read(context.system, command.from);
  if (!capture) return Forward(capture);
  auto captured = std::make_unique<capture::CapturedSystem>(context.system, *std::move(capture));
  capture::CapturedSystem& system = *captured;
  return Subject{system, system.blob(), std::move(captured)};
}

Result<void> WriteSvg(Context& context, const Command& command, const std::string& svg) {
  if (command.svg.empty()) return {};
  const auto file = system::File::Open(context.system, command.svg, system::OpenMode::kCreate);
  if (!file) {
    return FailErrno(ExitCode::kSystemCall, command.svg, file.error().value,
                     "name a file that can be written");
  }
  auto rest = std::as_bytes(std::span(svg));
  while (!rest.empty()) {
    const auto written = context.system.Write(file->fd(), rest);
    if (!written || *written == 0) {
      return FailErrno(ExitCode::kSystemCall, command.svg,
                       written ? ENOSPC : written.error().value);
    }
    rest = rest.subspan(*written);
  }
  return {};
}

Result<void> RunCapture(Context& context, const Command& command) {
  if (const std::string machine = context.system.Machine(); machine != "aarch64") {
    return Fail(ExitCode::kNotArm64, "this machine", "its kernel is " + machine + ", not arm64",
                "run khop capture on the arm64 machine that is to hop");
  }
  const std::string stub = "/run/khop/stub";
  capture::Recorder recorder(context.system);
  recorder.AddFile(stub, StubKernel());
  // What they ask is what is saved; what they say of this machine does not matter here.
  (void)doctor::Examine(recorder);
  for (const load::Route route :
       {load::Route::kInPlace, load::Route::kReserved, load::Route::kGather}) {
    load::LoadOptions options;
    options.kernel = stub;
    options.route = route;
    options.reuse_command_line = true;
    options.blob = context.blob;
    (void)load::PlanLoad(recorder, options);
  }
  std::vector<std::string> notes;
  (void)load::ReadFailedHops(recorder, nullptr, notes);
  recorder.RecordPages();
  capture::Capture capture = recorder.Take();
  capture.khop = KHOP_VERSION;
  capture.captured_at = Utc(static_cast<uint64_t>(std::time(nullptr)));
  capture.relocator.assign(reinterpret_cast<const char*>(context.blob.data()), context.blob.size());
  if (const auto now = report::SampleClocks()) {
    capture.moment =
        capture::Moment{now->counter, now->monotonic_raw, now->suspended, now->frequency};
  }
  if (const auto done = capture::Write(context.system, command.directory, capture); !done) {
    return done;
  }
  context.out << "Captured to " << Printable(command.directory) << "; seeds are wiped.\n";
  if (context.system.EffectiveUid() != 0) {
    context.out << "Not as root: addresses, free memory and the kernel log are missing.\n";
  }
  return {};
}

}  // namespace khop::cli
