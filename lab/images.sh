#!/bin/bash
# SPDX-License-Identifier: MIT
# Wraps an arm64 Image in every way that khop unwraps, by the tools that make such files:
#   lab/images.sh IMAGE DIRECTORY [INITRD] [-- NAME...]
# Names: gzip xz lzma zstd lz4 lz4-legacy bzip2 lzop zboot-{gzip,xz,lzma,zstd,lz4} uki uki-zboot vmlinux uimage
# uimage-multi fit fit-external; with the largest window: xz-9 lzma-9 zstd-long. What a missing tool cannot make is left out, and said.
# docs/images.md tells how far each file is what its usual maker would make.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
image=$(realpath "$1")
mkdir -p "$2"
cd "$2"
shift 2
initrd=/dev/null
if [ $# -gt 0 ] && [ "$1" != -- ]; then
  initrd=$(realpath "$1")
  shift
fi
[ $# -eq 0 ] || shift
names=${*:-gzip xz lzma zstd lz4 lz4-legacy bzip2 zboot-gzip zboot-xz zboot-lzma zboot-zstd zboot-lz4 uki uki-zboot vmlinux uimage uimage-multi fit fit-external}

prefix=aarch64-linux-gnu-
[ "$(uname -m)" != aarch64 ] || prefix=
objcopy=${prefix}objcopy
ld=${prefix}ld

need() { command -v "$1" >/dev/null || {
  echo "SKIPPED: $name: $1 is not installed"
  return 1
}; }
size() { stat -L -c %s "$1"; }
# A little-endian 32-bit number.
word() { printf "\\x$(printf %02x $(($1 & 255)))\\x$(printf %02x $(($1 >> 8 & 255)))\\x$(printf %02x $(($1 >> 16 & 255)))\\x$(printf %02x $(($1 >> 24 & 255)))"; }

pack() {
  case $1 in
    gzip) gzip -n -1 -c ;;
    xz) xz -1 -c ;;
    lzma) xz --format=lzma -1 -c ;;
    zstd) zstd -q -3 -c "$image" ;; # with its size, unlike what comes from a pipe
    lz4) lz4 -q -1 -c ;;
    lz4-legacy) lz4 -q -l -1 -c ;;
    bzip2) bzip2 -1 -c ;;
    lzop) lzop -1 -c ;;
    xz-9) xz -9 -T1 -c ;;
    lzma-9) xz --format=lzma -9 -c ;;
    zstd-long) zstd -q -19 --long=27 -c ;;
  esac <"$image"
}

