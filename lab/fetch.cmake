# SPDX-License-Identifier: MIT
# Fetches what the lab's machines run, into build/lab: kernels/<short>/Image with a file `version`
# (uname -r, then the package), busybox, firmware/QEMU_EFI.fd, and kexec-tools/ with its libraries. A
# second run uses no network.
#   cmake [-DSET=full] -P lab/fetch.cmake
cmake_minimum_required(VERSION 3.25)
include("${CMAKE_CURRENT_LIST_DIR}/../cmake/debian-packages.cmake")
include("${CMAKE_CURRENT_LIST_DIR}/kernels.cmake")
get_filename_component(lab "${CMAKE_CURRENT_LIST_DIR}/../build/lab" ABSOLUTE)
if(NOT SET)
  set(SET base)
endif()

# What a guest needs to read a disk, a Debian root and a network, to find what was written before a reset,
# and to be reset by a watchdog.
set(guest_modules "")
foreach(module virtio virtio_ring virtio_mmio virtio_blk cdrom isofs reed_solomon ramoops
    crc16 crc32c_generic libcrc32c mbcache jbd2 ext4 virtio_pci virtio_pci_modern_dev
    virtio_pci_legacy_dev failover net_failover virtio_net i6300esb)
  list(APPEND guest_modules "*/kernel/*/${module}.ko*")
endforeach()

# Puts the raw Image of one row of the table into place, or says why not.
function(fetch_kernel short suites metapackage)
  set(unpacked "${lab}/packages/linux-${short}")
  set(kernel "${lab}/kernels/${short}")
  string(REGEX REPLACE "-.*" "" wanted "${short}")
  string(REPLACE "." "\\." wanted "${wanted}")
  string(REPLACE "," ";" suites "${suites}")
  foreach(suite IN LISTS suites)
    khop_debian_packages(SUITE ${suite} PACKAGES ${metapackage} FOLLOW "^linux-(image|binary|modules)-[0-9]"
      EXTRACT "./boot/vmlinuz-*" "./usr/lib/modules/*/vmlinuz" "./lib/modules/*/vmlinuz"
        "./boot/config-*" "./usr/lib/modules/*/config" ${guest_modules}
      DESTINATION "${unpacked}" OPTIONAL RESULT versions)
    if(NOT versions)
      continue()
    endif()
    file(GLOB images "${unpacked}/boot/vmlinuz-*" "${unpacked}/usr/lib/modules/*/vmlinuz"
                     "${unpacked}/lib/modules/*/vmlinuz")
    list(LENGTH images count)
    if(NOT count EQUAL 1)
      message(WARNING "SKIPPED: kernel ${short}: ${suite} brought ${count} kernel files: ${images}")
      continue()
    endif()
    string(REGEX REPLACE "^.*/modules/([^/]+)/vmlinuz$" "\\1" release "${images}")
    string(REGEX REPLACE "^.*/vmlinuz-" "" release "${release}")
    if(NOT release MATCHES "^${wanted}([.+-]|$)")
      message(WARNING "SKIPPED: kernel ${short}: ${suite} now has ${release}")
      continue()
    endif()
    file(READ "${images}" magic OFFSET 56 LIMIT 4 HEX)
    if(NOT magic STREQUAL "41524d64")
      message(WARNING "SKIPPED: kernel ${short}: ${images} is not a raw arm64 Image")
      continue()
    endif()
    file(MAKE_DIRECTORY "${kernel}")
    file(COPY_FILE "${images}" "${kernel}/Image" ONLY_IF_DIFFERENT)
    file(GLOB config "${unpacked}/boot/config-*" "${unpacked}/usr/lib/modules/*/config")
    if(config)
      file(COPY_FILE ${config} "${kernel}/config" ONLY_IF_DIFFERENT)
    endif()
    file(GLOB_RECURSE modules "${unpacked}/*.ko" "${unpacked}/*.ko.xz")
    file(REMOVE_RECURSE "${kernel}/modules")
    file(COPY ${modules} DESTINATION "${kernel}/modules")
    list(FILTER versions EXCLUDE REGEX "^linux-modules")
    list(GET versions -1 package)
    file(WRITE "${kernel}/version" "${release}\n${package}\n${suite}\n")
    message(STATUS "lab kernel ${short}: ${release} (${package}, ${suite})")
    return()
  endforeach()
  file(REMOVE_RECURSE "${kernel}")
  message(WARNING "SKIPPED: the lab has no kernel ${short}; the scenarios that need it are skipped")
