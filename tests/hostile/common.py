"""What the attacks on the server share: servers, the fifty quiet guilds, what must not be told."""

import contextlib
import importlib.util
import os
import re
import subprocess
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))


def load_http_runner():
    path = os.path.join(HERE, "..", "http", "run.py")
    spec = importlib.util.spec_from_file_location("http_run", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


http_run = load_http_runner()
Failure, Server, expect, FACTOR = http_run.Failure, http_run.Server, http_run.expect, http_run.FACTOR
STRATEGY = http_run.STRATEGY
# What a request may fail with besides.
PROBLEMS = (Failure, OSError, ValueError, KeyError, http_run.http.client.HTTPException)

CPU_MS, MEMORY_MIB, QUIET_GUILDS, AT_ONCE = int(250 * FACTOR), 4, 50, 8
TIMEOUT, MEMORY, ERROR, RESULT = ("execution_timeout", "memory_limit_exceeded", "runtime_error",
                                  "invalid_result")

# Any absolute path, a source file of ours, a C function's name, an address.
SECRETS = re.compile(r"(?<![\w:/.])/[a-z]+/[a-z]|src/|\.c\b:|\.h:\d|luau_|lua[A-Z]_|0x0000(55|56|7f)")


def start(program, *options):
    server = Server(program, options)
    server.write("alive.luau", "local _, ctx = ... ctx.store.n = (ctx.store.n or 0) + 1 return ctx.store.n")
    return server


KEPT = """
local _, ctx = ...
local n = (ctx.KV:get("n", {"quiet"}) or 0) + 1
ctx.KV:set("n", n, {"quiet"})
return n
"""


@contextlib.contextmanager
def lasting(program, *options):
    """A server with a store. Its `command` runs the program on that store."""
    with tempfile.TemporaryDirectory(prefix="hostile-") as folder:
        path = os.path.join(folder, "store.db")

        def command(*words, status=0):
            done = subprocess.run([program, *words, "--store", path], capture_output=True, text=True,
                                  timeout=120 * FACTOR, check=False)
            expect(done.returncode == status, f"{words}: exit {done.returncode}: {done.stdout}{done.stderr}")
            return done.stdout + done.stderr

        server = start(program, "--store", path, "--no-samples", *options)
        server.write("kept.luau", KEPT)
        server.command, server.folder_of_store, server.store = command, folder, path
        try:
            yield server
        finally:
            if server.process.poll() is None:
                server.ended_log = server.stop()
        command("store", "check")


class Quiet:
    """Fifty guilds that ask for little, from five threads, until they are stopped. The template counts
    how often a guild ran it: alive, in the VM; kept, in ctx.KV."""

    def __init__(self, server, template="alive"):
        self.server, self.stopping, self.problems, self.times = server, False, [], []
        self.template = template
        self.threads = [threading.Thread(target=self.ask, args=(i,)) for i in range(5)]
        for thread in self.threads:
            thread.start()

    def ask(self, part):
        connection = self.server.connect()
        mine = [str(100000 + i) for i in range(QUIET_GUILDS) if i % 5 == part]
        counts = dict.fromkeys(mine, 0)
        try:
            while not self.stopping:
                for guild in mine:
                    counts[guild] += 1
                    start = time.monotonic()
                    status, answer = self.server.execute(self.template, guild, None, connection)
                    self.times.append(time.monotonic() - start)
                    if status != 200 or answer["result"] != counts[guild]:
                        self.problems.append(f"guild {guild}: {status} {answer}")
                        return
                    time.sleep(0.001)
        except (OSError, ValueError, http_run.http.client.HTTPException) as problem:
            self.problems.append(f"{type(problem).__name__}: {problem}")
        finally:
            connection.close()

    def stop(self, what):
        self.stopping = True
        for thread in self.threads:
            thread.join()
        expect(not self.problems, f"quiet guilds: {self.problems[:3]}")
        times = sorted(self.times)
        print(f"    {len(times)} answers to quiet guilds beside {what}: median {times[len(times) // 2] * 1e3:.2f} ms, "
              f"99 % {times[int(len(times) * 0.99)] * 1e3:.1f} ms, longest {times[-1] * 1e3:.0f} ms")
        expect(times[-1] < 20 * FACTOR, "a quiet guild waited for an eternity")
