#!/usr/bin/env bash
# unpack-nginx.sh FOLDER: nginx with its Lua module and cjson, from Debian's packages, unpacked into
# FOLDER and not installed: as a package it would start a server on port 80, and its LuaJIT conflicts
# with the one that bench/run.py compares with.
set -euo pipefail
folder=$1
[ -f "$folder/.complete" ] && exit 0
packages=(nginx libnginx-mod-http-ndk libnginx-mod-http-lua lua-resty-core lua-resty-lrucache
    libluajit2-5.1-2 lua-cjson libpcre3)
echo "unpacking: ${packages[*]}"
rm -rf "$folder"
mkdir -p "$folder/archives"
cd "$folder/archives"
log=$folder/download.log
if ! apt-get -q download "${packages[@]}" >"$log" 2>&1; then
    as_root=()
    [ "$(id -u)" -eq 0 ] || as_root=(sudo)
    ${as_root[@]+"${as_root[@]}"} apt-get -q update >>"$log" 2>&1 || true
    apt-get -q download "${packages[@]}" >>"$log" 2>&1 || {
        tail -n 20 "$log" >&2
        exit 1
    }
fi
for archive in *.deb; do
    dpkg-deb -x "$archive" "$folder"
done
rm -rf "$folder/archives"
touch "$folder/.complete"
