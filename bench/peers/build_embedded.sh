#!/bin/sh
# Builds the peer that embeds Python: build_embedded.sh PYTHON OUTPUT. PYTHON has pybind11, and its headers and library are installed.
set -eu
here=$(dirname "$(readlink -f "$0")")
python=$1 output=$2
link=$("$python" -c 'from sysconfig import get_config_var as var
print("-L" + var("LIBDIR"), "-lpython" + var("LDVERSION"), var("LIBS"), var("SYSLIBS"))')
# shellcheck disable=SC2046,SC2086  # several words
${CXX:-c++} -std=c++20 -O2 -DNDEBUG -fvisibility=hidden -pthread -Wall -Wextra $("$python" -m pybind11 --includes) \
  "$here/embedded.cpp" -o "$output" $link
