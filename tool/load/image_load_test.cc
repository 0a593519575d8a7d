// SPDX-License-Identifier: MIT
// Kernels that are wrapped, boot entries, overlays and trees without memory, on the fake machine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <libfdt.h>

#include "tool/image/test_packed.h"
#include "tool/load/boot_entry.h"
#include "tool/load/test_machine.h"

namespace khop::load {
namespace {

std::string Text(const image::Bytes& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

image::Bytes Bytes(std::string_view text) {
  image::Bytes bytes;
  image::PutText(bytes, 0, text);
  return bytes;
}

// An overlay that adds `model` to the root.
std::string Overlay(const std::string& target) {
  std::string blob(1024, '\0');
  void* const fdt = blob.data();
  fdt_create(fdt, static_cast<int>(blob.size()));
  fdt_finish_reservemap(fdt);
  fdt_begin_node(fdt, "");
  fdt_begin_node(fdt, "fragment@0");
  fdt_property(fdt, "target-path", target.c_str(), static_cast<int>(target.size() + 1));
  fdt_begin_node(fdt, "__overlay__");
  fdt_property_string(fdt, "model", "overlaid");
  fdt_end_node(fdt);
  fdt_end_node(fdt);
  fdt_end_node(fdt);
  fdt_finish(fdt);
  blob.resize(fdt_totalsize(fdt));
  return blob;
}

class ImageLoadTest : public testing::Test {
 protected:
  LoadOptions Options(const std::string& kernel) {
    LoadOptions options;
    options.kernel = kernel;
    options.blob = machine_.blob;
    return options;
  }
  // What lies in memory where a segment of the plan is.
  std::string InMemory(const report::Plan& plan, std::string_view segment) {
    for (const report::Segment& s : plan.segments) {
      if (s.name != segment) continue;
      std::string text;
      for (uint64_t at = 0; at < s.file_bytes; ++at) {
        text += static_cast<char>(*machine_.system.PhysicalBytes(s.start + at));
      }
      return text;
    }
    return "";
  }
  TestMachine machine_;
  image::Bytes image_ = image::NoisyImage();
};

TEST_F(ImageLoadTest, UkiGoesIntoTheArena) {
  const image::Bytes uki = image::MakeUki({{".cmdline", Bytes("root=x")},
                                           {".initrd", Bytes("first")},
                                           {".initrd", Bytes("second")},
                                           {".linux", image::PackXz(image_)}});
  machine_.system.SetFile("/boot/uki", Text(uki));
  LoadOptions options = Options("/boot/uki");
  options.append = "more=\"a b\"";
  const auto plan = Load(machine_.system, options, NoProgress);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->kernel_format, "UKI, xz, Image");
  EXPECT_EQ(plan->kernel_version, "6.12.0-test");
  EXPECT_EQ(plan->command_line, "root=x more=\"a b\"");
  EXPECT_EQ(InMemory(*plan, "kernel"), Text(image_));
  EXPECT_EQ(InMemory(*plan, "initrd"), std::string("first\0\0\0second", 14));
  // What is named comes first.
  options.initrds = {"/boot/initrd"};
  options.command_line = "mine";
  const auto named = Load(machine_.system, options, NoProgress);
  ASSERT_TRUE(named) << named.error().message;
  EXPECT_EQ(named->command_line, "mine more=\"a b\"");
  EXPECT_EQ(InMemory(*named, "initrd"), std::string(1'000'001, 'i'));
}

TEST_F(ImageLoadTest, DamagedOnesTakeNothing) {
  const auto before = machine_.Look();
  image::Bytes packed = image::PackGzip(image_);
  packed[packed.size() - 6] ^= std::byte{1};
  machine_.system.SetFile("/boot/bad", Text(packed));
  const auto plan = Load(machine_.system, Options("/boot/bad"), NoProgress);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, ExitCode::kDamagedImage);
  EXPECT_EQ(machine_.Look(), before);
}

// The last member of a gzip file says how large it is itself.
TEST_F(ImageLoadTest, AKernelThatIsLargerThanItsFileClaims) {
  constexpr ptrdiff_t kCut = 4096;
  image_.resize(image_.size() + 2 * kCut);  // so that the rest would be a kernel by its size
  image::Bytes packed = image::PackGzip({image_.begin(), image_.begin() + kCut});
  const image::Bytes second = image::PackGzip({image_.begin() + kCut, image_.end()});
  packed.insert(packed.end(), second.begin(), second.end());
  machine_.system.SetFile("/boot/two", Text(packed));
  for (const Route route : {Route::kInPlace, Route::kKernel}) {
    LoadOptions options = Options("/boot/two");
    options.route = route;
    std::string said;
    const auto plan = Load(machine_.system, options,
                           [&](std::string_view text) { said += std::string(text) + "\n"; });
    ASSERT_TRUE(plan) << plan.error().message;
    EXPECT_NE(said.find("not as large as its file claims"), std::string::npos) << said;
    EXPECT_EQ(plan->kernel_version, "6.12.0-test");
    if (route == Route::kInPlace) {
      EXPECT_EQ(InMemory(*plan, "kernel"), Text(image_));
    }
  }
}

// lz4 has no size, so the PE header of the kernel has to say it: of one with more behind its
// sections too little, of one that was cut short before it was packed too much.
TEST_F(ImageLoadTest, AKernelWhoseFileClaimsNothing) {
  const auto before = machine_.Look();
  for (const ptrdiff_t more : {0, 4096, -4096}) {
    SCOPED_TRACE(more);
    image::Bytes kernel = image_;
    kernel.resize(static_cast<size_t>(static_cast<ptrdiff_t>(image_.size()) + more));
    machine_.system.SetFile("/boot/k", Text(image::PackLz4(kernel)));
    std::string said;
    const auto plan = Load(machine_.system, Options("/boot/k"),
                           [&](std::string_view text) { said += std::string(text) + "\n"; });
    EXPECT_EQ(said.contains("once more"), more > 0) << said;
    if (more < 0) {
      ASSERT_FALSE(plan);
      EXPECT_EQ(plan.error().code, ExitCode::kTruncated) << plan.error().message;
      EXPECT_EQ(machine_.Look(), before);
      continue;
    }
    ASSERT_TRUE(plan) << plan.error().message;
    EXPECT_EQ(InMemory(*plan, "kernel"), Text(kernel));
    ASSERT_TRUE(Unload(machine_.system).value_or(false));
  }
}

// It is read while the kernel is, not before.
TEST_F(ImageLoadTest, TheVersionOfAKernel) {
  machine_.system.kexec_file_error = 0;
  machine_.system.SetFile("/boot/packed", Text(image::PackGzip(image_)));
  machine_.system.SetFile("/boot/plain", Text(image_));
  using enum Route;
  const std::pair<Route, const char*> cases[] = {{kInPlace, "/boot/packed"},
                                                 {kKernel, "/boot/packed"},
                                                 {kInPlace, "/boot/plain"},
                                                 {kKernel, "/boot/plain"},
                                                 {kFile, "/boot/plain"}};
  for (const auto& [route, path] : cases) {
    LoadOptions options = Options(path);
    options.route = route;
    const auto plan = Load(machine_.system, options, NoProgress);
    ASSERT_TRUE(plan) << plan.error().message;
    EXPECT_EQ(plan->kernel_version, "6.12.0-test");
  }
}

TEST_F(ImageLoadTest, AFileThatChangesMeanwhileIsNoticed) {
  const auto before = machine_.Look();
  machine_.system.SetFile("/boot/k", Text(image::PackGzip(image_)));
  image::Bytes other = image_;
  other.resize(other.size() - 4096);
  image::PutLittle<uint32_t>(other, 68 + 20 + 160 + 56,
                             static_cast<uint32_t>(other.size() - 0x9000));
  machine_.system.meanwhile = [&](std::string_view call) {
    if (call == "Populate") machine_.system.SetFile("/boot/k", Text(image::PackGzip(other)));
  };
  const auto plan = Load(machine_.system, Options("/boot/k"), NoProgress);
  machine_.system.meanwhile = nullptr;
  ASSERT_FALSE(plan);
  EXPECT_NE(plan.error().code, ExitCode::kInternal) << plan.error().message;
  EXPECT_EQ(machine_.Look(), before);
}

TEST_F(ImageLoadTest, OverlaysAreApplied) {
  machine_.system.SetFile("/boot/o", Overlay("/"));
  LoadOptions options = Options("/boot/Image");
  options.dtbos = {"/boot/o"};
  const auto prepared = Prepare(machine_.system, options);
  ASSERT_TRUE(prepared) << prepared.error().message;
  EXPECT_EQ(prepared->tree->FindString(0, "model"), "overlaid");
  EXPECT_EQ(prepared->dtb_source, "/sys/firmware/fdt + /boot/o");
  for (const std::string& bad :
       {Overlay("/none"), std::string("text"), Overlay("/").substr(0, 60)}) {
    machine_.system.SetFile("/boot/o", bad);
    const auto refused = Prepare(machine_.system, options);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ExitCode::kBadDeviceTree) << refused.error().message;
  }
}

