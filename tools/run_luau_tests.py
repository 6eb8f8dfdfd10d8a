#!/usr/bin/env python3
"""Runs Luau scripts that state in comments what they print.

    run_luau_tests.py [options] PATH... -- COMMAND [ARG...]

PATH is a script or a folder searched for *.luau; COMMAND runs the script that is appended to it, in
the script's folder. The comments (tests/README.md has examples):

    -- expect: LINE           the next line on standard output
    -- expect warn: LINE      the next line on standard error
    -- expect error: TEXT     exit status 1, and TEXT is in the next line on standard error (what
                              follows there, a traceback, is free)
    -- skip-stress: WHY       left out with --stress
    -- slow: FACTOR           the time limit is FACTOR times as long

Everything printed must be stated, nothing more, and the exit status must be 0 unless an error is
expected. If NAME.out stands beside NAME.luau, it is the exact standard output instead. Files and
folders whose names begin with "_" are modules for other scripts and are not run.
"""

import argparse
import concurrent.futures
import os
import re
import shutil
import signal
import subprocess
import sys
import time

TIME_LIMIT_SECONDS = 60
OUTPUT_SHOWN_LINES = 30
COMMENT = re.compile(r"--[ \t]*(?:(expect error|expect warn|expect|slow):[ \t]?|"
                     r"(skip-stress)\b:?[ \t]*)(.*)")
# A notice of AddressSanitizer at each start of a program that has fibers, no finding.
NOTICE = re.compile(r"^==\d+==WARNING: ASan doesn't fully support makecontext/swapcontext.*\n",
                    re.M)
ADDRESS = re.compile(r"0x[0-9a-f]{6,16}\b")


class Script:
    """One script and what it states about itself."""

    def __init__(self, path):
        self.path = path
        self.stdout = []
        self.stderr = []
        self.error = None
        self.skip_stress = None
        self.slow = 1.0
        self.has_statement = False
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                self.read_comment(line.rstrip("\r\n"))
        out = os.path.splitext(path)[0] + ".out"
        self.exact = None
        if os.path.exists(out):
            with open(out, encoding="utf-8", errors="surrogateescape") as file:
                self.exact = file.read()
            self.has_statement = True

    def read_comment(self, line):
        found = COMMENT.search(line)
        if not found:
            return
        kind, text = found.group(1) or found.group(2), found.group(3)
        if kind == "skip-stress":
            self.skip_stress = text.strip() or "no reason given"
        elif kind == "slow":
            self.slow = float(text)
        else:
            self.has_statement = True
            if kind == "expect":
                self.stdout.append(text.rstrip())
            elif kind == "expect warn":
                self.stderr.append(text.rstrip())
            else:
                self.error = text.strip()


def as_lines(text):
    lines = [line.rstrip() for line in text.split("\n")]
    if lines and lines[-1] == "":
        lines.pop()
    return lines


def compare_lines(what, expected, printed):
    """None if the same, else a sentence and the first difference."""
    for i in range(max(len(expected), len(printed))):
        want = expected[i] if i < len(expected) else None
        got = printed[i] if i < len(printed) else None
        if want != got:
            want = "(nothing more)" if want is None else want
            got = "(nothing more)" if got is None else got
            return f"{what} line {i + 1}:\n    expected: {want}\n    printed:  {got}"
    return None


