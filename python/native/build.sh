#!/bin/sh
# Builds the accelerator for an interpreter: build.sh FOLDER [PYTHON] [CFLAGS...]. Its headers must be installed (python3-dev).
set -eu
here=$(dirname "$(readlink -f "$0")")
folder=$1 python=${2:-python3}
shift; [ $# = 0 ] || shift
set -- "$@" $("$python" -c 'import sysconfig as s; print("-I" + s.get_path("include"))')
suffix=$("$python" -c 'import sysconfig as s; print(s.get_config_var("EXT_SUFFIX"))')
mkdir -p "$folder"
# Workers may have the one before it open.
new=$(mktemp "$folder/.native.XXXXXX")
trap 'rm -f "$new"' EXIT
${CC:-cc} -std=gnu11 -O2 -g -fPIC -shared -fvisibility=hidden -Wall -Wextra "$@" \
  "$here/native.c" "$here/context.c" "$here/wait.c" "$here/send.c" "$here/handover.c" "$here/array.c" "$here/array_call.c" "$here/object.c" "$here/batch.c" "$here/stream.c" "$here/stream_call.c" \
  "$here/session_call.c" "$here/msgpack.c" -o "$new"
chmod 755 "$new"
mv "$new" "$folder/_native$suffix"
