// SPDX-License-Identifier: MIT
#include "tool/doctor/doctor.h"

#include "tool/cli/verbs.h"

namespace khop::cli {

Result<void> RunDoctor(Context& context, const Command& command) {
  const auto subject = OpenSubject(context, command);
  if (!subject) return Forward(subject);
  report::Doctor doctor = doctor::Examine(subject->system);
  if (subject->captured != nullptr) {
    const capture::Capture& from = subject->captured->capture();
    doctor.as_of = from.captured_at + ", captured by khop " + from.khop;
  }
  context.out << (command.json ? report::ToJson(doctor)
                               : report::RenderText(doctor, context.style));
  switch (report::CanHop(doctor)) {
    case report::Verdict::kYes:
      return {};
    case report::Verdict::kNo:
      return Fail(ExitCode::kCannotHop, "this machine", "it cannot hop as it is",
                  "see what the findings say");
    case report::Verdict::kUnknown:
      break;
  }
  return Fail(ExitCode::kHopUnknown, "this machine", "what decides could not be seen",
              "run khop doctor as root");
}

}  // namespace khop::cli