endfunction()

foreach(row IN LISTS KHOP_LAB_KERNELS)
  string(REPLACE "|" ";" row "${row}")
  list(GET row 0 short)
  list(GET row 1 suites)
  list(GET row 2 metapackage)
  list(GET row 3 set)
  if(set STREQUAL "base" OR SET STREQUAL "full")
    fetch_kernel("${short}" "${suites}" "${metapackage}")
  endif()
endforeach()

# For the kernel module: the headers of one of the kernels above, with the build machine's own tools.
function(fetch_headers short)
  if(NOT EXISTS "${lab}/kernels/${short}/version")
    return()
  endif()
  file(STRINGS "${lab}/kernels/${short}/version" version)
  list(GET version 0 release)
  list(GET version 2 suite)
  string(REGEX REPLACE "-arm64$" "-common" common "${release}")
  set(headers "${lab}/packages/headers-${short}")
  khop_debian_packages(SUITE ${suite} PACKAGES linux-headers-${release} linux-headers-${common}
    DESTINATION "${headers}" OPTIONAL RESULT versions)
  execute_process(COMMAND dpkg --print-architecture OUTPUT_VARIABLE here OUTPUT_STRIP_TRAILING_WHITESPACE)
  khop_debian_packages(SUITE ${suite} ARCH ${here} PACKAGES linux-kbuild-${short}
    DESTINATION "${lab}/packages/kbuild-${short}" OPTIONAL RESULT tools)
  if(versions AND tools)
    # The package has paths of an installed system.
    set(sources "${headers}/usr/src")
    file(WRITE "${sources}/linux-headers-${release}/Makefile"
      "include ${sources}/linux-headers-${common}/Makefile\n")
    file(MAKE_DIRECTORY "${headers}/usr/lib")
    file(CREATE_LINK "${lab}/packages/kbuild-${short}/usr/lib/linux-kbuild-${short}"
      "${headers}/usr/lib/linux-kbuild-${short}" SYMBOLIC)
    file(MAKE_DIRECTORY "${lab}/headers")
    file(CREATE_LINK "${sources}/linux-headers-${release}" "${lab}/headers/${short}" SYMBOLIC)
    message(STATUS "lab headers ${short}: ${versions}")
  else()
    message(WARNING "SKIPPED: no headers for ${release}; the scenarios of the kernel module are skipped")
  endif()
endfunction()
fetch_headers(5.10)
if(SET STREQUAL "full")
  fetch_headers(6.1) # which the module has to refuse
endif()

# The kexec-tools of a kernel's own release, with its libraries.
function(fetch_kexec_tools short)
  if(NOT EXISTS "${lab}/kernels/${short}/version")
    return()
  endif()
  file(STRINGS "${lab}/kernels/${short}/version" version)
  list(GET version 2 suite)
  khop_debian_packages(SUITE ${suite} PACKAGES kexec-tools libc6 liblzma5 zlib1g
    EXTRACT "./sbin/kexec" "./usr/sbin/kexec" "./lib/*" "./usr/lib/aarch64-linux-gnu/lib*"
    DESTINATION "${lab}/packages/kexec-tools-${short}" OPTIONAL RESULT versions)
  file(REMOVE_RECURSE "${lab}/kexec-tools-${short}")
  if(versions)
    foreach(name sbin/kexec ld-linux-aarch64.so.1 libc.so.6 liblzma.so.5 libz.so.1)
      file(GLOB_RECURSE found FOLLOW_SYMLINKS "${lab}/packages/kexec-tools-${short}/*/${name}"
        "${lab}/packages/kexec-tools-${short}/${name}")
      list(GET found 0 file)
      file(REAL_PATH "${file}" file)
      get_filename_component(name "${name}" NAME)
      file(MAKE_DIRECTORY "${lab}/kexec-tools-${short}")
      file(COPY_FILE "${file}" "${lab}/kexec-tools-${short}/${name}")
    endforeach()
    message(STATUS "lab kexec-tools of ${short}: ${versions}")
  endif()
