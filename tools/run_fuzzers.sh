#!/usr/bin/env bash
# run_fuzzers.sh BUILD SECONDS: runs each fuzzer of BUILD for SECONDS and counts those that found
# nothing. Seeds are tests/fuzz/corpus/NAME (kept), new inputs go to BUILD/corpus/NAME (not kept).
set -uo pipefail
cd "$(dirname "$0")/.."
build=$1
seconds=$2
passed=0
failed=0
mkdir -p "$build/logs"
shopt -s nullglob
for source in tests/fuzz/fuzz_*.c; do
    name=$(basename "$source" .c)
    corpus="$build/corpus/$name"
    log="$build/logs/$name.log"
    mkdir -p "$corpus"
    seeds=()
    [ -d "tests/fuzz/corpus/$name" ] && seeds+=("tests/fuzz/corpus/$name")
    dictionary=()
    [ -f "tests/fuzz/$name.dict" ] && dictionary=(-dict="tests/fuzz/$name.dict")
    if "$build/tests/$name" -seed=1 -max_total_time="$seconds" -timeout=20 -rss_limit_mb=4096 \
        -print_final_stats=1 -artifact_prefix="$build/logs/$name-" \
        ${dictionary[@]+"${dictionary[@]}"} "$corpus" ${seeds[@]+"${seeds[@]}"} \
        >"$log" 2>&1 </dev/null; then
        passed=$((passed + 1))
        count=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        echo "$name: $count inputs, nothing found"
    else
        failed=$((failed + 1))
        echo "$name: FAILED, see $log"
        grep -m 5 -E 'ERROR|SUMMARY|panic|Test unit written' "$log"
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
