#!/usr/bin/env python3
"""Times the programs of this folder on our interpreter, PUC Lua 5.4 and LuaJIT's interpreter.

    bench/run.py [--n N] [--only TEXT] [--json FILE] [--no-compare] [--reference COMMAND]

Each program runs N times (default 3) on each interpreter, in turns, so that what else the machine does
falls on all alike; the best time counts. All must print the same. programs/ is the common subset of
Lua 5.1, 5.4 and Luau; luau/ is Luau only and is timed on ours (and on the reference, if given).
A ratio above 1 means that ours is faster.
"""

import argparse
import json
import math
import os
import resource
import shlex
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
TIME_LIMIT_SECONDS = 300


def interpreters(options):
    """Name -> command, ours first."""
    ours = shlex.split(options.command) if options.command else \
        [os.path.join(ROOT, "build", "template-worker"), "run", "--bare"]
    found = {"ours": ours}
    if options.compare:
        subprocess.run([os.path.join(ROOT, "tools", "install-deps.sh"), "bench"], check=True)
        found["lua5.4"] = ["lua5.4"]
        found["luajit"] = ["luajit", "-joff"]
    if options.reference:
        found["reference"] = shlex.split(options.reference)
    for name, command in list(found.items()):
        if not shutil.which(command[0]):
            print(f"{name}: cannot run {command[0]}, left out", file=sys.stderr)
            del found[name]
    return found


def find_programs(only):
    for folder in ("programs", "luau"):
        for name in sorted(os.listdir(os.path.join(HERE, folder))):
            path = os.path.join(folder, name)
            if name.endswith((".lua", ".luau")) and only in path:
                yield path


def cpu_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run_once(command, path):
    """(processor seconds, output), or (None, what went wrong)."""
    before = cpu_seconds()
    try:
        run = subprocess.run(command + [path], cwd=HERE, stdin=subprocess.DEVNULL,
                             capture_output=True, timeout=TIME_LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        return None, f"not done after {TIME_LIMIT_SECONDS} s"
    if run.returncode != 0:
        lines = run.stderr.decode("utf-8", "replace").strip().split("\n")
        return None, f"exit status {run.returncode}: {lines[0]}"
    return cpu_seconds() - before, run.stdout.decode("utf-8", "replace").strip()


def measure(path, commands, rounds):
    """Best seconds per interpreter, and what went wrong with it."""
    best, outputs, wrong = {}, {}, {}
    for _ in range(rounds):
        for name, command in commands.items():
            if name in wrong:
                continue
            seconds, output = run_once(command, path)
            if seconds is None:
                wrong[name] = output
                best.pop(name, None)
                continue
            best[name] = min(best.get(name, math.inf), seconds)
            outputs[name] = output
    expected = next((outputs[n] for n in ("reference", "lua5.4", "luajit", "ours")
                     if n in outputs), None)
    for name, output in outputs.items():
        if output != expected and name not in wrong:
            wrong[name] = f"printed {output[:60]!r} instead of {expected[:60]!r}"
    return best, wrong


def geometric_mean(values):
    return math.exp(sum(math.log(v) for v in values) / len(values)) if values else None


def report(results, others):
    for folder in ("programs", "luau"):
        ratios = {name: [] for name in others}
        for path, (best, _) in results.items():
            if not path.startswith(folder + os.sep) or "ours" not in best:
                continue
            for name in others:
                if name in best:
                    ratios[name].append(best[name] / best["ours"])
        for name in others:
            mean = geometric_mean(ratios[name])
            if mean:
                print(f"{folder}: {name} / ours, geometric mean of {len(ratios[name])}: {mean:.3f}")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--n", type=int, default=3, help="runs of each program (3)")
    parser.add_argument("--only", default="", help="only programs whose path has this text")
    parser.add_argument("--json", help="write the results to this file")
    parser.add_argument("--command", help="our interpreter, if not build/template-worker run --bare")
    parser.add_argument("--reference", help="another Luau to compare with")
    parser.add_argument("--no-compare", dest="compare", action="store_false",
                        help="ours alone")
    return parser.parse_args()


def main():
    options = parse_arguments()
    commands = interpreters(options)
    others = [name for name in commands if name != "ours"]
    print(f"{'program':24}" + "".join(f"{name:>11}" for name in commands)
          + "".join(f"{name + '/ours':>16}" for name in others))
    results, failed = {}, 0
    started = time.monotonic()
    for path in find_programs(options.only):
        usable = {name: command for name, command in commands.items()
                  if not path.startswith("luau") or name in ("ours", "reference")}
        best, wrong = measure(path, usable, options.n)
        results[path] = (best, wrong)
        row = f"{os.path.splitext(path)[0]:24}"
        for name in commands:
            row += f"{best[name]:10.3f}s" if name in best else f"{'-':>11}"
        for name in others:
            ratio = f"{best[name] / best['ours']:.2f}" if name in best and "ours" in best else "-"
            row += f"{ratio:>16}"
        print(row, flush=True)
        for name, text in wrong.items():
            print(f"    {name}: {text}")
        failed += bool(wrong)
    report(results, others)
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump({path: {"seconds": best, "wrong": wrong}
                       for path, (best, wrong) in results.items()}, file, indent=1)
    print(f"{time.monotonic() - started:.0f} s")
    print(f"{len(results) - failed} passed, {failed} failed")
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main())
