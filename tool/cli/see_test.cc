// SPDX-License-Identifier: MIT
// plan, doctor and report: on a machine, on its capture, and on what is left of a capture.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <sstream>

#include "core/handoff/handoff.h"
#include "tool/capture/captured_system.h"
#include "tool/cli/cli.h"
#include "tool/cli/progress_bar.h"
#include "tool/devicetree/next_tree.h"
#include "tool/load/test_machine.h"

namespace khop::cli {
namespace {

using nlohmann::json;
using testing::HasSubstr;

struct Outcome {
  int code;
  std::string out;
  std::string err;
};

class SeeTest : public testing::Test {
 protected:
  Outcome Khop(const std::vector<std::string>& arguments) { return On(machine_.system, arguments); }
  // On another machine: a PC, with nothing but the kernel's file and the capture.
  Outcome Elsewhere(const std::vector<std::string>& arguments) {
    return On(elsewhere_, arguments, {});
  }
  Outcome On(system::FakeSystem& system, const std::vector<std::string>& arguments) {
    return On(system, arguments, machine_.blob);
  }
  Outcome On(system::FakeSystem& system, const std::vector<std::string>& arguments,
             std::span<const std::byte> blob) {
    std::ostringstream out;
    std::ostringstream err;
    Context context{.system = system, .out = out, .err = err, .blob = blob};
    const int code = cli::Run(context, arguments);
    system.NewProcess();
    return {code, out.str(), err.str()};
  }
  void Capture() {
    const Outcome captured = Khop({"capture", "/tmp/c"});
    ASSERT_EQ(captured.code, 0) << captured.err;
    for (const auto& [path, file] : std::map(elsewhere_.files())) elsewhere_.Remove(path);
    elsewhere_.machine = "x86_64";
    elsewhere_.uid = 1000;
    for (const auto& [path, file] : machine_.system.files()) {
      if (path.starts_with("/tmp/c/") || path.starts_with("/boot/")) {
        elsewhere_.SetFile(path, file.text);
      }
    }
  }
  std::string& Part(const std::string& name) { return elsewhere_.Find("/tmp/c/" + name)->text; }

