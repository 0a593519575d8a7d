// SPDX-License-Identifier: MIT
// What is to be seen of a hop: after it the timeline, and a capture from which plan and doctor say
// elsewhere what they say on the machine.
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "lab/scenarios/first_machine.h"

namespace khop::lab {
namespace {

using nlohmann::json;

class See : public FirstMachine {
 protected:
  // What the host's khop prints.
  static Result<json> HostKhop(const std::string& arguments) {
    FILE* const pipe = popen((std::string(KHOP_HOST_KHOP) + " " + arguments).c_str(), "r");
    if (pipe == nullptr) return Fail("popen failed");
    std::string text;
    std::array<char, 4096> buffer;
    for (size_t got = 0; (got = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;) {
      text.append(buffer.data(), got);
    }
    const int status = pclose(pipe);
    json parsed = json::parse(text, nullptr, false);
    if (status != 0 || parsed.is_discarded()) return Fail("khop " + arguments + ":\n" + text);
    return parsed;
  }

  // Brings a directory of the guest's to the host.
  Result<void> Pull(const std::string& directory, const std::filesystem::path& to) {
    const Result<std::string> text =
        guest().Must("tar -C " + directory + " -cz . | base64", Seconds(180));
    if (!text) return std::unexpected(text.error());
    std::filesystem::create_directories(to);
    const std::filesystem::path file = to.string() + ".tar.gz.base64";
    std::ofstream(file) << *text;
    const std::string unpack = "base64 -d " + file.string() + " | tar -C " + to.string() + " -xz";
    // NOLINTNEXTLINE(cert-env33-c,concurrency-mt-unsafe): a test's own command
    const int status = std::system(unpack.c_str());
    std::filesystem::remove(file);
    if (status != 0) return Fail("cannot unpack " + file.string());
    return {};
  }

  // Keeps what docs/render needs of the next kernel beside the capture.
  void KeepExample(const std::filesystem::path& capture) const {
    std::ifstream image(next_kernel_.image, std::ios::binary);
    std::array<char, 64> header = {};
    image.read(header.data(), header.size());
    std::ofstream(capture / "kernel-header", std::ios::binary).write(header.data(), header.size());
    std::ofstream(capture / "files")
        << std::filesystem::file_size(next_kernel_.image) << " " << next_guest_.written.size << " "
        << next_kernel_.release << "\n";
  }
};

json Comparable(json plan) {
  plan.erase("notes");
  plan["kernel"].erase("path");
  for (json& initrd : plan["initrds"]) initrd.erase("path");
  return plan;
}

TEST_F(See, CaptureTellsTheSame) {
  START_FIRST_MACHINE({.memory_mib = 1536, .next_carries_kernel = true});
  // The kernel is asked before, as root and as nobody.
  const Result<json> before = KhopJson(guest(), "doctor");
  MUST(before);
  EXPECT_EQ(before->value("can_hop", ""), "yes") << before->dump(1);
  const Result<CommandResult> nobody =
      guest().Run("chmod 755 / /next; khop-guest-tool nobody khop plan /next/Image 2>&1");
  MUST(nobody);
  EXPECT_EQ(nobody->exit_code, 0) << nobody->output;
  EXPECT_THAT(nobody->output, testing::HasSubstr("without root"));

  MUST(Load(""));
  const Result<HopProof> proof =
      ProveHop(machine(), guest(), Expected(), [](Guest& g) { return g.Start("khop exec --now"); });
  MUST(proof);
  std::vector<std::string> steps;
  for (const json& step : proof->report["steps"]) steps.push_back(step["name"]);
  EXPECT_EQ(steps, (std::vector<std::string>{"shutdown", "set-up", "move", "verify", "finish",
                                             "kernel-start", "kernel", "userspace"}));

  // Of a capture's machine /sys is in the capture.
  MUST(guest().Must("cp /sys/firmware/initrd /tmp/initrd && khop capture /tmp/c"));
  const std::string line = " --cmdline 'console=ttyAMA0 quiet' --diff-dtb --json --from ";
  const Result<std::string> there =
      guest().Must("khop plan /next/Image --initrd /tmp/initrd" + line + "/tmp/c");
  MUST(there);
  const Result<json> doctor_there = KhopJson(guest(), "doctor --from /tmp/c");
  MUST(doctor_there);
  // The machine itself says so too, but for memory that others take and give meanwhile.
  const Result<json> live =
      KhopJson(guest(), "plan /next/Image --initrd /tmp/initrd --cmdline 'console=ttyAMA0 quiet'");
  MUST(live);

  const std::filesystem::path capture = directory_ / "capture";
  MUST(Pull("/tmp/c", capture));
  // The initrd's bytes do not matter to a plan, its size does.
  const std::filesystem::path initrd = directory_ / "initrd";
  std::ofstream(initrd) << "070701";
  std::filesystem::resize_file(initrd, next_guest_.written.size);
  const Result<json> here = HostKhop("plan " + next_kernel_.image.string() + " --initrd " +
                                     initrd.string() + line + capture.string());
  MUST(here);
  const json there_plan = json::parse(*there);
  EXPECT_EQ(Comparable(*here), Comparable(there_plan));
  for (const char* const same : {"route", "bytes_in_place", "bytes_to_verify", "mmu", "console",
                                 "conduit", "arena", "addresses"}) {
    EXPECT_EQ((*live)[same], (*here)[same]) << same;
  }
  const Result<json> doctor_here = HostKhop("doctor --json --from " + capture.string());
  MUST(doctor_here);
  EXPECT_EQ(*doctor_here, *doctor_there);
  const Result<json> report_here = HostKhop("report --json --from " + capture.string());
  MUST(report_here);
  EXPECT_EQ((*report_here)["blackout_ns"], proof->report["blackout_ns"]);
  KeepExample(capture);
  std::filesystem::remove(initrd);
}

}  // namespace
}  // namespace khop::lab