# The header as Linux documents it (linux_efi_zboot_header), a PE header for arm64 without sections, and
# the payload; compressors but gzip with the unpacked size behind, as the kernel's build appends it.
zboot() {
  local codec=$1 label=$1
  case $codec in
    xz) label=xzkern ;;
    zstd) label=zstd22 ;;
    lz4) codec=lz4-legacy ;;
  esac
  pack "$codec" >"$name.payload"
  local bytes
  bytes=$(size "$name.payload")
  {
    printf 'MZ\0\0zimg'
    word 4096
    word "$bytes"
    printf '\0\0\0\0\0\0\0\0'
    printf '%s' "$label" && head -c $((32 - ${#label})) /dev/zero
    word $((0x818223cd)) # the magic number of Linux's boot protocol by EFI
    word 64
    printf 'PE\0\0\x64\xaa\0\0' && head -c 12 /dev/zero && printf '\0\0\0\0'
    head -c $((4096 - 88)) /dev/zero
    cat "$name.payload"
    [ "$codec" = gzip ] || word "$(size "$image")"
  } >"$name"
  rm "$name.payload"
}

# systemd's own stub with sections behind its last one, as ukify places them: 4 KiB apart.
uki() {
  local stub=$here/../build/lab/stub/linuxaa64.efi.stub
  [ -f "$stub" ] || {
    echo "SKIPPED: $name: no arm64 stub of systemd-boot-efi"
    return 0
  }
  printf 'PRETTY_NAME="Lab"\nID=lab\nVERSION_ID=1\n' >"$name.osrel"
  printf 'console=ttyAMA0 retain_initrd khop_lab.hop=1\n' >"$name.cmdline"
  local end=0 bytes address
  while read -r bytes address; do
    [ $((0x$bytes + 0x$address)) -le $end ] || end=$((0x$bytes + 0x$address))
  done < <("${prefix}objdump" -h "$stub" | awk '$1 ~ /^[0-9]+$/ {print $3, $4}')
  local arguments=() section file
  for section in osrel cmdline initrd linux; do
    file=$name.$section
    [ "$section" != initrd ] || file=$initrd
    [ "$section" != linux ] || file=$1
    [ -s "$file" ] || continue
    end=$(((end + 4095) / 4096 * 4096))
    arguments+=(--add-section ".$section=$file" --change-section-vma ".$section=$(printf 0x%x $end)")
    end=$((end + $(size "$file")))
  done
  "$objcopy" "${arguments[@]}" "$stub" "$name"
  rm "$name.osrel" "$name.cmdline"
}

# An ELF program whose one segment is the Image, at the address where the kernel is linked. (The
# section stays .data: of one that it takes for code, ld 2.40 writes nothing but zeros.)
vmlinux() {
  "$objcopy" -I binary -O elf64-littleaarch64 "$image" "$name.o"
  echo 'PHDRS { text PT_LOAD; } SECTIONS { . = 0xffff800080000000; .text : { *(.data) } :text }' >"$name.ld"
  "$ld" -T "$name.ld" -e 0xffff800080000000 "$name.o" -o "$name"
  rm "$name.ld" "$name.o"
}

its() {
  gzip -n -1 -c "$image" >"$name.gz"
  printf '/dts-v1/; / { compatible = "lab,other"; };' | dtc -q -O dtb -o "$name.dtb"
  local ramdisk="" uses=""
  if [ -s "$initrd" ]; then
    ramdisk="ramdisk-1 { description = \"initrd\"; data = /incbin/(\"$initrd\"); type = \"ramdisk\"; arch = \"arm64\"; os = \"linux\"; compression = \"none\"; hash-1 { algo = \"sha1\"; }; };"
    uses='ramdisk = "ramdisk-1";'
  fi
  cat >"$name.its" <<END
/dts-v1/;
/ {
  description = "a kernel of the lab";
  images {
    kernel-1 { description = "kernel"; data = /incbin/("$PWD/$name.gz"); type = "kernel"; arch = "arm64";
      os = "linux"; compression = "gzip"; load = <0x40200000>; entry = <0x40200000>;
      hash-1 { algo = "crc32"; }; hash-2 { algo = "sha256"; }; hash-3 { algo = "sha512"; }; };
    $ramdisk
    fdt-1 { description = "another board"; data = /incbin/("$PWD/$name.dtb"); type = "flat_dt"; arch = "arm64";
      compression = "none"; hash-1 { algo = "sha384"; }; };
  };
  configurations {
    default = "plain";
    plain { kernel = "kernel-1"; $uses };
    board { kernel = "kernel-1"; fdt = "fdt-1"; $uses };
  };
};
END
}

make_one() {
  case $1 in
    gzip | xz | lzma | zstd | lz4 | lz4-legacy | bzip2 | lzop | xz-9 | lzma-9 | zstd-long)
      need "${1%%-*}" || return 0
      pack "$1" >"$name"
      ;;
    zboot-*) zboot "${1#zboot-}" ;;
    uki) uki "$image" ;;
    uki-zboot)
      (name=uki-zboot.zboot && zboot gzip)
      uki "$PWD/uki-zboot.zboot"
      rm -f uki-zboot.zboot
      ;;
    vmlinux) vmlinux ;;
    uimage)
      need mkimage || return 0
      gzip -n -1 -c "$image" >"$name.gz"
      mkimage -A arm64 -O linux -T kernel -C gzip -a 0x40200000 -e 0x40200000 -n "lab" -d "$name.gz" "$name" >/dev/null
      rm "$name.gz"
      ;;
    uimage-multi)
      need mkimage || return 0
      [ -s "$initrd" ] || return 0
      mkimage -A arm64 -O linux -T multi -C none -a 0x40200000 -e 0x40200000 -n "lab" -d "$image:$initrd" "$name" >/dev/null
      ;;
    fit | fit-external)
      need mkimage && need dtc || return 0
      its
      local external=()
      [ "$1" = fit ] || external=(-E)
      mkimage "${external[@]}" -f "$name.its" "$name" >/dev/null
      rm "$name.gz" "$name.dtb" "$name.its"
      ;;
    *)
      echo "images.sh: what is $1?" >&2
      exit 2
      ;;
  esac
}

for name in $names; do
  [ -s "$name" ] && [ "$name" -nt "$image" ] && [ "$name" -nt "$initrd" ] && continue
  rm -f "$name"
  make_one "$name"
done