  load::TestMachine machine_;
  system::FakeSystem elsewhere_;
};

json WithoutNotes(const Outcome& outcome) {
  json plan = json::parse(outcome.out, nullptr, false);
  if (plan.is_object()) plan.erase("notes");
  return plan;
}

TEST_F(SeeTest, APlanIsTheSameOnTheMachineAndOnItsCapture) {
  machine_.system.page_flags[0x50000000] = 1 << 7;  // a slab: no whole page of 2 MiB there
  const std::vector<std::string> plan = {"plan",      "/boot/Image", "--initrd", "/boot/initrd",
                                         "--cmdline", "quiet",       "--json",   "--diff-dtb"};
  const Outcome here = Khop(plan);
  ASSERT_EQ(here.code, 0) << here.err;
  EXPECT_EQ(json::parse(here.out)["addresses"], "forecast");
  Capture();
  std::vector<std::string> from = plan;
  from.insert(from.end(), {"--from", "/tmp/c"});
  const Outcome there = Elsewhere(from);
  ASSERT_EQ(there.code, 0) << there.err;
  EXPECT_EQ(WithoutNotes(there), WithoutNotes(here));
  EXPECT_EQ(machine_.system.kexec_loads, 0);
  EXPECT_EQ(machine_.system.segment_count(), 0U);
}

TEST_F(SeeTest, GatherHasAForecastToo) {
  const Outcome here = Khop({"plan", "/boot/Image", "--route", "gather", "--json"});
  ASSERT_EQ(here.code, 0) << here.err;
  const json plan = json::parse(here.out);
  EXPECT_EQ(plan["route"], "gather");
  EXPECT_EQ(plan["addresses"], "forecast");
  EXPECT_NE(plan["entry"], 0);
  EXPECT_GT(plan["control"]["table_bytes"], 0);
  EXPECT_EQ(plan["costs"][0]["name"], "shutdown");
}

// What a forecast says and the load then does.
TEST_F(SeeTest, TheOtherRoutesHaveForecastsToo) {
  machine_.system.Reserve({{0x60000000}, uint64_t{64} << 20});
  for (const std::string route : {"reserved", "kernel"}) {
    SCOPED_TRACE(route);
    const Outcome planned = Khop({"plan", "/boot/Image", "--route", route, "--json"});
    ASSERT_EQ(planned.code, 0) << planned.err;
    const json plan = json::parse(planned.out);
    EXPECT_EQ(plan["addresses"], "forecast");
    const Outcome loaded = Khop({"load", "/boot/Image", "--route", route, "--json"});
    ASSERT_EQ(loaded.code, 0) << loaded.err;
    const json held = json::parse(loaded.out);
    for (const json& segment : held["segments"]) {
      if (segment["name"] == "stamp") continue;
      const auto same = std::ranges::find_if(plan["segments"], [&](const json& forecast) {
        return forecast["name"] == segment["name"];
      });
      ASSERT_NE(same, plan["segments"].end()) << segment;
      EXPECT_EQ((*same)["start"], segment["start"]) << segment;
    }
    ASSERT_EQ(Khop({"unload"}).code, 0);
  }
}

// Of the crash slot a plan says what the load does.
TEST_F(SeeTest, AnotherToolsCrashKernelIsInTheWayOfBoth) {
  machine_.system.Reserve({{0x60000000}, uint64_t{64} << 20});
  machine_.system.crash = std::make_unique<system::FakeSystem::CrashImage>();
  const Outcome planned = Khop({"plan", "/boot/Image", "--route", "reserved"});
  const Outcome loaded = Khop({"load", "/boot/Image", "--route", "reserved"});
  EXPECT_EQ(planned.code, static_cast<int>(ExitCode::kCrashSlotTaken));
  EXPECT_EQ(loaded.code, planned.code);
  EXPECT_EQ(loaded.err, planned.err);
  // auto: no two pages of 2 MiB lie side by side, and the next route is not this one.
  for (uint64_t at = 0x40000000; at < 0x80000000; at += 4 << 20) {
    machine_.system.page_flags[at + (4 << 20) - 4096] = 1 << 7;
  }
  machine_.system.free_pages = {0x50000000, 0x50400000, 0x50800000};
  for (uint64_t at = 0x51000000; at < 0x51a00000; at += 8192) {
    machine_.system.base_pages.push_back(at);
  }
  const auto told = [](const Outcome& outcome) {
    const json plan = json::parse(outcome.out, nullptr, false);
    std::string text = plan.value("route", outcome.err);
    for (const json& refused : plan["refused"]) {
      text += " not " + refused["route"].get<std::string>();
      if (refused["route"] == "reserved") text += ": " + refused["reason"].get<std::string>();
    }
    return text;
  };
  const std::vector<std::string> automatic = {"plan", "/boot/Image", "--json"};
  const std::string expected =
      "gather not in-place not reserved: another tool has loaded one, and khop does not displace "
      "it; unload it with that tool, and give it to khop (--crash-kernel)";
  EXPECT_EQ(told(Khop(automatic)), expected);
  EXPECT_EQ(told(Khop({"load", "/boot/Image", "--json"})), expected);
  ASSERT_EQ(Khop({"unload"}).code, 0);
  Capture();
  EXPECT_EQ(told(Elsewhere({"plan", "/boot/Image", "--json", "--from", "/tmp/c"})), expected);
  // Without root nobody can tell whose it is.
  machine_.system.SetFile("/run/khop/state.json", "");
  machine_.system.Find("/run/khop/state.json")->open_error = EACCES;
  const Outcome unsure = Khop({"plan", "/boot/Image", "--route", "reserved"});
  EXPECT_EQ(unsure.code, 0) << unsure.err;
  EXPECT_THAT(unsure.out, HasSubstr("only root may see whose it is"));
}

// The kernel does everything there, and shows nothing of it.
TEST_F(SeeTest, RouteFileSaysWhyItHasNoAddresses) {
  machine_.system.kexec_file_error = 0;
  const Outcome planned = Khop({"plan", "/boot/Image", "--route", "file", "--diff-dtb", "--json"});
  ASSERT_EQ(planned.code, 0) << planned.err;
  const json plan = json::parse(planned.out);
  EXPECT_EQ(plan["addresses"], "unknown");
  EXPECT_TRUE(plan["segments"].empty());
  EXPECT_TRUE(plan["dtb_changes"].empty());
  EXPECT_TRUE(plan["dtb_diff"].empty());
  const Outcome text = Khop({"plan", "/boot/Image", "--route", "file"});
  EXPECT_THAT(text.out, HasSubstr("there are no addresses to"));
  EXPECT_THAT(text.out, HasSubstr("khop's relocator has no part in it"));
  EXPECT_THAT(text.out, testing::Not(HasSubstr("a dry run")));
  EXPECT_THAT(text.out, testing::Not(HasSubstr("no console is known")));
  EXPECT_THAT(text.out, testing::Not(HasSubstr("caches off")));
}

TEST_F(SeeTest, TheProbeTellsAboutKexecFileLoad) {
  const auto verdict = [&] {
    const json said = json::parse(Khop({"doctor", "--json"}).out);
    for (const json& route : said["routes"]) {
      if (route["route"] == "file") return route["verdict"].get<std::string>();
    }
    return std::string();
  };
  EXPECT_EQ(verdict(), "no");
}

TEST_F(SeeTest, DoctorHereAndThere) {
  const Outcome here = Khop({"doctor", "--json"});
  EXPECT_EQ(here.code, 0) << here.err;
  Capture();
  const Outcome there = Elsewhere({"doctor", "--json", "--from", "/tmp/c"});
  EXPECT_EQ(there.code, 0) << there.err;
  EXPECT_EQ(json::parse(here.out)["findings"], json::parse(there.out)["findings"]);
  EXPECT_EQ(json::parse(here.out)["routes"], json::parse(there.out)["routes"]);
  EXPECT_THAT(json::parse(there.out)["as_of"].get<std::string>(), HasSubstr("khop"));
}

TEST_F(SeeTest, SeedsAreWiped) {
  const auto tree = devicetree::Tree::Parse(
      std::as_bytes(std::span(machine_.system.Find("/sys/firmware/fdt")->text)), "");
  devicetree::NextTreeOptions options;
  options.kaslr_seed = 0x5ec2e75ec2e75ec2;
  options.rng_seed.assign(64, std::byte{0xee});
  const auto seeded = devicetree::BuildNextTree(*tree, options);
  machine_.system.SetFile("/sys/firmware/fdt", {reinterpret_cast<const char*>(seeded->bytes.data()),
                                                seeded->bytes.size()});
  Capture();
  for (const auto& [path, file] : elsewhere_.files()) {
    if (!path.starts_with("/tmp/c/")) continue;
    EXPECT_EQ(file.text.find("\x5e\xc2\xe7\x5e"), std::string::npos) << path;
    EXPECT_EQ(file.text.find(std::string(16, '\xee')), std::string::npos) << path;
    EXPECT_EQ(file.text.find("5ec2e75e"), std::string::npos) << path;
  }
}

TEST_F(SeeTest, WithoutRoot) {
  machine_.system.uid = 1000;
  machine_.system.SetFile("/proc/iomem", "00000000-00000000 : System RAM\n");
  machine_.system.Find("/proc/kpageflags")->open_error = 13;
  const Outcome plan = Khop({"plan", "/boot/Image"});
  EXPECT_EQ(plan.code, 0) << plan.err;
  EXPECT_THAT(plan.out, HasSubstr("shows no addresses without root"));
  EXPECT_EQ(plan.out.find("Entry"), std::string::npos);
  const Outcome doctor = Khop({"doctor"});
  EXPECT_EQ(doctor.code, static_cast<int>(ExitCode::kHopUnknown));
  EXPECT_THAT(doctor.out, HasSubstr("you are not root"));
  EXPECT_EQ(Khop({"load", "/boot/Image"}).code, static_cast<int>(ExitCode::kNotRoot));
}

TEST_F(SeeTest, WhatStopsAHop) {
  machine_.system.SetFile("/proc/sys/kernel/kexec_load_disabled", "1\n");
  const Outcome doctor = Khop({"doctor"});
  EXPECT_EQ(doctor.code, static_cast<int>(ExitCode::kCannotHop));
  EXPECT_THAT(doctor.out, HasSubstr("STOP  kernel.kexec_load_disabled is 1"));
}

TEST_F(SeeTest, BadCaptures) {
  const auto refused = [&](const std::string& why) {
    const Outcome outcome = Elsewhere({"doctor", "--from", "/tmp/c"});
    EXPECT_EQ(outcome.code, static_cast<int>(ExitCode::kBadCapture)) << why;
    EXPECT_THAT(outcome.err, HasSubstr(why));
  };
  refused("no khop-capture.json");
  Capture();
  const std::string good = Part("khop-capture.json");
  Part("khop-capture.json").replace(good.find("\"khop_capture\": 1"), 17, "\"khop_capture\": 9");
  refused("it is of version 9");
  Part("khop-capture.json") = good.substr(0, good.size() / 2);
  refused("damaged or not whole");
  Part("khop-capture.json") = "{}";
  refused("not a capture");
  Part("khop-capture.json") = good;
  Part("relocator").pop_back();
  refused("the file relocator is damaged or not whole");
  elsewhere_.Remove("/tmp/c/relocator");
  refused("the file relocator is missing");
}

TEST_F(SeeTest, ACaptureWithoutATree) {
  machine_.system.Remove("/sys/firmware/fdt");
  Capture();
  const Outcome plan = Elsewhere({"plan", "/boot/Image", "--from", "/tmp/c"});
  EXPECT_EQ(plan.code, static_cast<int>(ExitCode::kUnsupportedMachine));
  EXPECT_THAT(plan.err, HasSubstr("--dtb"));
  EXPECT_EQ(Elsewhere({"doctor", "--from", "/tmp/c"}).code,
            static_cast<int>(ExitCode::kHopUnknown));
}

TEST_F(SeeTest, Pictures) {
  const Outcome plan = Khop({"plan", "/boot/Image", "--svg", "/tmp/plan.svg"});
  ASSERT_EQ(plan.code, 0) << plan.err;
  const auto* const svg = machine_.system.Find("/tmp/plan.svg");
  ASSERT_NE(svg, nullptr);
  EXPECT_TRUE(svg->text.starts_with("<svg"));
  EXPECT_THAT(svg->text, HasSubstr("prefers-color-scheme:dark"));
}

// Bytes of a capture are changed, taken out or doubled: whatever is left of it is refused, or
// everything that khop says of it can be said.
TEST_F(SeeTest, AnyDamageIsRefusedOrBorne) {
  Capture();
  const auto parts = [&] {
    capture::Parts all;
    for (const auto& [path, file] : elsewhere_.files()) {
      if (path.starts_with("/tmp/c/")) all[path.substr(7)] = file.text;
    }
    return all;
  }();
  const auto whole = capture::Decode(parts, "c");
  ASSERT_TRUE(whole) << whole.error().message;
  std::mt19937 random(8);
  int refused = 0;
  const auto damage = [&](std::string& text) {
    if (text.empty()) return;
    const size_t at = random() % text.size();
    switch (random() % 3) {
      case 0:
        text[at] = static_cast<char>(random());
        break;
      case 1:
        text.resize(at);
        break;
      default:
        text.insert(at, text.substr(at, random() % 40));
    }
  };
  for (int round = 0; round < 40; ++round) {
    // The manifest, which has no sum; or, behind the sums, what the machine said.
    if (round % 2 == 0) {
      capture::Parts damaged = parts;
      damage(damaged[capture::kManifest]);
      const auto decoded = capture::Decode(damaged, "c");
      if (!decoded) {
        EXPECT_EQ(decoded.error().code, ExitCode::kBadCapture);
        ++refused;
        continue;
      }
    }
    capture::Capture damaged = *whole;
    auto file = damaged.files.begin();
    std::advance(file, random() % damaged.files.size());
    damage(round % 5 == 0 && damaged.kernel_log ? *damaged.kernel_log : file->second);
    const capture::Parts written = capture::Encode(damaged);
    for (const auto& [name, text] : written) elsewhere_.SetFile("/tmp/d/" + name, text);
    for (const std::vector<std::string>& arguments : std::vector<std::vector<std::string>>{
             {"doctor"}, {"plan", "/boot/Image", "--diff-dtb"}, {"report"}}) {
      std::vector<std::string> all = arguments;
      all.insert(all.end(), {"--from", "/tmp/d"});
      const Outcome outcome = Elsewhere(all);
      EXPECT_NE(outcome.code, static_cast<int>(ExitCode::kInternal)) << outcome.err;
      EXPECT_TRUE(outcome.code == 0 || !outcome.err.empty());
    }
  }
  EXPECT_GT(refused, 3);
}

TEST(CapturedSystemTest, RefusesToChangeAnything) {
  system::FakeSystem host;
  capture::CapturedSystem captured(host, {});
  std::byte byte = {};
  const system::Errno no{30};  // EROFS
  EXPECT_EQ(captured.Open("/tmp/x", system::OpenMode::kCreate).error(), no);
  EXPECT_EQ(captured.Open("/proc/x", system::OpenMode::kWrite).error(), no);
  EXPECT_EQ(captured.Write(1, {&byte, 1}).error(), no);
  EXPECT_EQ(captured.Unlink("/tmp/x").error(), no);
  EXPECT_EQ(captured.Rename("/a", "/b").error(), no);
  EXPECT_EQ(captured.MakeDirectory("/a").error(), no);
  EXPECT_EQ(captured.ShmCreate(1, 4096, 4096).error(), no);
  EXPECT_EQ(captured.KexecLoad({0}, {}).error(), no);
  EXPECT_EQ(captured.Reboot(system::RebootMode::kKexec).error(), no);
  EXPECT_EQ(captured.Run({"true"}).error(), no);
  EXPECT_EQ(host.kexec_loads, 0);
  EXPECT_EQ(host.reboots, 0);
}

TEST(ProgressBarTest, OnlyWhatTakesLong) {
  std::ostringstream out;
  auto now = std::chrono::steady_clock::time_point{} + std::chrono::hours(1);
  ProgressBar bar(out, {}, [&] { return now; });
  bar.Show("reading /boot/Image", 1, 100);
  now += std::chrono::milliseconds(900);
  bar.Show("reading /boot/Image", 90, 100);
  bar.Show("reading /boot/Image", 100, 100);
  EXPECT_EQ(out.str(), "");
  bar.Show("digesting", 0, 1 << 20);
  now += std::chrono::milliseconds(1100);
  bar.Show("digesting", 1 << 19, 1 << 20);
  EXPECT_THAT(out.str(), HasSubstr("digesting"));
  EXPECT_THAT(out.str(), HasSubstr("############            ]  50 % of 1 MiB"));
  bar.Show("digesting", 1 << 20, 1 << 20);
  EXPECT_TRUE(out.str().ends_with("\r\033[K"));
}

}  // namespace
}  // namespace khop::cli
