# SPDX-License-Identifier: MIT
# The kernels of the lab, one row each: short name | suites, first that has it wins | metapackage |
# set. The set `base` is fetched always, `full` for ./test --full only. No version is written here: apt
# resolves the metapackage, and the row is skipped, loudly, where the suite is gone or has moved on to
# a version that does not begin with the short name's.
set(KHOP_LAB_KERNELS
  "5.10|bullseye,bullseye-release|linux-image-arm64|base"
  "6.1|bookworm|linux-image-arm64|base"
  "6.12|trixie|linux-image-arm64|base"
  "6.12-16k|trixie|linux-image-arm64-16k|full"
  "7.2|sid,forky|linux-image-arm64|full")
