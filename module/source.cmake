# SPDX-License-Identifier: MIT
# cmake -DDESTINATION=… -DVERSION=… -P this: the sources of khop_relocate.ko, as DKMS wants them.
cmake_minimum_required(VERSION 3.25)
get_filename_component(root "${CMAKE_CURRENT_LIST_DIR}/.." ABSOLUTE)
set(PROJECT_VERSION "${VERSION}")
# Files that are the same keep their times, so that nothing is compiled again.
set(wanted LICENSE)
file(GLOB_RECURSE sources RELATIVE "${root}" "${root}/core/*.cc" "${root}/core/*.h" "${root}/core/*.S"
  "${root}/core/*.inc" "${root}/core/*.ld" "${root}/module/*.cc" "${root}/module/*.h"
  "${root}/module/*.c")
list(FILTER sources EXCLUDE REGEX "_test\\.cc$|/fake/|/baremetal/|_check\\.cc?$|fake_hop|plan_model")
foreach(file IN LISTS wanted sources)
  get_filename_component(folder "${DESTINATION}/${file}" DIRECTORY)
  file(MAKE_DIRECTORY "${folder}")
  file(COPY_FILE "${root}/${file}" "${DESTINATION}/${file}" ONLY_IF_DIFFERENT)
endforeach()
file(COPY_FILE "${root}/module/Kbuild" "${DESTINATION}/Kbuild" ONLY_IF_DIFFERENT)
configure_file("${root}/module/dkms.conf.in" "${DESTINATION}/dkms.conf" @ONLY)
file(CONFIGURE OUTPUT "${DESTINATION}/VERSION" CONTENT "${VERSION}\n" @ONLY)
