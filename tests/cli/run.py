#!/usr/bin/env python3
"""run.py PROGRAM [NAME...]: the command line as its users meet it.

Cases are tables of (arguments, exit status, standard output, standard error); texts are compared whole,
or by `in` when they are given as a list of parts. All run in the folder files/.
"""

import json
import os
import re
import subprocess
import sys
import tempfile

import store_commands
import test_runner

HERE = os.path.dirname(os.path.abspath(__file__))
FILES = os.path.join(HERE, "files")
FACTOR = float(os.environ.get("TIME_FACTOR", "1"))

MAIN_OUTPUT = """\
part loaded\tnil
part\tb\tone\ttwo
cycle\t./lib/loop2.luau:1: cyclic require: lib/loop1.luau -> lib/loop2.luau -> lib/loop1.luau
two\terror requiring module "lib/two.luau": module must return a single value
syntax\t./lib/syntax.luau:1: Expected identifier when parsing expression, got '='
amb\terror requiring module "./lib/amb": could not resolve child component "amb" (ambiguous)
none\terror requiring module "./lib/none": could not resolve child component "none"
plain\terror requiring module "lib/part": require path must start with a valid prefix: ./, ../, or @
fails\t./lib/fails.luau:1: no luck
nil\tinit\ttrue
yields\terror requiring module "lib/yields.luau": module can not yield
globals\t5\tnil
"""