endfunction()
fetch_kexec_tools(5.10)

khop_debian_codename(suite)
khop_debian_packages(SUITE ${suite} PACKAGES busybox-static
  EXTRACT "./bin/busybox" "./usr/bin/busybox" DESTINATION "${lab}/packages/busybox" RESULT versions)
file(GLOB busybox "${lab}/packages/busybox/bin/busybox" "${lab}/packages/busybox/usr/bin/busybox")
file(COPY_FILE "${busybox}" "${lab}/busybox" ONLY_IF_DIFFERENT)
message(STATUS "lab busybox: ${versions}")

# EDK2 for the machines with UEFI. One suite's for every host, so that all of them test the same.
foreach(suite bookworm trixie)
  khop_debian_packages(SUITE ${suite} PACKAGES qemu-efi-aarch64
    EXTRACT "./usr/share/qemu-efi-aarch64/QEMU_EFI.fd"
    DESTINATION "${lab}/packages/efi" OPTIONAL RESULT versions)
  if(versions)
    file(MAKE_DIRECTORY "${lab}/firmware")
    file(COPY_FILE "${lab}/packages/efi/usr/share/qemu-efi-aarch64/QEMU_EFI.fd"
      "${lab}/firmware/QEMU_EFI.fd" ONLY_IF_DIFFERENT)
    message(STATUS "lab firmware: ${versions}")
    break()
  endif()
endforeach()
if(NOT versions)
  message(WARNING "SKIPPED: the lab has no UEFI firmware; the scenarios with it are skipped")
endif()

# fetch_programs(NAME PROGRAMS... PACKAGES... LIBRARIES... FOLLOW regex): the newest programs for the
# guests, with the libraries that they need, in NAME/ and NAME/lib. Sets `versions`.
function(fetch_programs name)
  cmake_parse_arguments(arg "" "FOLLOW" "PROGRAMS;PACKAGES;LIBRARIES" ${ARGN})
  set(unpacked "${lab}/packages/${name}")
  set(files)
  foreach(program IN LISTS arg_PROGRAMS)
    list(APPEND files "./bin/${program}" "./usr/bin/${program}")
  endforeach()
  foreach(suite sid forky trixie)
    khop_debian_packages(SUITE ${suite} PACKAGES ${arg_PACKAGES} FOLLOW "${arg_FOLLOW}"
      EXTRACT ${files} "./lib/aarch64-linux-gnu/*.so*" "./usr/lib/aarch64-linux-gnu/*.so*"
      DESTINATION "${unpacked}" OPTIONAL RESULT versions)
    if(versions)
      break()
    endif()
  endforeach()
  set(versions "${versions}" PARENT_SCOPE)
  if(NOT versions)
    return()
  endif()
  file(REMOVE_RECURSE "${lab}/${name}")
  file(MAKE_DIRECTORY "${lab}/${name}/lib")
  foreach(library ld-linux-aarch64.so.1 libc.so.6 ${arg_LIBRARIES})
    foreach(directory usr/lib lib)
      set(found "${unpacked}/${directory}/aarch64-linux-gnu/${library}")
      if(EXISTS "${found}")
        file(REAL_PATH "${found}" found)
        file(COPY_FILE "${found}" "${lab}/${name}/lib/${library}")
      endif()
    endforeach()
  endforeach()
  foreach(program IN LISTS arg_PROGRAMS)
    foreach(directory bin usr/bin)
      if(EXISTS "${unpacked}/${directory}/${program}")
        file(COPY_FILE "${unpacked}/${directory}/${program}" "${lab}/${name}/${program}")
      endif()
    endforeach()
  endforeach()
  message(STATUS "lab ${name}: ${versions}")
endfunction()

# For guests that capture a dump: it has to know the kernel that died.
fetch_programs(makedumpfile PROGRAMS makedumpfile PACKAGES makedumpfile
  LIBRARIES libdw.so.1 libelf.so.1 libz.so.1 libzstd.so.1 liblzo2.so.2 liblzma.so.5 libbz2.so.1.0
  FOLLOW "^(libc6|libdw1|libdw1t64|libelf1|libelf1t64|libbz2-1.0|liblzma5|libzstd1|liblzo2-2|zlib1g)$")
