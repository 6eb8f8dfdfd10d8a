#!/usr/bin/env python3
"""expect_output.py EXPECTED PROGRAM [ARG...]: runs a program and compares what it prints.

EXPECTED is a file with the exact standard output. The exit status must be 0.
"""

import difflib
import subprocess
import sys


def main():
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as file:
        expected = file.read()
    run = subprocess.run(sys.argv[2:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         timeout=120)
    printed = run.stdout.decode("utf-8", "replace")
    if printed != expected:
        diff = difflib.unified_diff(expected.splitlines(), printed.splitlines(),
                                    "expected", "printed", lineterm="")
        print("\n".join(diff))
        return 1
    if run.returncode != 0:
        print(f"exit status {run.returncode}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
