# SPDX-License-Identifier: MIT
# Makes docs/support.md from lab/scenarios/matrix.txt and from what the runs of vm.Matrix.* left in
# build/lab/matrix. A row that has not been run says so.
#   cmake -P lab/support.cmake
cmake_minimum_required(VERSION 3.25)
get_filename_component(root "${CMAKE_CURRENT_LIST_DIR}/.." ABSOLUTE)
set(text "# Where khop has been seen to hop

Each row is a hop in a QEMU machine with the memory, CPUs, interrupt controller and kernels named: khop
loads on the running kernel, execs, and the next kernel comes up with its initrd, command line and CPUs,
at the same exception level. KVM is up wherever the kernel runs at EL2. Made by
`cmake -P lab/support.cmake` from `lab/scenarios/matrix.txt` and the last runs of `vm.Matrix.*`.
Firmware: a device tree by QEMU, or UEFI (EDK2) with ACPI or a device tree.

| running kernel | next kernel | firmware | CPU | level | GIC | CPUs | memory | route | result |
|---|---|---|---|---|---|---|---|---|---|
")
file(STRINGS "${root}/lab/scenarios/matrix.txt" rows REGEX "^[A-Za-z0-9]")
foreach(row IN LISTS rows)
  string(REGEX REPLACE " *\\| *" ";" row "${row}")
  list(GET row 0 name)
  list(GET row 1 running)
  list(GET row 2 next)
  list(GET row 3 firmware)
  list(GET row 4 cpu)
  list(GET row 5 machine)
  list(GET row 6 cpus)
  list(GET row 7 memory)
  list(GET row 8 nodes)
  list(GET row 9 level)
  list(GET row 10 route)
  if(firmware STREQUAL "efi" AND machine MATCHES "acpi=off")
    set(firmware "UEFI, device tree")
  elseif(firmware STREQUAL "efi")
    set(firmware "UEFI, ACPI")
  else()
    set(firmware "device tree")
  endif()
  string(REGEX MATCH "gic-version=([0-9])" unused "${machine}")
  set(gic "${CMAKE_MATCH_1}")
  if(gic EQUAL 3)
    set(gic "3 + ITS")
  endif()
  string(REPLACE " holes" " with holes" memory "${memory}")
  if(nodes GREATER 1)
    string(APPEND memory " on ${nodes} nodes")
    if(firmware STREQUAL "UEFI, ACPI")
      string(APPEND memory ", which Linux takes for one")
    endif()
  endif()
  set(result "not run")
  if(EXISTS "${root}/build/lab/matrix/${name}/result")
    file(STRINGS "${root}/build/lab/matrix/${name}/result" line)
    string(REPLACE "|" ";" line "${line}")
    list(GET line 0 running)
    list(GET line 1 next)
    list(GET line 2 moved)
    math(EXPR moved "${moved} / 1024")
    set(result "hopped, ${moved} KiB moved")
  endif()
  string(APPEND text
    "| ${running} | ${next} | ${firmware} | ${cpu} | ${level} | ${gic} | ${cpus} | ${memory} | ${route} | ${result} |\n")
endforeach()
file(WRITE "${root}/docs/support.md" "${text}")
