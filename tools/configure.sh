#!/usr/bin/env bash
# configure.sh DIR MESON-OPTION...: sets up a build folder, or brings it up to date.
#
# meson.build finds its sources by pattern when it is configured, so a file that came or went means
# a new configuration; so do other options or another compiler. Otherwise this does nothing, fast.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$1
shift
options=("$@")
state=$(
    printf '%s\n' "CC=${CC:-}" "CFLAGS=${CFLAGS:-}" "${options[@]}"
    find src tests examples bench \( -name '*.c' -o -name 'run.py' \) | LC_ALL=C sort
)
if [ -f "$dir/build.ninja" ] && [ -f "$dir/.configured" ] &&
    [ "$state" = "$(cat "$dir/.configured")" ]; then
    exit 0
fi
mkdir -p "$dir/logs"
log="$dir/logs/configure.log"
former=$(sed -n 1p "$dir/.configured" 2>/dev/null || true)
if [ -f "$dir/build.ninja" ] && [ "$former" = "CC=${CC:-}" ]; then
    mode=(--reconfigure)
else
    rm -rf "$dir/meson-private" "$dir/meson-info" "$dir/build.ninja" # another compiler: afresh
    mode=()
fi
if ! meson setup ${mode[@]+"${mode[@]}"} "${options[@]}" "$dir" >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
fi
printf '%s\n' "$state" >"$dir/.configured"