CASES = {
    "help": [
        (["--help"], 0, ["usage: template-worker COMMAND", "serve", "run", "test", "check", "compile", "templates", "kv",
                           "store"],
         ""),
        (["run", "--help"], 0, ["--bare", "--event FILE"], ""),
        (["check", "--help"], 0, ["usage: template-worker check FILE-OR-FOLDER..."], ""),
        (["compile", "--help"], 0, ["--list"], ""),
        (["serve", "--help"], 0, ["--templates FOLDER", "--port N"], ""),
        (["--version"], 0, ["template-worker 0."], ""),
        ([], 2, "", ["usage:"]),
        (["frobnicate"], 2, "", ["there is no command 'frobnicate'"]),
        (["run"], 2, "", ["which file?"]),
        (["run", "--frob", "x"], 2, "", "template-worker: run: unknown option '--frob'. See template-worker run "
                                        "--help\n"),
        (["run", "-q", "x"], 2, "", ["unknown option '-q'"]),
        (["run", "--event"], 2, "", ["option '--event' needs a value"]),
        (["run", "--bare=x", "x"], 2, "", ["a value is too much"]),
        (["serve", "--port", "x"], 2, "", ["--port: expected a whole number from 0 to 65535, got 'x'"]),
        (["serve", "--log-level", "loud"], 2, "", ["--log-level: expected debug, info, warn or error, got 'loud'"]),
        (["serve", "--store", ""], 2, "", ["--store: the name of a file is missing"]),
        (["serve", "--nothing"], 2, "", ["serve: unknown option '--nothing'"]),
        (["help", "run"], 0, ["usage: template-worker run"], ""),
        (["help", "store"], 0, ["usage: template-worker store check"], ""),
        (["help", "nothing"], 2, "", ["there is no command 'nothing'"]),
        (["template.luau"], 2, "", ["to run it: template-worker run template.luau"]),
        (["run", "a.luau", "b.luau"], 2, "", ["'b.luau' is too much"]),
        (["run", "--guild", "x", "a.luau"], 2, "", ["--guild: expected a whole number"]),
        (["check"], 2, "", ["which files?"]),
        (["serve", "extra"], 2, "", ["'extra' is too much"]),
    ],
    "bare": [
        (["run", "--bare", "main.luau", "one", "two"], 0, MAIN_OUTPUT, ""),
        (["run", "--bare", "./main.luau", "one", "two"], 0, ["part\tb\tone\ttwo"], ""),
        (["run", "--bare", "args.luau", "--help", "-x", "--"], 0, "3\t--help\t-x\t--\n", ""),
        (["run", "--bare", "fails.luau"], 1, "before\n",
         "./fails.luau:4: why\nstacktrace:\n[C] function error\n./fails.luau:4 function inner\n"
         "./fails.luau:7\n"),
        (["run", "--bare", "raises_table.luau"], 1, "",
         "\nstacktrace:\n[C] function error\n./raises_table.luau:1\n"),
        (["run", "--bare", "deep.luau"], 1, "", ["deep.luau:2: stack overflow", "... (+"]),
        (["run", "--bare", "yields.luau"], 1, "", ["thread yielded unexpectedly\nstacktrace:\n"]),
        (["run", "--bare", "lib/syntax.luau"], 1, "",
         "./lib/syntax.luau:1: Expected identifier when parsing expression, got '='\n"),
        (["run", "--bare", "empty.luau"], 0, "", ""),
        (["run", "--bare", "none.luau"], 1, "", "template-worker: none.luau: No such file or directory\n"),
        (["run", "--bare", "lib"], 1, "", "template-worker: lib: Is a directory\n"),
        (["run", "--bare", "--test-mode", "gc,stack", "main.luau", "one", "two"], 0, MAIN_OUTPUT, ""),
        (["run", "--bare", "--test-mode", "fast", "main.luau"], 2, "", ["--test-mode: expected"]),
    ],
    "run": [
        (["run", "template.luau"], 0, "hello\tRun\t1\n{\"name\":\"Run\",\"data\":null}\n", "careful\n"),
        (["run", "template.luau", "--event", "event.json", "--guild", "77"], 0,
         "hello\tJoin\t77\n{\"name\":\"Join\",\"data\":[1,12345678901234567890]}\n", "careful\n"),
        (["run", "folder"], 0, "\"from a file beside\"\n", ""),
        (["run", "fails.luau"], 1, "before\n",
         "fails.luau:4: why\nstacktrace:\nfails.luau:4 function inner\nfails.luau:7\n"),
        (["run", "lib/syntax.luau"], 1, "",
         "lib/syntax.luau:1:5: Expected identifier when parsing expression, got '='\n"
         "    x = = 1\n        ^\n"),
        (["run", "sandboxed.luau"], 0, "", ""),
        (["run", "template.luau", "--event", "none.json"], 1, "",
         "template-worker: none.json: No such file or directory\n"),
        (["run", "template.luau", "--event", "main.luau"], 1, "", ["main.luau: invalid JSON: line 1"]),
        (["run", "none"], 1, "", "template-worker: none: No such file or directory\n"),
        (["run", "lib"], 0, "\"init\"\n", ""),
    ],
    "check": [
        (["check", "main.luau", "template.luau", "empty.luau"], 0, "", ""),
        (["check", "several.luau", "main.luau"], 1, "",
         ["several.luau:2:7: ", "several.luau:4:", "several.luau:6:", "\n    local = 5\n          ^\n"]),
        (["check", "none.luau"], 1, "", ["No such file"]),
        (["check", "folder"], 0, "", ""),
        (["check", "lib", "folder"], 1, "", ["lib/syntax.luau:1:5: "]),
    ],
    "compile": [
        (["compile", "--list", "args.luau"], 0, ["CALL", "RETURN"], ""),
        (["compile", "lib/syntax.luau"], 1, "", ["lib/syntax.luau:1:"]),
    ],
}


