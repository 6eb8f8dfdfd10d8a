#!/usr/bin/env python3
"""The house rules that a program can check; part of `make test`.

    tidy.py [--list]      --list: also the longest functions

Layers include downwards only, headers guard themselves and are used, lines fit 100 columns, files and
functions stay short, nothing unfinished is left, some C functions have a better one, and there is no
mutable state in file scope. What is longer than allowed for a reason stands in the tables below, and
must be as long as it says at most: a ratchet, to be lowered.
"""

import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COLUMNS_MAX = 100
FILE_LINES_MAX = 800
FUNCTION_LINES_MAX = 70

# path -> lines it may have, with the reason
LONG_FILES = {
    "src/luau/exec.c": 2600,  # the interpreter's loop is one function, and one idea
}
# (path, function) -> lines it may have
LONG_FUNCTIONS = {
    ("src/luau/exec.c", "luV_execute"): 2400,  # the interpreter's loop
}
# Mutable variables in file scope, each with its reason.
STATE = {
    ("src/base/base.c", "panic_hook"),  # the thread's own
    ("src/base/log.c", "least_level"),  # standard error is the process's as well
    ("src/worker/panic.c", "current"),  # the thread's own: a hook of panics has no argument
    ("src/luau/fiber.c", "current_fiber"),  # likewise
}

# A layer includes itself and what has a smaller rank.
RANK = {"base": 0, "luau": 1, "khronos": 2, "store": 3, "plugins": 4, "worker": 5, "api": 6,
        "cli": 7}
# Headers of libraries -> the layers that may use them.
LIBRARY_LAYERS = {
    "microhttpd.h": {"api", "cli"},
    "uv.h": {"worker", "api", "cli"},
    "sqlite3.h": {"store"},
    "libpq-fe.h": {"store"},
    "curl/curl.h": {"plugins", "worker", "api"},
}
# The engine is a library: others use its public header. A few know its insides for speed.
ENGINE_PUBLIC = {"luau/luau.h"}
ENGINE_FRIENDS = {"tests", "src/khronos", "src/plugins"}

BANNED = {
    "strcpy": "memcpy with a length", "strcat": "a buffer with a length",
    "strncpy": "memcpy with a length", "sprintf": "snprintf", "vsprintf": "vsnprintf",
    "gets": "fgets", "strtok": "strchr", "atoi": "strtol, checked", "atol": "strtol, checked",
    "atof": "num.h", "alloca": "an array with a bound", "rand": "a seeded generator",
    "srand": "a seeded generator", "localtime": "localtime_r", "gmtime": "gmtime_r",
    "asctime": "strftime", "ctime": "strftime", "strerror": "strerror_r", "system": "posix_spawn",
    "popen": "posix_spawn", "tmpnam": "mkstemp", "setlocale": "num.h (locales change numbers)",
}
BANNED_CALL = re.compile(r"(?<![\w.>\"])(" + "|".join(BANNED) + r")\s*\(")
UNFINISHED = re.compile("|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X:", r"\bHA" + r"CK\b",
                                  "not " + "implemented", "unim" + "plemented"]))
MACHINE_PATH = re.compile("/(" + "|".join(["wo" + "rk", "ro" + "ot", "fa" + "rm", "ho" + r"me/\w+"])
                          + r")/")
INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^>"]+)[>"]')
# A line at depth 0 that defines a variable: type words, a name, perhaps dimensions, then = or ;
VARIABLE = re.compile(r"^(?:[A-Za-z_]\w*(?:\([^()]*\))?[\s*]+)+(\w+)\s*(?:\[[^\]]*\]\s*)*(?:=|;)")
NO_VARIABLE = re.compile(r"^(typedef|extern|_Static_assert)\b|^(struct|union|enum) \w+;")
CODE_FOLDERS = ("src", "tests", "examples", "bench")
TEXT_FOLDERS = CODE_FOLDERS + ("tools", "docs", "templates", ".ci")
TEXT_ENDINGS = (".c", ".h", ".py", ".sh", ".md", ".lua", ".luau", ".build", ".txt", ".conf")


def list_files():
    for name in sorted(os.listdir(ROOT)):
        if os.path.isfile(os.path.join(ROOT, name)) and not name.startswith(".git"):
            yield name
    for top in TEXT_FOLDERS:
        for folder, folders, files in os.walk(os.path.join(ROOT, top)):
            folders[:] = sorted(f for f in folders if f not in ("__pycache__", "corpus"))
            for name in sorted(files):
                if name.endswith(TEXT_ENDINGS) or top == ".ci":
                    yield os.path.relpath(os.path.join(folder, name), ROOT)


def without_text(lines):
    """The lines with comments and literals blanked, so that code alone is judged."""
    text = "\n".join(lines)
    pattern = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), text).split("\n")


