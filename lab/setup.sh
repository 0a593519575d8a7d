# SPDX-License-Identifier: MIT
# Sourced by ./test and ./demo: makes a fresh Debian 12 or 13 machine ready and builds.
# Nothing is downloaded that is already there.

say() { printf '\n== %s\n' "$*"; }
die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

# Package names, each with what it is for.
required_packages() {
  cat <<'LIST'
g++ the C++ compiler
cmake configures the build
ninja-build runs the build
make builds the kernel module
libgtest-dev GoogleTest, for the tests
libgmock-dev GoogleMock, for the tests
libbenchmark-dev Google Benchmark, for how planning grows
libfdt-dev device trees
zlib1g-dev kernels in gzip
liblzma-dev kernels in xz and lzma
libzstd-dev kernels in zstd
liblz4-dev kernels in lz4
libbz2-dev kernels in bzip2
xz-utils wraps kernels for the tests, as the next four do
zstd for the tests
lz4 for the tests
bzip2 for the tests
u-boot-tools mkimage, for the tests
device-tree-compiler the trees of the tests
libcli11-dev the command line of khop
nlohmann-json3-dev khop's --json
libarchive-dev writes the initramfs of the lab's guests
libssl-dev OpenSSL, the reference for khop's digests
qemu-system-arm the machines of the lab
debian-archive-keyring checks the signatures of the lab's kernels
LIST
  case "$(uname -m)" in
    aarch64 | arm64) ;;
    *)
      echo 'g++-aarch64-linux-gnu the cross compiler for arm64'
      echo 'qemu-user-static runs the arm64 tests of the digests'
      ;;
  esac
}

# For the lab's own kernel (lab/kernel).
kernel_packages() {
  cat <<'LIST'
bc makes a header of the kernel
bison reads its configuration
flex reads its configuration
sbsigntool signs it
LIST
}

# Without these something is left out, and the output says so.
lint_packages() {
  cat <<'LIST'
clang-format-19 checks the layout of the sources
clang-tidy-19 checks the sources for common mistakes
cppcheck checks the sources for common mistakes
git tells which files changed
lintian checks the Debian packages
zsh checks khop's completion in it
LIST
}

# For the fuzzers, and the build by clang of ./test --full.
clang_packages() {
  cat <<'LIST'
clang-19 the other compiler
libclang-rt-19-dev its sanitizers and libFuzzer
LIST
}

# For ./test --full; what they are for is skipped without them.
full_packages() {
  cat <<'LIST'
e2fsprogs makes the disks of the lab's Debian machines
ansible-core runs the play of docs/operating.md
openssh-client is what it reaches machines by
dkms builds the kernel module from its source package
LIST
}

installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

# install_missing WHAT: reads "package reason" lines; installs those that are missing. Fails with apt.
install_missing() {
  local packages=() package reason
  while read -r package reason; do
    if ! installed "$package"; then
      [ ${#packages[@]} -gt 0 ] || say "installing $1"
      printf '   %-26s %s\n' "$package" "$reason"
      packages+=("$package")
    fi
  done
  [ ${#packages[@]} -gt 0 ] || return 0
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null ||
      die "not root and no sudo; as root: apt-get install --no-install-recommends ${packages[*]}"
    as_root=(sudo)
  fi
  # The lists of a machine that was never updated are empty; else they may still do.
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y)
  "${apt[@]}" update >/dev/null || echo "apt-get update failed; trying with the lists that are there"
  "${apt[@]}" install --no-install-recommends "${packages[@]}" >"$log" 2>&1 || {
    tail -n 15 "$log"
    return 1
  }
}

# build PRESET [TARGET...]: configures and builds; all targets if none is named.
build() {
  local preset=$1
  shift
  say "building preset $preset"
  cmake --preset "$preset" >"$log" 2>&1 || {
    cat "$log"
    die "cmake --preset $preset failed"
  }
  grep -E '^-- (apt|lab)' "$log" || true
  cmake --build --preset "$preset" -j "$(nproc)" ${1:+--target "$@"} >"$log" 2>&1 || {
    cat "$log"
    die "the build of preset $preset failed"
  }
  tail -n 1 "$log"
}

fetch_lab() {
  say "the lab's kernels"
  cmake "-DSET=$1" -P lab/fetch.cmake 2>&1 || die "the lab's files cannot be had"
}

[ -r /etc/os-release ] && . /etc/os-release
[ "${ID:-}" = debian ] || die "this sets up Debian 12 or newer only; README.md says what is needed elsewhere"
mkdir -p build
log=build/setup.log