def run(program, arguments, **more):
    if "input" not in more:
        more["stdin"] = subprocess.DEVNULL
    return subprocess.run([program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=60 * FACTOR, **{"cwd": FILES, **more})


def compare(what, expected, got):
    if isinstance(expected, list):
        return [f"{what} lacks {part!r}: {got[:500]!r}" for part in expected if part not in got]
    return [] if expected == got else [f"{what}:\n      got      {got[:900]!r}\n      expected {expected!r}"]


def without_notices(text):
    """Drops the line with which AddressSanitizer greets a program that has fibers."""
    return re.sub(r"^==\d+==WARNING: ASan doesn't fully support makecontext.*\n", "", text, flags=re.M)


def check_case(program, case):
    arguments, status, output, errors = case
    done = run(program, arguments)
    problems = compare("output", output, done.stdout.decode("utf-8", "replace"))
    problems += compare("errors", errors, without_notices(done.stderr.decode("utf-8", "replace")))
    if done.returncode != status:
        problems.append(f"exit status {done.returncode}, expected {status}")
    return problems


def check_strange_sources(program):
    """Empty, huge, junk, other files' magic: an answer, never a crash."""
    sources = {
        "bytecode": b"\x1bLua\x51\x00\x01\x04\x08", "junk": bytes(range(256)) * 40, "nul": b"return 1\0 2",
        "deep": b"return " + b"(" * 200000, "wide": b"return {" + b"1," * 300000 + b"}",
        "long": b"-- " + b"x" * 5000000 + b"\nreturn 1", "bom": b"\xef\xbb\xbfreturn 1", "shebang": b"#!x\nreturn 1",
        "shebang only": b"#!", "unfinished": b"local s = [[", "latin1": b"local \xe9 = 1", "blank": b"\n" * 100000,
        "truncated": b"return '\\u{",
    }
    problems = []
    with tempfile.TemporaryDirectory() as folder:
        for name, source in sources.items():
            path = os.path.join(folder, name.replace(" ", "_") + ".luau")
            with open(path, "wb") as file:
                file.write(source)
            for arguments in (["run", "--bare", path], ["check", path], ["run", path], ["compile", path]):
                done = run(program, arguments)
                if done.returncode not in (0, 1):
                    problems.append(f"{name}, {arguments[0]}: exit status {done.returncode} "
                                    f"{done.stderr[:200]}")
                elif done.returncode == 1 and not done.stderr:
                    problems.append(f"{name}, {arguments[0]}: failed without a word")
    return problems


def check_failing_allocations(program):
    """Each allocation of a program fails once: it ends with an error or goes on, and never crashes."""
    problems = []
    for k in list(range(1, 60)) + list(range(60, 400, 17)):
        done = run(program, ["run", "--bare", "--fail-alloc", str(k), "main.luau"])
        if done.returncode not in (0, 1):
            problems.append(f"allocation {k}: exit status {done.returncode} {done.stderr[:200]}")
    return problems


def check_full_output(program):
    if not os.path.exists("/dev/full"):
        return []
    with open("/dev/full", "wb") as full:
        done = subprocess.run([program, "run", "--bare", "args.luau"], cwd=FILES, stdout=full,
                              stderr=subprocess.PIPE, timeout=60 * FACTOR)
    return [] if done.returncode == 1 and b"cannot write" in done.stderr else [f"{done}"]


def check_event_errors(program):
    problems = []
    for text, part in (("", "it is empty"), (" ", "unexpected end"), ("{} x", "/name: required"), ("[]", "/: expected an object"), ('{"data": 1}', "/name: required"),
                       ('{"name": "x", "nam": 1}', "/nam: unknown field"), ('{"name": "x"} y', "unexpected text"),
                       (json.dumps({"name": "x" * 300}), "longer than 256 bytes")):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write(text)
            file.flush()
            done = run(program, ["run", "template.luau", "--event", file.name])
            if done.returncode != 1 or part not in done.stderr.decode():
                problems.append(f"{text!r}: {done.returncode} {done.stderr}")
    return problems


def check_event_from_input(program):
    done = subprocess.run([program, "run", "template.luau", "--event", "-"], cwd=FILES, timeout=60 * FACTOR,
                          input=b'{"name": "Piped"}', stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return [] if done.returncode == 0 and b"hello\tPiped\t1\n" in done.stdout else [f"{done}"]


def check_byte_order_mark(program):
    with tempfile.NamedTemporaryFile("wb", suffix=".luau") as file:
        file.write(b"\xef\xbb\xbfreturn 1")
        file.flush()
        done = run(program, ["check", file.name])
    return [] if done.returncode == 1 and b"byte order mark" in done.stderr else [f"{done}"]


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    program = os.path.abspath(sys.argv[1])
    names = sys.argv[2:]
    failed = 0
    jobs = [(name, lambda cases=cases: [f"{' '.join(case[0])}: {problem}" for case in cases
                                        for problem in check_case(program, case)])
            for name, cases in CASES.items()]
    jobs += [(name[6:], lambda function=function: function(program))
             for name, function in sorted(globals().items())
             if name.startswith("check_") and name != "check_case"]
    jobs += store_commands.jobs(program, run, compare, without_notices)
    jobs += test_runner.jobs(program, run, compare, without_notices)
    for name, job in jobs:
        if names and name not in names:
            continue
        problems = job()
        failed += bool(problems)
        print(f"{'FAIL' if problems else 'ok  '}  {name}")
        for problem in problems:
            print(f"    {problem}")
    print(f"{failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
