#!/usr/bin/env python3
"""run.py PROGRAM [FILE...]: the examples of the documentation do what they say.

Every fenced block of docs/*.md, README.md and CONTRIBUTING.md (FILEs choose among them) is looked at by the first
word behind its fence:

    luau        runs as a template, on an event with the data below and a new store, and must not fail; the text
                of a block `output` that follows it (shell commands may stand between) is what it prints and returns
    json        is JSON
    console     is a session with a shell, in a folder that the blocks of a document share: lines that begin with `$ `
                run, and must not fail; the lines behind one are what it prints, where `...` stands for anything and
                times for any time. `file=NAME`: the text of a file there. `needs=PROGRAM`: left alone where that is not installed
    c           compiles against luau.h; the C blocks of a document are one program, which shows first what is
                called last

and by the words behind that: `fragment` needs more around it than can be guessed and need only compile, `fails`
must end with an error. Other blocks are left alone.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FACTOR = float(os.environ.get("TIME_FACTOR", "1"))
# What examples take from their event.
EVENT = {"name": "Hello", "base_name": "Custom", "author": "1", "data": {
    "name": "Ada", "user": "Ada", "count": 3, "items": [1, 2, 3], "text": "some text", "id": "42"}}
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
FENCE = re.compile(r"^```([^\n`]*)\n(.*?)^```$", re.M | re.S)


class Failure(Exception):
    pass


class Block:
    def __init__(self, path, text, found):
        words = found.group(1).split()
        self.kind, self.marks = (words[0] if words else ""), words[1:]
        self.text = found.group(2)
        self.line = text.count("\n", 0, found.start()) + 1
        self.place = f"{path}:{self.line}"
        self.output = None


def read_blocks(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        text = file.read()
    blocks = [Block(path, text, found) for found in FENCE.finditer(text)]
    if text.count("\n```") + text.startswith("```") != 2 * len(blocks):
        raise Failure(f"{path}: a fence without its other half")
    example = None
    for block in blocks:
        if block.kind == "output":
            if not example:
                raise Failure(f"{block.place}: output of nothing")
            example.output = block.text
        elif block.kind not in ("sh", "json"):
            example = block if block.kind == "luau" else None
    return blocks


def run(arguments, **more):
    return subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=60 * FACTOR, check=False, encoding="utf-8", **more)


def without_notices(text):
    """Drops the line with which AddressSanitizer greets a program that has fibers."""
    return "".join(line for line in text.splitlines(True) if "ASan doesn't fully support" not in line)


def check_luau(program, block, folder):
    source, event = os.path.join(folder, "example.luau"), os.path.join(folder, "event.json")
    with open(source, "w", encoding="utf-8") as file:
        file.write(block.text)
    with open(event, "w", encoding="utf-8") as file:
        json.dump(EVENT, file)
    if "fragment" in block.marks:
        done = run([program, "check", source])
    else:
        store = ["--store", os.path.join(folder, f"{block.place.replace('/', '-')}.db")]
        done = run([program, "run", source, "--event", event] + (store if "ctx." in block.text else []))
    if ("fails" in block.marks) != (done.returncode != 0):
        raise Failure(f"exit status {done.returncode}\n{done.stdout}{done.stderr}")
    printed = done.stdout + without_notices(done.stderr)
    if block.output is not None and printed != block.output:
        raise Failure(f"printed\n{printed}in place of\n{block.output}")


def check_json(program, block, folder):
    del program, folder
    json.loads(block.text)


def check_c(path, blocks, folder):
    """All of them, each under its own lines' numbers."""
    source = os.path.join(folder, "example.c")
    with open(source, "w", encoding="utf-8") as file:
        file.write('#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include "luau.h"\n')
        for block in reversed(blocks):
            file.write(f'#line {block.line + 1} "{path}"\n{block.text}')
    done = run([*os.environ.get("CC", "cc").split(), "-std=gnu11", "-fsyntax-only", "-Wall", "-Wno-unused", "-Werror",
                f"-I{ROOT}/src/luau", source])
    if done.returncode != 0:
        raise Failure(done.stderr)


def check_console(program, block, folder):
    """The program is called by its name, so it stands on the path under it."""
    marks = dict(mark.split("=", 1) for mark in block.marks)
    folder = os.path.join(folder, "console-" + os.path.basename(block.place.rsplit(":", 1)[0]))
    os.makedirs(os.path.join(folder, ".bin"), exist_ok=True)
    link = os.path.join(folder, ".bin", "template-worker")
    if not os.path.lexists(link):
        os.symlink(program, link)
        os.symlink(".bin", os.path.join(folder, "build")) # as in this project's folder after a build
    if "file" in marks:
        with open(os.path.join(folder, marks["file"]), "w", encoding="utf-8") as file:
            file.write(block.text)
        return
    if "needs" in marks and not shutil.which(marks["needs"]):
        return
    environment = {key: value for key, value in os.environ.items() if key != "TEMPLATE_WORKER_STORE"}
    environment["PATH"] = os.path.dirname(link) + os.pathsep + environment["PATH"]
    for part in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
        command, expected = part.split("\n", 1)
        done = run(["sh", "-c", command], cwd=folder, env=environment)
        printed = done.stdout + without_notices(done.stderr)
        pattern = ".*".join(re.escape(text) for text in TIME.sub("TIME", expected).split("..."))
        if done.returncode != 0 or not re.fullmatch(pattern, TIME.sub("TIME", printed)):
            raise Failure(f"$ {command}\nexit status {done.returncode}\n{printed}in place of\n{expected}")


CHECKS = {"luau": check_luau, "json": check_json, "console": check_console}


def documents():
    return [os.path.join("docs", name) for name in sorted(os.listdir(os.path.join(ROOT, "docs")))
            if name.endswith(".md")] + ["README.md", "CONTRIBUTING.md"]


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    program, chosen = os.path.abspath(sys.argv[1]), sys.argv[2:]
    count = failed = 0

    def attempt(place, check, *arguments):
        nonlocal count, failed
        count += 1
        try:
            check(*arguments)
        except (Failure, ValueError, subprocess.TimeoutExpired) as problem:
            failed += 1
            print(f"FAIL  {place}: {problem}")

    with tempfile.TemporaryDirectory(prefix="docs-") as folder:
        for path in documents():
            if chosen and os.path.basename(path) not in chosen:
                continue
            blocks = read_blocks(path)
            for block in blocks:
                if block.kind in CHECKS:
                    attempt(block.place, CHECKS[block.kind], program, block, folder)
            program_blocks = [block for block in blocks if block.kind == "c" and "fragment" not in block.marks]
            if program_blocks:
                attempt(path, check_c, path, program_blocks, folder)
    print(f"{count} examples, {failed} failed")
    return 1 if failed or (count == 0) else 0


if __name__ == "__main__":
    sys.exit(main())
