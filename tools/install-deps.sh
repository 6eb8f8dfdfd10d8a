#!/usr/bin/env bash
# install-deps.sh GROUP...: installs the Debian packages of the groups that are missing.
#
# Quiet, without questions, and never at the price of another package; does nothing (and needs no
# network) when all are there. Groups:
#   build    what `make`, `make run` and `make test` need
#   clang    clang and its sanitizer and fuzzer runtimes
#   format   clang-format
#   bench    lua5.4 and luajit, to be compared with
#   http     wrk; nginx is only unpacked (tools/unpack-nginx.sh)
set -euo pipefail

packages_of() {
    case $1 in
    build) echo gcc libc6-dev make meson ninja-build pkg-config python3 curl \
        libcmocka-dev libmicrohttpd-dev libuv1-dev libsqlite3-dev zlib1g-dev libssl-dev tzdata ;;
    clang) echo clang libclang-rt-14-dev ;;
    format) echo clang-format python3 ;;
    bench) echo lua5.4 luajit python3 ;;
    http) echo wrk curl python3 ;;
    *)
        echo "install-deps.sh: no group named '$1'" >&2
        exit 2
        ;;
    esac
}

is_installed() {
    [ "$(dpkg-query -W -f='${db:Status-Abbrev}' "$1" 2>/dev/null)" = "ii " ]
}

if ! command -v dpkg-query >/dev/null; then
    # Not Debian: the packages are the user's to install; Meson says what is missing.
    exit 0
fi
missing=()
for group in "$@"; do
    for package in $(packages_of "$group"); do
        is_installed "$package" || missing+=("$package")
    done
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "install-deps.sh: as root, please: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    as_root=(sudo)
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
echo "installing: ${missing[*]}"
apt() {
    ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-remove \
        -o DPkg::Lock::Timeout=300 "$@" </dev/null >>"$log" 2>&1
}
if ! { apt install --no-install-recommends "${missing[@]}" ||
    { apt update && apt install --no-install-recommends "${missing[@]}"; }; }; then
    tail -n 30 "$log" >&2
    exit 1
fi