def describe_exit(code):
    if code >= 0:
        return f"exit status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def judge(script, code, out, err):
    """None if all is as stated, else why not."""
    err_lines = as_lines(err)
    tail = "\n".join("    | " + line for line in err_lines[:OUTPUT_SHOWN_LINES])
    if code < 0 or code > 1:
        return describe_exit(code) + ("\n" + tail if tail else "")
    if not script.has_statement:
        return "states no expectation (-- expect: LINE)"
    if script.exact is not None:
        name = os.path.basename(script.path)
        shown = ADDRESS.sub("PTR", out).replace("./" + name, name)
        wrong = compare_lines("stdout", as_lines(script.exact), as_lines(shown))
    else:
        wrong = compare_lines("stdout", script.stdout, as_lines(out))
    if not wrong:
        count = len(script.stderr)
        if script.error is None:
            wrong = compare_lines("stderr", script.stderr, err_lines)
        else:
            wrong = compare_lines("stderr", script.stderr, err_lines[:count])
            first = err_lines[count] if len(err_lines) > count else "(nothing)"
            if not wrong and script.error not in first:
                wrong = f"error:\n    expected: {script.error}\n    printed:  {first}"
    wanted = 0 if script.error is None else 1
    if not wrong and code != wanted:
        wrong = f"exit status {code} instead of {wanted}"
    elif wrong and code != wanted:
        wrong += f"\n    exit status {code} instead of {wanted}"
        if script.error is None and tail:
            wrong += "\n" + tail
    return wrong


def run_script(script, command, limit_seconds):
    """Returns (seconds, why it failed or None)."""
    folder, name = os.path.split(os.path.abspath(script.path))
    started = time.monotonic()
    process = subprocess.Popen(command + [name], cwd=folder, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               start_new_session=True)
    try:
        out, err = process.communicate(timeout=limit_seconds * script.slow)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return time.monotonic() - started, f"not done after {limit_seconds * script.slow:.0f} s"
    seconds = time.monotonic() - started
    # A relative path is shown with ./ in front; expectations leave that out.
    text = [stream.decode("utf-8", "surrogateescape").replace("./" + name, name)
            for stream in (out, err)]
    return seconds, judge(script, process.returncode, text[0], NOTICE.sub("", text[1]))


def find_scripts(paths):
    for path in paths:
        if not os.path.isdir(path):
            yield path
            continue
        for folder, folders, files in os.walk(path):
            folders[:] = sorted(f for f in folders if not f.startswith("_"))
            for file in sorted(files):
                if file.endswith(".luau") and not file.startswith("_"):
                    yield os.path.join(folder, file)


def parse_arguments(argv):
    if "--" not in argv:
        raise SystemExit("run_luau_tests.py: missing '-- COMMAND' (see --help)") \
            if "-h" not in argv and "--help" not in argv else SystemExit(__doc__)
    at = argv.index("--")
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("paths", nargs="+")
    parser.add_argument("-j", "--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="only paths that contain this text")
    parser.add_argument("--stress", action="store_true")
    parser.add_argument("--timeout-factor", type=float, default=1.0)
    parser.add_argument("-v", "--verbose", action="store_true", help="name the passed ones too")
    options = parser.parse_args(argv[:at])
    command = argv[at + 1:]
    if not command:
        raise SystemExit("run_luau_tests.py: no command after '--'")
    program = shutil.which(command[0])
    if not program:
        raise SystemExit(f"run_luau_tests.py: cannot run {command[0]}")
    return options, [os.path.abspath(program)] + command[1:]


def write(text):
    sys.stdout.buffer.write((text + "\n").encode("utf-8", "surrogateescape"))
    sys.stdout.flush()


def main():
    options, command = parse_arguments(sys.argv[1:])
    passed = failed = skipped = 0
    root = options.paths[0] if os.path.isdir(options.paths[0]) else os.curdir
    scripts = [Script(path) for path in find_scripts(options.paths) if options.only in path]
    limit = TIME_LIMIT_SECONDS * options.timeout_factor
    with concurrent.futures.ThreadPoolExecutor(max(1, options.jobs)) as pool:
        running = []
        for script in scripts:
            if options.stress and script.skip_stress:
                skipped += 1
                continue
            running.append((script, pool.submit(run_script, script, command, limit)))
        for script, future in running:
            seconds, wrong = future.result()
            shown = os.path.relpath(script.path, root)
            if wrong:
                failed += 1
                write(f"FAIL {shown} ({seconds:.1f} s): {wrong}")
            else:
                passed += 1
                if options.verbose:
                    write(f"ok   {shown} ({seconds:.1f} s)")
    if passed + failed == 0:
        write("no script found")
        failed = 1
    write(f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else ""))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
