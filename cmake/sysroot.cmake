# SPDX-License-Identifier: MIT
# The private sysroot of the arm64 build, build/sysroot: headers and static libraries that the cross
# compiler's own packages do not bring. To add a library, add its -dev package here.
set(KHOP_SYSROOT_PACKAGES
  libfdt-dev          # device trees
  libcli11-dev        # command line
  nlohmann-json3-dev  # --json
  libssl-dev          # bench/digest counts OpenSSL beside khop
  zlib1g-dev          # kernels in gzip
  liblzma-dev         # in xz and lzma
  libzstd-dev         # in zstd
  liblz4-dev          # in lz4
  libbz2-dev)         # in bzip2

include("${CMAKE_CURRENT_LIST_DIR}/debian-packages.cmake")
khop_debian_codename(_khop_suite)
khop_debian_packages(SUITE "${_khop_suite}" PACKAGES ${KHOP_SYSROOT_PACKAGES}
                     DESTINATION "${CMAKE_CURRENT_LIST_DIR}/../build/sysroot")