class Checker:
    def __init__(self):
        self.problems = []
        self.functions = []
        self.includes = {}

    def problem(self, path, line, text):
        self.problems.append(f"{path}:{line}: {text}")

    def check_text(self, path, lines):
        source = path.endswith((".c", ".h"))
        for number, line in enumerate(lines, 1):
            if UNFINISHED.search(line) and path.startswith(CODE_FOLDERS + ("tools",)):
                self.problem(path, number, "unfinished: " + line.strip()[:60])
            if MACHINE_PATH.search(line):
                self.problem(path, number, "a path of one machine")
            if not source:
                continue
            # Tables of cases in tests may hold long literals.
            if len(line) > COLUMNS_MAX and not (path.startswith("tests/") and '"' in line):
                self.problem(path, number, f"{len(line)} columns, {COLUMNS_MAX} at most")
            if "\t" in line:
                self.problem(path, number, "tab")
            if line != line.rstrip():
                self.problem(path, number, "blanks at the end")

    def check_includes(self, path, lines):
        parts = path.split("/")
        layer = parts[1] if parts[0] == "src" and len(parts) > 2 else None
        for number, line in enumerate(lines, 1):
            found = INCLUDE.match(line)
            if not found:
                continue
            quote, header = found.groups()
            self.includes.setdefault(header, []).append(path)
            if quote == "<":
                allowed = LIBRARY_LAYERS.get(header)
                if layer and allowed is not None and layer not in allowed:
                    self.problem(path, number, f"<{header}> is for {', '.join(sorted(allowed))}")
                continue
            if not layer:
                continue
            target = header.split("/")[0]
            if target not in RANK:
                self.problem(path, number, f'"{header}" is not relative to src')
            elif RANK[target] > RANK[layer]:
                self.problem(path, number, f"{layer} includes {target}, a layer above it")
            elif target == "luau" and layer != "luau" and header not in ENGINE_PUBLIC and \
                    f"src/{layer}" not in ENGINE_FRIENDS:
                self.problem(path, number, f'"{header}" is the engine\'s own; use luau/luau.h')

    def check_header(self, path, lines):
        name = re.sub(r"\W", "_", os.path.basename(path)).upper()
        if "Generated by" in "\n".join(lines[:5]):
            return
        if not any(re.match(rf"#ifndef \w*{name}$", line) for line in lines[:40]):
            self.problem(path, 1, f"no include guard that ends in {name}")

    def check_functions(self, path, code):
        start = name = None
        for number, line in enumerate(code, 1):
            if line.startswith("{") and number > 1:
                back = number - 2
                while back > 0 and not re.match(r"[A-Za-z_].*\(|[A-Za-z_][\w ]*$", code[back]):
                    back -= 1
                found = re.search(r"(\w+)\s*\(", code[back])
                start, name = back + 1, found.group(1) if found else None
            elif line.startswith("}") and start:
                if name:
                    self.measure(path, name, start, number - start + 1)
                start = None

    def measure(self, path, name, start, length):
        self.functions.append((length, path, name))
        allowed = LONG_FUNCTIONS.get((path, name), FUNCTION_LINES_MAX)
        if length > allowed:
            self.problem(path, start, f"{name} has {length} lines, {allowed} at most")

    def check_state(self, path, code):
        depth = 0
        for number, line in enumerate(code, 1):
            if depth == 0 and not NO_VARIABLE.match(line):
                found = VARIABLE.match(line)
                if found and not re.search(r"\bconst\b", line.split("=")[0]) and \
                        (path, found.group(1)) not in STATE:
                    self.problem(path, number, f"mutable state in file scope: {found.group(1)}")
            depth += line.count("{") - line.count("}")

    def check_code(self, path, lines):
        code = without_text(lines)
        for number, line in enumerate(code, 1):
            found = BANNED_CALL.search(line)
            if found and not path.startswith("tests/"):
                self.problem(path, number, f"{found.group(1)}: use {BANNED[found.group(1)]}")
        allowed = LONG_FILES.get(path, FILE_LINES_MAX)
        if len(lines) > allowed:
            self.problem(path, len(lines), f"{len(lines)} lines, {allowed} at most")
        self.check_functions(path, code)
        if path.startswith("src/") and path.endswith(".c"):
            self.check_state(path, code)

    def check_file(self, path):
        with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as file:
            text = file.read()
        lines = text.split("\n")
        if lines[-1] == "":
            lines.pop()
        elif path.endswith((".c", ".h")):
            self.problem(path, len(lines), "no newline at the end")
        self.check_text(path, lines)
        if path.endswith((".c", ".h")):
            self.check_includes(path, lines)
            self.check_code(path, lines)
            if path.endswith(".h") and path.startswith("src/"):
                self.check_header(path, lines)

    def check_unused_headers(self, files):
        for path in files:
            if path.startswith("src/") and path.endswith(".h") and \
                    path[len("src/"):] not in self.includes:
                self.problem(path, 1, "no file includes it")


def main():
    checker = Checker()
    files = list(list_files())
    for path in files:
        checker.check_file(path)
    checker.check_unused_headers(files)
    if "--list" in sys.argv[1:]:
        for length, path, name in sorted(checker.functions, reverse=True)[:20]:
            print(f"{length:5} {name} {path}")
    for problem in checker.problems:
        print(problem)
    bad = {problem.split(":")[0] for problem in checker.problems}
    print(f"{len(files) - len(bad)} passed, {len(bad)} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
