#!/bin/bash
# SPDX-License-Identifier: MIT
# Builds a kernel of the lab's own from Debian's source package, with a key made here, and signs it.
#   lab/kernel/build.sh 6.12-64k | 5.10-signed | 5.10-debug
# Leaves in build/lab/kernels/SHORT: Image, Image.signed, version, and of kernels with modules
# headers/output, what a module is built with. A build of the same source, configuration and script is
# not repeated.
set -euo pipefail
cd "$(dirname "$0")/../.."
short=$1
configs=(lab/kernel/$short.config)
case $short in
  6.12-64k) suite=trixie package=linux-source-6.12 ;;
  5.10-signed) suite=bullseye package=linux-source-5.10 ;;
  5.10-debug)
    suite=bullseye package=linux-source-5.10
    configs=(lab/kernel/5.10-signed.config "${configs[@]}")
    ;;
  *) echo "build.sh: there is no configuration for $short" >&2 && exit 2 ;;
esac
packages=build/lab/packages/$package
cmake "-DSUITE=$suite" "-DPACKAGES=$package" "-DDESTINATION=$PWD/$packages" -P cmake/debian-packages.cmake
source=$(echo "$packages"/usr/src/*.tar.xz)
out=build/lab/kernels/$short
work=build/lab/kernel-build/$short
log=build/lab/kernel-build/$short.log
keys=build/lab/keys
key=$keys/lab.key certificate=$keys/lab.pem

jobs=${KHOP_LAB_JOBS:-$(nproc)}
fail() {
  tail -n 20 "$log" >&2 || true
  echo "the lab's kernel $short: $* (all of it: $log)" >&2
  exit 1
}

stamp=$({ sha256sum "${configs[@]}" lab/kernel/build.sh; basename "$source"; stat -c %s "$source"; } | sha256sum)
if [ -s "$out/Image.signed" ] && [ -s "$certificate" ] &&
  [ "$(cat "$out/built" 2>/dev/null)" = "$stamp $(sha256sum <"$certificate")" ]; then
  exit 0
fi
started=$SECONDS
rm -rf "$out" "$work"
mkdir -p "$out" "$work/source" "$work/output" "$keys"

if [ ! -s "$certificate" ]; then
  openssl req -new -x509 -newkey rsa:2048 -nodes -sha256 -days 3650 -subj "/CN=khop lab" \
    -keyout "$key" -out "$certificate" 2>"$log" || fail "openssl made no key"
fi

cross=
[ "$(uname -m)" = aarch64 ] || cross=aarch64-linux-gnu-
# Most of the source is drivers and machines that are not built; their Kconfig files are read.
tar -x -f "$source" -C "$work/source" --strip-components=1 --exclude='*/drivers/gpu/*.[ch]' \
  --exclude='*/drivers/net/*/*.[ch]' --exclude='*/drivers/media/*.[ch]' --exclude='*/sound/*.c' \
  --exclude='*/arch/arm64/boot/dts/*/*' --exclude='*/Documentation/*/*' \
  --exclude='*/tools/testing/*' --exclude='*/tools/perf/*' 2>"$log" || fail "tar failed"
build() {
  make -C "$work/source" O="$PWD/$work/output" ARCH=arm64 CROSS_COMPILE=$cross -s "$@" \
    >>"$log" 2>&1
}
{
  cat "${configs[@]}"
  echo "CONFIG_LOCALVERSION=\"-khop-${short#*-}\""
  echo "CONFIG_SYSTEM_TRUSTED_KEYS=\"$PWD/$certificate\""
} >"$work/fragment"
build KCONFIG_ALLCONFIG="$PWD/$work/fragment" allnoconfig || fail "make allnoconfig failed"
lost=$(grep -E '^(# )?CONFIG_' "$work/fragment" | grep -vxF -f "$work/output/.config") || true
[ -z "$lost" ] || fail "the configuration lost ${lost//$'\n'/, }"
build -j "$jobs" Image || fail "make Image failed"
# A multiple of 8 bytes: a signature's table in a PE file begins there.
cp "$work/output/arch/arm64/boot/Image" "$out/Image"
sbsign --key "$key" --cert "$certificate" --output "$out/Image.signed" "$out/Image" 2>>"$log" ||
  fail "sbsign failed"
if grep -qx CONFIG_MODULES=y "$work/output/.config"; then
  build -j "$jobs" modules || fail "make modules failed"
  mkdir -p "$out/headers/source" "$out/headers/output"
  tar -c -C "$work/source" Makefile scripts include arch/arm64/Makefile arch/arm64/include |
    tar -x -C "$out/headers/source"
  tar -c -C "$work/output" .config Module.symvers scripts include arch/arm64/include |
    tar -x -C "$out/headers/output"
  echo "include $PWD/$out/headers/source/Makefile" >"$out/headers/output/Makefile"
fi
release=$(cat "$work/output/include/config/kernel.release")
printf '%s\n%s\n' "$release" "$(basename "$source" .tar.xz), built here" >"$out/version"
echo "$stamp $(sha256sum <"$certificate")" >"$out/built"
rm -rf "$work"
echo "lab kernel $short: $release, built in $((SECONDS - started)) s"
