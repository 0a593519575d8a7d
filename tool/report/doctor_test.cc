// SPDX-License-Identifier: MIT
#include "tool/report/doctor.h"

#include <gtest/gtest.h>

#include <sstream>

#include "tool/report/text.h"

namespace khop::report {
namespace {

Doctor Some() {
  Doctor doctor;
  doctor.machine = "6.1.0, pages of 4 KiB, 1 CPU, 1 GiB of memory";
  doctor.routes = {{"in-place", Verdict::kYes, "for kernels of up to 512 MiB as memory is now"},
                   {"reserved", Verdict::kNo, "no crashkernel= memory"}};
  doctor.findings = {
      {"psci", Level::kGood, "PSCI by hvc", "a failed hop resets the machine", ""},
      {"watchdog", Level::kNote, "no hardware watchdog", "a kernel that hangs stays so",
       "be near " + std::string(62, 'x') + " a power switch"}};
  return doctor;
}

TEST(DoctorText, FactMeaningRemedy) {
  EXPECT_EQ(RenderText(Some()),
            "Machine      6.1.0, pages of 4 KiB, 1 CPU, 1 GiB of memory\n"
            "Can hop      yes, by in-place\n"
            "\n"
            "Routes, in the order in which they are tried\n"
            "  in-place   yes  for kernels of up to 512 MiB as memory is now\n"
            "  reserved   no   no crashkernel= memory\n"
            "\n"
            "note  no hardware watchdog\n"
            "      a kernel that hangs stays so\n"
            "      -> be near " +
                std::string(62, 'x') +
                "\n"
                "         a power switch\n"
                "ok    PSCI by hvc\n"
                "      a failed hop resets the machine\n");
}

TEST(DoctorText, Verdicts) {
  Doctor doctor = Some();
  EXPECT_EQ(CanHop(doctor), Verdict::kYes);
  doctor.findings.push_back({"root", Level::kUnknown, "you are not root", "", ""});
  EXPECT_EQ(CanHop(doctor), Verdict::kUnknown);
  doctor.findings.push_back({"lockdown", Level::kBlocker, "lockdown", "", ""});
  doctor.routes = {{"in-place", Verdict::kNo, "lockdown"}, {"file", Verdict::kYes, "signed"}};
  EXPECT_EQ(CanHop(doctor), Verdict::kYes);
  doctor.routes.pop_back();
  EXPECT_EQ(CanHop(doctor), Verdict::kNo);
}

TEST(DoctorText, ColourChangesNothingButColour) {
  std::string text = RenderText(Some(), {.colour = true});
  EXPECT_NE(text.find('\033'), std::string::npos);
  for (size_t at = text.find('\033'); at != std::string::npos; at = text.find('\033')) {
    text.erase(at, text.find('m', at) - at + 1);
  }
  EXPECT_EQ(text, RenderText(Some()));
}

}  // namespace
}  // namespace khop::report
