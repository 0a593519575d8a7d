#!/bin/bash
# SPDX-License-Identifier: MIT
# Makes the fuzzers' seed corpora from real files, small enough to be changed a thousand times a second:
#   lab/seeds.sh IMAGE IMAGE_SEEDS DIRECTORY     writes DIRECTORY/FUZZER/…
# IMAGE is a Debian kernel: its header, 24 KiB of code and 4 KiB around its banner, wrapped by the tools that make
# such files (lab/images.sh). IMAGE_SEEDS is the program of that name.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
example=$here/../docs/example
image=$(realpath "$1")
image_seeds=$(realpath "$2")
rm -rf "$3"
mkdir -p "$3"/{image,contents,wire,devicetree,entry,capture}
cd "$3"

banner=$(LC_ALL=C grep -abo -m1 'Linux version [0-9]' "$image" | head -n 1 | cut -d: -f1)
part() { dd if="$image" iflag=skip_bytes,count_bytes skip="$1" count="$2" status=none; }
{ part 0 4096 && part $((1 << 20)) 24576 && part $((banner - 1024)) 4096; } >small
# The header claims no more than that, its PE sections and certificates nothing: else the file is cut short.
put() { printf "$2" | dd of=small bs=1 seek="$1" conv=notrunc status=none; }
pe=64
put 16 '\0\x80\0\0\0\0\0\0'
put $((pe + 24 + 112 + 36)) '\0\0\0\0'
put $((pe + 24 + 160 + 16)) '\0\0\0\0'
put $((pe + 24 + 200 + 16)) '\0\0\0\0'
"$here/images.sh" small made "$example/khop-capture.json"

cp small image/kernel
cp small contents/image
for file in made/*; do
  name=${file#made/}
  cp "$file" "contents/$name"
  case $name in
    gzip | xz | lzma | zstd | lz4 | lz4-legacy | bzip2)
      mkdir -p "${name/-/_}"
      cp "$file" "${name/-/_}/kernel"
      # A short one besides: most changes to a long one fall into the data.
      head -c 300 "$example/iomem" >text
      "$here/images.sh" text short -- "$name"
      cp "short/$name" "${name/-/_}/text"
      ;;
    fit) cp "$file" devicetree/fit ;;
  esac
done
"$image_seeds" wire contents/*

cp "$example/fdt" devicetree/running
qemu-system-aarch64 -machine virt,gic-version=3,dumpdtb=devicetree/qemu -cpu cortex-a57 -smp 4 -m 2048 -nodefaults \
  -display none 2>/dev/null
fdtput devicetree/qemu -t s /chosen bootargs 'console=ttyAMA0'

cat >entry/type1.conf <<'END'
# Boot Loader Specification type#1 entry
title      Debian GNU/Linux 13 (trixie)
version    6.12.118+deb13-arm64
machine-id 5a1c7c7d0c7d4b6f9d7c0f5c9b6f2c11
sort-key   debian
options    root=UUID=0c7d4b6f-9d7c-4f5c-9b6f-2c115a1c7c7d ro quiet
linux      /debian/6.12.118+deb13-arm64/linux
initrd     /debian/6.12.118+deb13-arm64/initrd.img
devicetree /debian/board.dtb
architecture aa64
END
printf 'timeout 3\n#console-mode keep\ndefault debian-*\n' >entry/loader.conf
cp /etc/os-release entry/os-release

cp "$example/khop-capture.json" capture/manifest
# As capture_fuzz takes a machine apart.
{
  for text in "$(cat "$example/iomem")" "$(cat "$example/meminfo")" 'console=ttyAMA0 quiet' \
    'ttyAMA0              -W- (EC p a)  204:64' 0 0 "$(cat "$example/kernel-log")" '300000000 5000000000 0 62500000'; do
    printf '%s\n\xff' "$text"
  done
  cat "$example/fdt"
} >capture/machine
rm -rf small text made short