if(NOT versions)
  message(WARNING "SKIPPED: the lab has no makedumpfile; the scenarios with a dump are skipped")
endif()

# What a load of a compressed kernel is counted beside.
if(SET STREQUAL "full")
  fetch_programs(decompressors PROGRAMS gzip xz zstd lz4 PACKAGES gzip xz-utils zstd lz4
    LIBRARIES liblzma.so.5 liblz4.so.1 libz.so.1 libxxhash.so.0
    FOLLOW "^(libc6|liblzma5|liblz4-1|zlib1g|libxxhash0)$")
  if(NOT versions)
    message(WARNING "SKIPPED: the lab has no decompressors; the scenario beside them is skipped")
  endif()
endif()

# systemd's EFI stub, for the UKIs that lab/images.sh makes.
foreach(suite bookworm trixie)
  khop_debian_packages(SUITE ${suite} ARCH arm64 PACKAGES systemd-boot-efi
    EXTRACT "./usr/lib/systemd/boot/efi/linuxaa64.efi.stub"
    DESTINATION "${lab}/packages/stub" OPTIONAL RESULT versions)
  if(versions)
    file(MAKE_DIRECTORY "${lab}/stub")
    file(COPY_FILE "${lab}/packages/stub/usr/lib/systemd/boot/efi/linuxaa64.efi.stub"
      "${lab}/stub/linuxaa64.efi.stub" ONLY_IF_DIFFERENT)
    message(STATUS "lab stub: ${versions}")
    break()
  endif()
endforeach()
if(NOT versions)
  message(WARNING "SKIPPED: the lab has no EFI stub; the UKIs are not tested")
endif()

# The newest kexec-tools there is, for khop to be compared with. It is linked dynamically: its
# libraries lie beside it, and kexec-tools/version names the package.
set(kexec_libraries libc.so.6 ld-linux-aarch64.so.1 libz.so.1)
foreach(library ctrl call devicemodel evtchn foreignmemory gnttab toolcore toollog)
  list(APPEND kexec_libraries "libxen${library}.so.*")
endforeach()
list(TRANSFORM kexec_libraries PREPEND "*/aarch64-linux-gnu/" OUTPUT_VARIABLE extract)
set(unpacked "${lab}/packages/kexec-tools")
foreach(suite sid forky trixie)
  khop_debian_packages(SUITE ${suite} PACKAGES kexec-tools
    FOLLOW "^(libc6|zlib1g|libxen[a-z]+[0-9.]*(t64)?)$"
    EXTRACT "*/sbin/kexec" ${extract} "*/libz.so.1.*"
    DESTINATION "${unpacked}" OPTIONAL RESULT versions)
  if(versions)
    file(REMOVE_RECURSE "${lab}/kexec-tools")
    file(MAKE_DIRECTORY "${lab}/kexec-tools/lib")
    file(GLOB_RECURSE program "${unpacked}/*/sbin/kexec")
    file(COPY_FILE "${program}" "${lab}/kexec-tools/kexec")
    foreach(library IN LISTS kexec_libraries)
      file(GLOB_RECURSE found "${unpacked}/${library}")
      foreach(file IN LISTS found)
        get_filename_component(name "${file}" NAME)
        # What a link stands for is asked for by the link's name.
        if(name MATCHES "^lib(xen|z)" AND NOT IS_SYMLINK "${file}")
          continue()
        endif()
        file(REAL_PATH "${file}" real)
        file(COPY_FILE "${real}" "${lab}/kexec-tools/lib/${name}")
      endforeach()
    endforeach()
    list(GET versions 0 package)
    file(WRITE "${lab}/kexec-tools/version" "${package}\n")
    message(STATUS "lab kexec-tools: ${package} (${suite})")
    break()
  endif()
endforeach()
if(NOT versions)
  file(REMOVE_RECURSE "${lab}/kexec-tools")
  message(WARNING "SKIPPED: the lab has no kexec-tools; the scenarios that compare with it are skipped")
endif()
