#!/usr/bin/env python3
"""What keys that expire cost: while none is due, and when very many are at once.

    bench/expiry.py [--program PATH] [--pending N] [--due N] [--guilds N] [--idle SECONDS]
                    [--strategy NAME] [--folder FOLDER]

Makes a store in FOLDER (a temporary one, on the disk of the temporary files) with PENDING keys of
GUILDS guilds that expire in a day (1,000,000 of 1,000), and prints

  - how long the server takes to start on it, beside an empty store;
  - its processor time while nothing is due, over IDLE seconds (30), from /proc/PID/stat: the looks
    for what other processes wrote, twice a second, are a part of it;
  - how long it takes to tell DUE keys (100,000) of all the guilds that expire at the same moment. They
    are written by this program, beside the server. Each is an event, a run of a template and a record
    that is deleted;
  - what POST /execute takes a guild without keys meanwhile, beside a quiet server: one caller, one
    connection; the time in this program is a part of it.

The keys are written into the file itself, not through the server, which would take longer than the
rest; `store check` is run at the end, so that they are such as the server would have made.
"""

import argparse
import http.client
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DAY_MS = 86400000
HEADERS = {"Content-Type": "application/json"}


def command(program, path, *words):
    subprocess.run([program, *words, "--store", path], check=True, stdout=subprocess.DEVNULL)


def make_store(program, folder, name):
    path = os.path.join(folder, name + ".db")
    for template, source, events in (("told", "return true", ["KeyExpiry[due]"]), ("quiet", "return 1", [])):
        with open(os.path.join(folder, template + ".luau"), "w", encoding="utf-8") as file:
            file.write(source)
        with open(os.path.join(folder, template + ".json"), "w", encoding="utf-8") as file:
            json.dump({"events": events}, file)
        command(program, path, "templates", "save", os.path.join(folder, template + ".luau"))
    return path


def add_keys(path, prefix, count, guilds, due_ms):
    """Keys that expire at due_ms(number), dealt to the guilds in turns. Returns the id before the first."""
    db = sqlite3.connect(path, timeout=60, isolation_level=None)
    now_ms = int(time.time() * 1000)
    db.execute("BEGIN IMMEDIATE")
    before = db.execute("SELECT coalesce(max(id), 0) FROM kv").fetchone()[0]
    keys = [f"{prefix}-{i:07}" for i in range(count)]
    size = len(keys[0]) + len("due") + len("true")
    ids = [(i % guilds + 1) << 22 for i in range(count)]
    db.executemany(
        "INSERT INTO kv (id, guild_id, key, scopes, bytes, created_ms, updated_ms, expires_ms, sequence, due_ms, value)"
        f" VALUES (?, ?, ?, '3:due,', {size}, {now_ms}, {now_ms}, ?4, 1, ?4, 'true')",
        ((before + 1 + i, ids[i], keys[i], due_ms(i)) for i in range(count)))
    db.executemany("INSERT INTO kv_scope (guild_id, scope, key, id) VALUES (?, 'due', ?, ?)",
                   ((ids[i], keys[i], before + 1 + i) for i in range(count)))
    db.executemany("INSERT INTO kv_usage (guild_id, records, bytes) VALUES (?, ?, ?) ON CONFLICT DO UPDATE"
                   " SET records = records + excluded.records, bytes = bytes + excluded.bytes",
                   (((guild + 1) << 22, n, n * size) for guild in range(guilds)
                    if (n := len(range(guild, count, guilds))) > 0))
    db.execute("COMMIT")
    db.close()
    return before


class Server:
    def __init__(self, program, path, strategy):
        self.log = tempfile.TemporaryFile()
        begun = time.monotonic()
        self.process = subprocess.Popen(
            [program, "serve", "--store", path, "--no-samples", "--port", "0", "--strategy", strategy],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self.log)
        while not (found := re.search(rb"listening on http://[^ ]*:(\d+)", self.read_log())):
            if self.process.poll() is not None:
                raise SystemExit(self.read_log().decode())
            time.sleep(0.001)
        self.start_seconds = time.monotonic() - begun
        self.port = int(found.group(1))

    def read_log(self):
        self.log.seek(0)
        return self.log.read()

    def cpu_seconds(self):
        """Of it and its children."""
        pids, total = [self.process.pid], 0
        for entry in os.listdir("/proc"):
            if entry.isdigit() and self.fields(entry)[1:2] == [str(self.process.pid)]:
                pids.append(entry)
        for pid in pids:
            total += sum(int(x) for x in self.fields(pid)[11:13])
        return total / os.sysconf("SC_CLK_TCK")

    @staticmethod
    def fields(pid):
        """Of /proc/PID/stat, from the state on."""
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                return file.read().rpartition(")")[2].split()
        except OSError:
            return []

    def memory_mib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as file:
            return int(re.search(r"VmHWM:\s+(\d+)", file.read()).group(1)) / 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(120) != 0:
            raise SystemExit(self.read_log().decode())
        self.log.close()


