#!/usr/bin/env bash
# http.sh: POST /execute end to end, our server beside nginx + LuaJIT + cjson doing the same.
#
# wrk (32 connections, keep-alive) sends a Discord-like MESSAGE_CREATE of 1.8 KB for many guilds in
# turn; the server parses it, runs bench/http/handler.luau and encodes the result. The two take turns,
# and the best round of each counts. Both answers are compared before. Only loopback is used.
#
# Environment: ROUNDS (3), SECONDS_EACH (5), CONNECTIONS (32), GUILDS (64), WRK_THREADS (1),
# OURS_ARGS (more arguments for `template-worker serve`), NGINX_WORKERS (1), OURS_PORT, NGINX_PORT.
set -euo pipefail
cd "$(dirname "$0")/.."
ROUNDS=${ROUNDS:-3}
SECONDS_EACH=${SECONDS_EACH:-5}
CONNECTIONS=${CONNECTIONS:-32}
GUILDS=${GUILDS:-64}
WRK_THREADS=${WRK_THREADS:-1}
OURS_ARGS=${OURS_ARGS:-}
NGINX_WORKERS=${NGINX_WORKERS:-1}
OURS_PORT=${OURS_PORT:-60180}
NGINX_PORT=${NGINX_PORT:-60181}

tools/install-deps.sh http
nginx_root=$PWD/build/nginx
tools/unpack-nginx.sh "$nginx_root"
nginx_libraries=$(dirname "$(find "$nginx_root" -name 'libluajit*.so.2' | head -n 1)")
folder=$(mktemp -d)
pids=()
cleanup() {
    for pid in ${pids[@]+"${pids[@]}"}; do
        kill "$pid" 2>/dev/null || true
    done
    wait
    rm -rf "$folder"
}
trap cleanup EXIT

# wait_for PORT NAME PID
wait_for() {
    for _ in $(seq 100); do
        kill -0 "$3" 2>/dev/null || break
        if curl -s -o "$folder/ready" "http://127.0.0.1:$1/"; then
            return 0
        fi
        sleep 0.1
    done
    echo "http.sh: $2 does not answer" >&2
    cat "$folder/$2.log" "$folder/nginx-error.log" >&2 2>/dev/null || true
    exit 1
}

python3 bench/http_body.py "$folder" "$GUILDS"

chmod 755 "$folder"
cp bench/http/handler.luau "$folder/handler.lua"
sed -e "s|@FOLDER@|$folder|g" -e "s|@HANDLER@|$folder/handler.lua|" -e "s|@PORT@|$NGINX_PORT|" \
    -e "s|@WORKERS@|$NGINX_WORKERS|" -e "s|@ROOT@|$nginx_root|g" \
    -e "s|@LIBRARIES@|$nginx_libraries|" bench/nginx.conf >"$folder/nginx.conf"
LD_LIBRARY_PATH=$nginx_libraries "$nginx_root/usr/sbin/nginx" -p "$folder" -c "$folder/nginx.conf" >"$folder/nginx.log" 2>&1 &
nginx_pid=$!
pids+=("$nginx_pid")
wait_for "$NGINX_PORT" nginx "$nginx_pid"

ours_pid=
if [ -x build/template-worker ]; then
    # shellcheck disable=SC2086
    build/template-worker serve --port "$OURS_PORT" --templates bench/http $OURS_ARGS \
        >"$folder/ours.log" 2>&1 </dev/null &
    ours_pid=$!
    pids+=("$ours_pid")
    wait_for "$OURS_PORT" ours "$ours_pid"
else
    echo "build/template-worker is not built: nginx alone"
fi

# answer PORT: the result of the first body, with sorted keys
answer() {
    curl -s -H 'Content-Type: application/json' --data-binary @"$folder/body.json" \
        "http://127.0.0.1:$1/execute" |
        python3 -c 'import json, sys
print(json.dumps(json.load(sys.stdin)["result"], sort_keys=True))'
}
expected=$(answer "$NGINX_PORT")
echo "result: $expected"
if [ -n "$ours_pid" ]; then
    got=$(answer "$OURS_PORT")
    if [ "$got" != "$expected" ]; then
        echo "http.sh: ours answers $got" >&2
        exit 1
    fi
fi

# load NAME PORT: requests a second of one round
load() {
    local log="$folder/wrk-$1.log"
    wrk -t "$WRK_THREADS" -c "$CONNECTIONS" -d "${SECONDS_EACH}s" --latency -s "$folder/post.lua" \
        "http://127.0.0.1:$2" >"$log"
    if grep -q -E 'Non-2xx|Socket errors' "$log"; then
        echo "http.sh: $1: $(grep -E 'Non-2xx|Socket errors' "$log")" >&2
        exit 1
    fi
    awk -v name="$1" '/50%/ { p50 = $2 } /99%/ { p99 = $2 } /Requests\/sec/ { rate = $2 }
        END { printf "%-6s %10.0f requests/s   50%% %s   99%% %s\n", name, rate, p50, p99 }' "$log" |
        tee -a "$folder/rates"
}
for _ in $(seq "$ROUNDS"); do
    [ -n "$ours_pid" ] && load ours "$OURS_PORT"
    load nginx "$NGINX_PORT"
done
awk '$2 > best[$1] { best[$1] = $2 }
    END {
        if (best["ours"])
            printf "best: ours %.0f, nginx %.0f, ratio %.2f\n", best["ours"], best["nginx"],
                best["ours"] / best["nginx"]
        else printf "best: nginx %.0f\n", best["nginx"]
    }' "$folder/rates"
