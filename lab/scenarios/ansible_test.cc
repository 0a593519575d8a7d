// SPDX-License-Identifier: MIT
// The play of docs/operating.md against two machines.
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <fstream>

#include "lab/scenarios/debian_machine.h"
#include "lab/vm/child_process.h"

namespace khop::lab {
namespace {

using testing::HasSubstr;

// A port of this machine that nobody listens at.
int FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return 0;
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  int port = 0;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
      getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0) {
    port = ntohs(address.sin_port);
  }
  close(fd);
  return port;
}

struct Ended {
  int exit_code = 0;
  std::string output;
};

Result<Ended> RunOnHost(const std::vector<std::string>& arguments) {
  auto child = ChildProcess::Start(arguments, UniqueFd());
  if (!child) return std::unexpected(child.error());
  Ended ended;
  std::array<char, 4096> buffer{};
  for (;;) {
    pollfd wait{.fd = child->output(), .events = POLLIN, .revents = 0};
    if (poll(&wait, 1, -1) < 0) continue;
    const ssize_t got = read(child->output(), buffer.data(), buffer.size());
    if (got < 0 && errno == EAGAIN) continue;
    if (got <= 0) break;
    ended.output.append(buffer.data(), static_cast<size_t>(got));
  }
  ended.exit_code = child->Wait();
  return ended;
}

class Ansible : public testing::Test {
 protected:
  void TearDown() override {
    for (DebianBox& box : boxes_) box.Stop();
  }

  std::array<DebianBox, 2> boxes_;
};

TEST_F(Ansible, ThePlayHopsTwoMachines) {
  const auto version =
      RunOnHost({"sh", "-c", "command -v ansible-playbook && command -v ssh-keygen"});
  MUST(version);
  if (version->exit_code != 0) {
    GTEST_SKIP() << "ansible-core or openssh-client is not installed";
  }
  const auto directory = MakeRunDirectory("Ansible");
  MUST(directory);
  const std::string key = (*directory / "key").string();
  std::filesystem::remove(key);
  std::filesystem::remove(key + ".pub");
  const auto made = RunOnHost({"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key});
  MUST(made);
  ASSERT_EQ(made->exit_code, 0) << made->output;
  const std::vector<RootFile> files = {
      {.path = "root/.ssh/authorized_keys", .source = key + ".pub", .mode = 0600},
      {.path = "etc/systemd/network/lab.network",
       .text = "[Match]\nType=ether\n[Network]\nAddress=10.0.2.15/24\n"},
      {.path = "etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
       .link = "/lib/systemd/system/systemd-networkd.service"}};
  std::ofstream inventory(*directory / "inventory");
  int number = 1;
  for (DebianBox& box : boxes_) {
    const int port = FreePort();
    const std::string name = "machine" + std::to_string(number++);
    box.StartDebian({.name = "." + name,
                     .suite = "bookworm",
                     .kernel = "6.1",
                     .more_kernels = {"6.12"},
                     .files = files,
                     .extra_arguments = NetworkArguments(port)});
    if (IsSkipped() || HasFailure()) return;
    MUST(box.guest().Must("dpkg -i /root/debs/khop_*.deb"));
    inventory << name << " ansible_host=127.0.0.1 ansible_port=" << port
              << " ansible_user=root ansible_python_interpreter=/usr/bin/python3"
              << " ansible_ssh_private_key_file=" << key << "\n";
  }
  inventory.close();
  const LabKernel next = DebianBox::Kernel("6.12");
  const std::string hop = std::string(KHOP_SOURCE) + "/examples/ansible/hop.yml";
  const auto play =
      RunOnHost({"env", "ANSIBLE_HOST_KEY_CHECKING=False", "ANSIBLE_NOCOLOR=1",
                 "ANSIBLE_HOME=" + directory->string(), "ansible-playbook", "-i",
                 (*directory / "inventory").string(), hop, "-e", "kernel=" + DebianBox::Image(next),
                 "-e", "initrd=" + DebianBox::Initrd(next)});
  MUST(play);
  EXPECT_EQ(play->exit_code, 0) << play->output;
  std::ofstream(*directory / "play.log") << play->output;
  for (DebianBox& box : boxes_) {
    // The lab's word on it, beside the play's.
    box.ExpectUp(next);
    const auto report = box.guest().Must("khop report");
    MUST(report);
    EXPECT_THAT(*report, HasSubstr("in-place"));
  }
  EXPECT_THAT(play->output, HasSubstr("machine1 runs " + next.release + " by route in-place"));
  EXPECT_THAT(play->output, HasSubstr("machine2 runs " + next.release + " by route in-place"));
}

}  // namespace
}  // namespace khop::lab
