#!/usr/bin/env bash
# format.sh [--check]: clang-format over all .c files, in place or only looked at. Version 14 (Debian
# 12's), since versions disagree. Headers are laid out by hand (tables, columns of comments);
# tools/tidy.py checks their width. Closes with a count when it checks.
set -uo pipefail
cd "$(dirname "$0")/.."
formatter=$(command -v clang-format-14 || command -v clang-format)
case $("$formatter" --version) in
*' version 14.'*) ;;
*)
    echo "format.sh: needs clang-format 14" >&2
    exit 2
    ;;
esac
mapfile -t files < <(find src tests examples bench -name '*.c' | LC_ALL=C sort)
if [ "${1:-}" != --check ]; then
    "$formatter" -i "${files[@]}"
    exit
fi
passed=0
failed=0
for file in "${files[@]}"; do
    if difference=$("$formatter" "$file" |
        diff -u --label "$file" --label "$file, formatted" "$file" -); then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf '%s\n' "$difference" | head -n 25
    fi
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