class QuietCaller(threading.Thread):
    """A guild that does a little, now and then."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.over, self.times_ms = port, threading.Event(), []
        self.start()

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        body = json.dumps({"template": "quiet", "event": {"name": "E"}, "context": {"guild_id": str(7)}})
        while not self.over.is_set():
            begun = time.perf_counter()
            connection.request("POST", "/execute", body, HEADERS)
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                raise SystemExit(f"the quiet guild: {response.status}")
            self.times_ms.append((time.perf_counter() - begun) * 1000)
            time.sleep(0.005)

    def end(self):
        self.over.set()
        self.join()
        times = sorted(self.times_ms)
        return (f"p50 {times[len(times) // 2]:.2f} ms, p99 {times[len(times) * 99 // 100]:.2f} ms,"
                f" worst {times[-1]:.1f} ms of {len(times)}")


def quiet_for(server, seconds):
    caller = QuietCaller(server.port)
    time.sleep(seconds)
    return caller.end()


def tell_many(server, path, options):
    caller = QuietCaller(server.port)
    begun = time.monotonic()
    at = time.time() + options.due / 20000 + 2
    before = add_keys(path, "soon", options.due, options.guilds, lambda i: int(at * 1000))
    print(f"written beside the server in {time.monotonic() - begun:.1f} s: {options.due} keys that expire at once")
    print(f"  a quiet guild meanwhile: {caller.end()}")
    time.sleep(max(0, at - time.time()))
    begun, cpu = time.monotonic(), server.cpu_seconds()
    caller = QuietCaller(server.port)
    db = sqlite3.connect(path, timeout=60, isolation_level=None)
    while db.execute("SELECT EXISTS (SELECT 1 FROM kv WHERE id > ?)", (before,)).fetchone()[0]:
        if time.monotonic() - begun > 600:
            raise SystemExit(server.read_log().decode()[-3000:])
        time.sleep(0.05)
    took = time.monotonic() - begun
    db.close()
    print(f"told and deleted in {took:.1f} s, {options.due / took:.0f} a second,"
          f" {server.cpu_seconds() - cpu:.1f} s of processor time; {server.memory_mib():.0f} MiB at most")
    print(f"  a quiet guild meanwhile: {caller.end()}")


def measure(options, folder):
    program = options.program
    server = Server(program, make_store(program, folder, "empty"), options.strategy)
    print(f"start on an empty store: {server.start_seconds * 1000:.0f} ms")
    server.stop()
    path = make_store(program, folder, "full")
    far_ms = int(time.time() * 1000) + DAY_MS
    add_keys(path, "later", options.pending, options.guilds, lambda i: far_ms + i)
    server = Server(program, path, options.strategy)
    print(f"start with {options.pending} keys to expire: {server.start_seconds * 1000:.0f} ms")
    time.sleep(2)
    cpu = server.cpu_seconds()
    time.sleep(options.idle)
    print(f"nothing due for {options.idle} s: {(server.cpu_seconds() - cpu) * 1000:.0f} ms of processor time")
    print(f"a quiet guild alone: {quiet_for(server, 5)}")
    tell_many(server, path, options)
    server.stop()
    command(program, path, "store", "check")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", default=os.path.join(ROOT, "build", "template-worker"))
    parser.add_argument("--pending", type=int, default=1000000)
    parser.add_argument("--due", type=int, default=100000)
    parser.add_argument("--guilds", type=int, default=1000)
    parser.add_argument("--idle", type=int, default=30)
    parser.add_argument("--strategy", default="thread-pool")
    parser.add_argument("--folder")
    options = parser.parse_args()
    options.program = os.path.abspath(options.program)
    folder = options.folder or tempfile.mkdtemp(prefix="expiry-")
    try:
        measure(options, folder)
    finally:
        if not options.folder:
            shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