TEST_F(ImageLoadTest, ATreeWithoutMemoryGetsIt) {
  machine_.system.SetFile("/boot/dtb", TestTree());
  LoadOptions options = Options("/boot/Image");
  options.dtb = "/boot/dtb";
  EXPECT_EQ(Prepare(machine_.system, options).error().code, ExitCode::kBadDeviceTree)
      << "nobody knows";
  machine_.system.SetFile("/sys/firmware/fdt", TestTree(0x30000000));
  const auto prepared = Prepare(machine_.system, options);
  ASSERT_TRUE(prepared) << prepared.error().message;
  EXPECT_EQ(devicetree::MemoryRanges(*prepared->tree).value(),
            (std::vector<PhysRange>{{{0x40000000}, 0x30000000}}));
  EXPECT_THAT(prepared->notes, testing::Contains(testing::HasSubstr("names no memory")));
}

TEST_F(ImageLoadTest, BootEntries) {
  auto& system = machine_.system;
  std::vector<std::string> notes;
  const auto nothing = ResolveKernel(system, LoadOptions(), notes);
  ASSERT_FALSE(nothing);
  EXPECT_EQ(nothing.error().code, ExitCode::kNoEntry);

  system.SetFile("/vmlinuz", "k");
  system.SetFile("/initrd.img", "i");
  const auto links = ResolveKernel(system, LoadOptions(), notes);
  ASSERT_TRUE(links);
  EXPECT_EQ(links->kernel, "/vmlinuz");
  EXPECT_EQ(links->initrds, (std::vector<std::string>{"/initrd.img"}));
  EXPECT_TRUE(links->reuse_command_line);

  system.SetFile("/boot/loader/entries/old.conf", "linux /k\nsort-key d\nversion 6.1\n");
  system.SetFile("/boot/loader/entries/new.conf",
                 "title New\nlinux /k\ninitrd /i1\ninitrd /i2\noptions a=\"b c\"\nsort-key d\n"
                 "version 6.12\ndevicetree /t\ndevicetree-overlay /o\n");
  system.SetFile("/boot/loader/entries/x64.conf", "linux /k\narchitecture x64\n");
  for (const char* const file : {"/boot/k", "/boot/i1", "/boot/i2", "/boot/t", "/boot/o"}) {
    system.SetFile(file, "x");
  }
  notes.clear();
  const auto standard = ResolveKernel(system, LoadOptions(), notes);
  ASSERT_TRUE(standard) << standard.error().message;
  EXPECT_EQ(standard->kernel, "/boot/k");
  EXPECT_EQ(standard->initrds, (std::vector<std::string>{"/boot/i1", "/boot/i2"}));
  EXPECT_EQ(standard->command_line, "a=\"b c\"");
  EXPECT_EQ(standard->dtb, "/boot/t");
  EXPECT_EQ(standard->dtbos, (std::vector<std::string>{"/boot/o"}));
  EXPECT_THAT(notes, testing::Contains("boot entry new (New)"));
  EXPECT_THAT(notes, testing::Contains(testing::HasSubstr("x64")));

  system.SetFile("/boot/loader/loader.conf", "default old*\n");
  EXPECT_FALSE(ResolveKernel(system, LoadOptions(), notes)->command_line);
  LoadOptions named;
  named.entry = "new";
  named.initrds = {"/mine"};
  named.reuse_command_line = true;
  const auto mine = ResolveKernel(system, named, notes);
  ASSERT_TRUE(mine);
  EXPECT_EQ(mine->initrds, (std::vector<std::string>{"/mine"}));
  EXPECT_FALSE(mine->command_line);
  named.entry = "none";
  EXPECT_EQ(ResolveKernel(system, named, notes).error().code, ExitCode::kNoEntry);
}

TEST_F(ImageLoadTest, UkisAreEntries) {
  auto& system = machine_.system;
  for (const auto& [name, version] : {std::pair{"a", "2"}, std::pair{"b", "1"}}) {
    system.SetFile(
        std::string("/efi/EFI/Linux/") + name + "+3.efi",
        Text(image::MakeUki({{".osrel", Bytes(std::string("ID=lab\nVERSION_ID=") + version)},
                             {".cmdline", Bytes("from the UKI")},
                             {".linux", image_}})));
  }
  system.SetFile("/efi/EFI/Linux/broken.efi", "text");
  LoadOptions options;
  options.blob = machine_.blob;
  const auto plan = Load(system, options, NoProgress);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(plan->kernel.path, "/efi/EFI/Linux/a+3.efi");
  EXPECT_EQ(plan->command_line, "from the UKI");
  EXPECT_THAT(plan->notes, testing::Contains(testing::HasSubstr("broken.efi")));
}

}  // namespace
}  // namespace khop::load
