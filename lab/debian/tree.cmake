# SPDX-License-Identifier: MIT
# A Debian root, unpacked: build/lab/debian/SUITE/{tree,root.img}, made of that release's own packages by
# apt with private state, on any machine and without root. Nothing in it is configured: that needs
# the arm64 of a guest (configure.cc). A second run uses no network.
#   cmake -DSUITE=bookworm [-DMORE=package;…] [-DLATER=package;…] -P lab/debian/tree.cmake
# LATER and what it needs lies in /root/later, for scenarios that install it.
cmake_minimum_required(VERSION 3.25)
include("${CMAKE_CURRENT_LIST_DIR}/../../cmake/debian-packages.cmake")
get_filename_component(directory "${CMAKE_CURRENT_LIST_DIR}/../../build/lab/debian/${SUITE}" ABSOLUTE)
# What debootstrap's minbase has, with an init and what it needs.
set(packages "?essential" usr-is-merged systemd-sysv udev dbus kmod ${MORE})

find_program(mke2fs mke2fs PATHS /sbin /usr/sbin)
if(NOT mke2fs)
  message(STATUS "SKIPPED: mke2fs is not here; install e2fsprogs")
  return()
endif()
file(MAKE_DIRECTORY "${directory}" "${KHOP_APT_DIR}")
file(LOCK "${KHOP_APT_DIR}/lock" TIMEOUT 1200)
set(request "${packages};later;${LATER}")
if(EXISTS "${directory}/tree.img" AND EXISTS "${directory}/request")
  file(READ "${directory}/request" made)
  if(made STREQUAL request)
    return()
  endif()
endif()
_khop_apt_prepare("${SUITE}" arm64)
if(NOT prepare_error)
  _khop_apt_update("${SUITE}")
endif()
if(prepare_error OR update_error)
  message(STATUS "SKIPPED: Debian packages of ${SUITE}: ${prepare_error}${update_error}")
  return()
endif()
set(apt ${CMAKE_COMMAND} -E env "APT_CONFIG=${apt_config}" LC_ALL=C apt-get -q -y)
# By an empty dpkg status apt finds the whole set, essential packages included. The files of the
# packages, in apt's order.
function(fetch_debs result)
  execute_process(COMMAND ${apt} --no-install-recommends --download-only install ${ARGN}
    RESULT_VARIABLE code OUTPUT_VARIABLE log ERROR_VARIABLE log)
  if(NOT code EQUAL 0)
    message(STATUS "SKIPPED: Debian packages of ${SUITE}: ${log}")
    set(${result} "" PARENT_SCOPE)
    return()
  endif()
  execute_process(COMMAND ${apt} --no-install-recommends -s install ${ARGN} OUTPUT_VARIABLE order
    COMMAND_ERROR_IS_FATAL ANY)
  string(REGEX MATCHALL "\nInst [a-z0-9.+-]+ [^\n]*" order "${order}")
  set(files "")
  foreach(line IN LISTS order)
    # "Inst NAME (VERSION Debian:12/stable [arm64])"; a colon is %3a in the file's name.
    string(REGEX MATCH "Inst ([^ ]+) \\(([^ ]+) .*\\[(arm64|all)\\]" found "${line}")
    string(REPLACE ":" "%3a" version "${CMAKE_MATCH_2}")
    set(deb "${apt_root}/cache/archives/${CMAKE_MATCH_1}_${version}_${CMAKE_MATCH_3}.deb")
    if(NOT EXISTS "${deb}")
      message(FATAL_ERROR "apt has not fetched ${deb}")
    endif()
    list(APPEND files "${deb}")
  endforeach()
  set(${result} "${files}" PARENT_SCOPE)
endfunction()
fetch_debs(debs ${packages})
set(later "")
if(LATER)
  fetch_debs(later ${packages} ${LATER})
  list(REMOVE_ITEM later ${debs})
endif()
if(NOT debs OR (LATER AND NOT later))
  return()
endif()
list(LENGTH debs count)
message(STATUS "lab Debian ${SUITE}: ${count} packages")

set(tree "${directory}/tree")
file(REMOVE_RECURSE "${tree}")
foreach(name bin sbin lib)
  file(MAKE_DIRECTORY "${tree}/usr/${name}")
  file(CREATE_LINK "usr/${name}" "${tree}/${name}" SYMBOLIC)
endforeach()
foreach(deb IN LISTS debs)
  execute_process(COMMAND dpkg-deb --fsys-tarfile "${deb}"
    COMMAND tar -x --no-same-owner --keep-directory-symlink -C "${tree}"
      # Left out on servers as well (dpkg's path-exclude).
      --exclude=./usr/share/doc/* --exclude=./usr/share/man/* --exclude=./usr/share/locale/*
    RESULTS_VARIABLE codes ERROR_VARIABLE log)
  if(NOT codes STREQUAL "0;0")
    message(FATAL_ERROR "${deb} cannot be unpacked: ${log}")
  endif()
endforeach()
file(MAKE_DIRECTORY "${tree}/var/lib/dpkg/info" "${tree}/var/lib/dpkg/updates" "${tree}/khop-lab/debs"
  "${tree}/etc/dpkg/dpkg.cfg.d")
file(TOUCH "${tree}/var/lib/dpkg/status" "${tree}/var/lib/dpkg/available")
file(WRITE "${tree}/etc/dpkg/dpkg.cfg.d/lab" "path-exclude=/usr/share/doc/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
force-unsafe-io
")
# In apt's order, for dpkg takes them in the order of their names.
set(number 1000)
foreach(deb IN LISTS debs)
  math(EXPR number "${number} + 1")
  get_filename_component(name "${deb}" NAME)
  file(COPY_FILE "${deb}" "${tree}/khop-lab/debs/${number}-${name}")
endforeach()
if(later)
  file(COPY ${later} DESTINATION "${tree}/root/later")
endif()
execute_process(COMMAND ${mke2fs} -q -F -t ext4 -E root_owner=0:0,lazy_itable_init=1 -O ^has_journal
    -d "${tree}" "${directory}/tree.new" 1500M
  RESULT_VARIABLE code ERROR_VARIABLE log)
if(NOT code EQUAL 0)
  message(FATAL_ERROR "mke2fs: ${log}")
endif()
file(RENAME "${directory}/tree.new" "${directory}/tree.img")
file(REMOVE_RECURSE "${tree}")
file(REMOVE "${directory}/root.img")
file(WRITE "${directory}/request" "${request}")
