#!/usr/bin/env python3
"""count_results.py LOG STATUS: prints "PASSED FAILED" of one CI step.

Meson's tests are taken one by one from the folders that LOG names as their full log: a test that
closes on "N passed, N failed" counts as that, a cmocka program as its tests, any other as one. What
runs outside Meson counts by its own closing line in LOG. A step that ended with STATUS not 0 has at
least one failure; one that ended with 0 and counted nothing has passed once.
"""

import json
import os
import re
import sys

CLOSING = re.compile(r"^(\d+) passed, (\d+) failed(?:, \d+ skipped)?$", re.M)
CMOCKA = re.compile(r"^\[\s*(PASSED|FAILED)\s*\] (\d+) test\(s\)", re.M)
FULL_LOG = re.compile(r"^Full log written to (.*)\.txt$", re.M)


def count_test(test):
    """(passed, failed) of one Meson test."""
    text = test.get("stdout", "") + "\n" + test.get("stderr", "")
    good = test["result"] in ("OK", "EXPECTEDFAIL")
    closing = CLOSING.findall(text)
    passed = failed = 0
    if closing:
        passed, failed = map(int, closing[-1])
    else:
        for kind, number in CMOCKA.findall(text):
            if kind == "PASSED":
                passed += int(number)
            else:
                failed += int(number)
    if good:
        return max(passed, 1), 0
    return passed, max(failed, 1)


def count_meson(path):
    passed = failed = 0
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            test = json.loads(line)
            if test["result"] == "SKIP":
                continue
            one = count_test(test)
            passed += one[0]
            failed += one[1]
    return passed, failed


def main():
    with open(sys.argv[1], encoding="utf-8", errors="replace") as file:
        text = file.read()
    status = int(sys.argv[2])
    passed = failed = 0
    meson_logs = [path + ".json" for path in FULL_LOG.findall(text)]
    for path in meson_logs:
        if os.path.exists(path):
            one = count_meson(path)
            passed += one[0]
            failed += one[1]
    # Meson repeats the output of failed tests; the lines behind its log's name are others'.
    tail = FULL_LOG.split(text)[-1] if meson_logs else text
    for one in CLOSING.findall(tail):
        passed += int(one[0])
        failed += int(one[1])
    if status != 0 and failed == 0:
        failed = 1
    if status == 0 and passed + failed == 0:
        passed = 1
    print(passed, failed)


if __name__ == "__main__":
    main()
