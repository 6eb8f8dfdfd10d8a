#!/usr/bin/env python3
"""run.py PROGRAM [NAME...]: what lasts, over servers that are killed with -9 and started again.

STRATEGY names the strategy of all servers; ROUNDS how often kill_expiries and kill_writes kill, and
stop_under_load stops (10).
"""

import collections
import contextlib
import importlib.util
import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROUNDS = int(os.environ.get("ROUNDS", "10"))
SPEC = importlib.util.spec_from_file_location("http_run", os.path.join(HERE, "..", "http", "run.py"))
http_run = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(http_run)
Failure, expect, FACTOR = http_run.Failure, http_run.expect, http_run.FACTOR
PROBLEMS = (Failure, OSError, ValueError, KeyError, http_run.http.client.HTTPException)

# Arms keys that expire within half a second, as many as asked; what is acknowledged is returned.
ARM = """
local event, ctx = ...
for i = 1, event.data.count do
    ctx.KV:set(`{event.data.name}-{i}`, {round = event.data.name}, {"due"}, event.data.at + i * 0.01)
end
return event.data.count
"""
# Notes each telling under a key of its own.
TELL = """
local event, ctx = ...
local typesext = require("@antiraid/typesext")
ctx.KV:set(`told {event.data.key} {typesext.randstring(12)}`, event.id, {"told"})
return true
"""
SET = """
local event, ctx = ...
ctx.KV:set(event.data.key, event.data.value, {"w"})
return true
"""
# All kinds of calls at once. What it returns for is on disk.
LOAD = """
local event, ctx = ...
local data = event.data
ctx.KV:set(data.key, data.value, {"w"})
ctx.KV:set(data.arm, data.value, {"due"}, data.at)
for _ = 1, 3 do
    task.spawn(pcall, ctx.KV.find, ctx.KV, "%", {"w"})
end
if data.save then
    pcall(ctx.Templates.save, ctx.Templates, "own", { source = `return {data.value}` })
end
return ctx.KV:get(data.key, {"w"}) ~= nil
"""


class StoreServer(http_run.Server):
    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.folder)


class Bench:
    """A folder for a store, and the program."""

    def __init__(self, program):
        self.program = program
        self.folder = tempfile.mkdtemp(prefix="store-")
        self.path = os.path.join(self.folder, "store.db")

    def save(self, files):
        """Files of templates of every guild."""
        folder = os.path.join(self.folder, "templates")
        os.makedirs(folder, exist_ok=True)
        for name, text in files.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                file.write(text)
        for name in files:
            if name.endswith(".luau"):
                self.command("templates", "save", os.path.join(folder, name))

    def serve(self, *options):
        return StoreServer(self.program, ("--store", self.path, "--no-samples", *options))

    def command(self, *words, status=0):
        done = subprocess.run([self.program, *words, "--store", self.path], capture_output=True, text=True,
                              timeout=120 * FACTOR, check=False)
        expect(done.returncode == status, f"{' '.join(words)}: exit {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def find(self, guild, scope):
        """Key -> value of all records of the guild with the scope."""
        records = json.loads(self.command("kv", "find", "%", "--guild", guild, "--scope", scope, "--json"))
        return {record["key"]: record["value"] for record in records}

    def close(self):
        shutil.rmtree(self.folder)


def meta(events, capabilities=("*",)):
    return json.dumps({"events": list(events), "capabilities": list(capabilities)})


def check_kill_expiries(bench):
    """Expiries that fall due while the server is killed again and again: none is lost, and who is told
    twice sees the same event id."""
    files = {"arm.luau": ARM, "tell.luau": TELL, "tell.json": meta(["KeyExpiry[due]"])}
    bench.save(files)
    armed, guilds = set(), [str(i << 22) for i in range(1, 5)]
    for number in range(ROUNDS):
        server = bench.serve()
        try:
            for guild in guilds:
                name = f"r{number}-{guild}"
                status, answer = server.execute("arm", guild, {"name": name, "count": 10, "at": time.time() + 0.05})
                expect(status == 200, f"{status} {answer}")
                armed.update((guild, f"{name}-{i}") for i in range(1, 11))
            time.sleep(random.uniform(0, 0.3))
        finally:
            server.kill()
    told = collections.defaultdict(set)
    tellings = 0
    server = bench.serve()
    try:
        until = time.monotonic() + 60 * FACTOR
        while True:
            left = sum(len(bench.find(guild, "due")) for guild in guilds)
            if left == 0:
                break
            expect(time.monotonic() < until, f"{left} expiries are left")
            time.sleep(0.2)
        for guild in guilds:
            for key, event_id in bench.find(guild, "told").items():
                told[guild, key.split(" ")[1]].add(event_id)
                tellings += 1
    finally:
        server.stop()
    print(f"    {ROUNDS} kills, {len(armed)} expiries, {tellings} tellings")
    expect(set(told) == armed, f"lost: {list(armed - set(told))[:3]}, made up: {list(set(told) - armed)[:3]}")
    expect(all(len(ids) == 1 for ids in told.values()), "one occasion, two event ids")
    bench.command("store", "check")


def check_told_once(bench):
    """While the server lives, each expiry is told exactly once."""
    bench.save({"arm.luau": ARM, "tell.luau": TELL, "tell.json": meta(["KeyExpiry[due]"])})
    server = bench.serve()
    try:
        for guild in ("1", "2", "3"):
            server.execute("arm", guild, {"name": "k", "count": 200, "at": time.time() - 3})
        until = time.monotonic() + 60 * FACTOR
        while any(bench.find(guild, "due") for guild in ("1", "2", "3")):
            expect(time.monotonic() < until, "expiries are left")
            time.sleep(0.1)
        for guild in ("1", "2", "3"):
            keys = [key.split(" ")[1] for key in bench.find(guild, "told")]
            expect(sorted(keys) == sorted(f"k-{i}" for i in range(1, 201)), f"{len(keys)} tellings")
    finally:
        server.stop()


def write_until(server, guild, acknowledged, stop):
    """Sets keys one after the other, and notes what was acknowledged."""
    try:
        connection = server.connect()
        number = 0
        while not stop.is_set():
            number += 1
            key = f"{guild}-{number % 20}"
            status, _ = server.execute("set", guild, {"key": key, "value": number}, connection)
            if status == 200:
                acknowledged[guild, key] = number
    except PROBLEMS:
        pass


def check_kill_writes(bench):
    """What a template was told is written is there after kill -9."""
    bench.save({"set.luau": SET})
    total = 0
    for _ in range(ROUNDS):
        acknowledged, stop = {}, threading.Event()
        server = bench.serve()
        threads = [threading.Thread(target=write_until, args=(server, str(i), acknowledged, stop))
                   for i in range(1, 7)]
        for thread in threads:
            thread.start()
        time.sleep(random.uniform(0.05, 0.4))
        server.kill()
        stop.set()
        for thread in threads:
            thread.join()
        for guild in range(1, 7):
            found = bench.find(str(guild), "w") if acknowledged else {}
            for (owner, key), number in acknowledged.items():
                if owner == str(guild):
                    expect(found.get(key, 0) >= number or (found[key] % 20 == number % 20 and found[key] > number),
                           f"{key}: {number} was acknowledged, {found.get(key)} is there")
        total += len(acknowledged)
    print(f"    {ROUNDS} kills, {total} keys looked at")
    bench.command("store", "check")


class Caller(threading.Thread):
    """Asks one thing after the other until the server is gone; notes what was acknowledged."""

    def __init__(self, server, number, first, stop_sent):
        super().__init__()
        self.server, self.number, self.first, self.stop_sent = server, number, first, stop_sent
        self.written, self.armed, self.unanswered = {}, set(), []
        self.start()

    def ask(self, connection, count):
        guild = str(self.number if count % 3 else 1000 * self.number + count % 1000) # a new guild: a look-up
        key, arm = f"{self.number}-{count % 20}", f"{self.server.port}-{self.number}-{count}"
        status, _ = self.server.execute("load", guild, {"key": key, "value": count, "arm": arm, "save": count % 10 == 0,
                                                        "at": time.time() + random.uniform(-0.1, 0.3)}, connection)
        if status == 200:
            self.written[guild, key] = count
            self.armed.add((guild, arm))

    def run(self):
        count, connection = self.first, self.server.connect()
        while True:
            count += 1
            before = not self.stop_sent.is_set()
            try:
                self.ask(connection, count)
            except ConnectionRefusedError:
                return
            except PROBLEMS as problem:
                # A kept connection may be closed under a request that was sent too late.
                late = not before and isinstance(problem, (ConnectionError, http_run.http.client.RemoteDisconnected))
                if not late:
                    self.unanswered.append(f"{type(problem).__name__}: {problem}")
                return


def wait_for_tellings(bench, armed):
    """Every expiry is told, none under two event ids."""
    told, guilds = collections.defaultdict(set), {guild for guild, _ in armed}
    until = time.monotonic() + 60 * FACTOR
    while any(bench.find(guild, "due") for guild in guilds):
        expect(time.monotonic() < until, "expiries are left")
        time.sleep(0.2)
    for guild in guilds:
        for key, event_id in bench.find(guild, "told").items():
            told[guild, key.split(" ")[1]].add(event_id)
    expect(set(told) >= armed, f"lost: {list(armed - set(told))[:3]}")
    expect(all(len(ids) == 1 for ids in told.values()), "one occasion, two event ids")


def stop_once(bench, first, twice):
    """The callers, which count from there."""
    stop_sent = threading.Event()
    server = bench.serve()
    callers = [Caller(server, number, first, stop_sent) for number in range(1, 9)]
    time.sleep(random.uniform(0, 0.6))
    server.process.send_signal(signal.SIGTERM)
    stop_sent.set()
    if twice:
        time.sleep(random.uniform(0, 0.1))
    if twice or server.process.poll() is not None:
        server.stop()
    else:
        try:
            server.process.wait(60 * FACTOR)
        except subprocess.TimeoutExpired:
            pass
        server.stop(0)
    for caller in callers:
        caller.join()
    # A second signal leaves no time for what was sent and not read yet.
    expect(twice or not any(caller.unanswered for caller in callers), f"{[c.unanswered for c in callers]}")
    return callers


def check_stop_under_load(bench):
    """SIGTERM, once or twice, at any moment: the server ends well, who asked before has an answer, what was
    acknowledged is there, and what was armed is told."""
    bench.save({"load.luau": LOAD, "tell.luau": TELL, "tell.json": meta(["KeyExpiry[due]"])})
    armed = set()
    for number in range(ROUNDS):
        latest = {}
        for caller in stop_once(bench, number * 1000000, number % 3 == 2):
            armed |= caller.armed
            latest.update(caller.written)
        for guild in {guild for guild, _ in latest if len(guild) < 3}:
            found = bench.find(guild, "w")
            for key in {key for owner, key in latest if owner == guild}:
                expect(found.get(key, 0) >= latest[guild, key], f"{key}: {latest[guild, key]} was acknowledged")
    server = bench.serve()
    try:
        wait_for_tellings(bench, {place for place in armed if len(place[0]) < 3})
    finally:
        server.stop()
    print(f"    {ROUNDS} stops, {len(armed)} requests acknowledged")
    bench.command("store", "check")


@contextlib.contextmanager
def locked(bench, _):
    """Another process writes, and takes its time."""
    other = sqlite3.connect(bench.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield "locked by another process"
    finally:
        other.execute("ROLLBACK")
        other.close()


@contextlib.contextmanager
def moved_away(bench, _):
    os.rename(bench.path, bench.path + ".away")
    try:
        yield "the store's file or disk fails"
    finally:
        os.rename(bench.path + ".away", bench.path)


@contextlib.contextmanager
def replaced(bench, _):
    """By an older copy, as by somebody who restores a backup under a running server."""
    os.rename(bench.path, bench.path + ".away")
    shutil.copy(bench.path + ".away", bench.path)
    try:
        yield "the store's file or disk fails"
    finally:
        os.rename(bench.path + ".away", bench.path)


@contextlib.contextmanager
def full(bench, server):
    """The files of the server may not grow."""
    size = max(os.stat(path).st_size for path in (bench.path, bench.path + "-wal", server.log.name))
    before = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size + 100000, before[1]))
    try:
        yield "the store's disk is full"
    finally:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, before)


def write_through(server, guild, acknowledged, problems, stop):
    """Sets keys whatever happens; notes what was acknowledged, and which errors there were."""
    connection, number = server.connect(), 0
    value = "x" * 100000
    while not stop.is_set():
        number += 1
        key = f"{guild}-{number % 40}"
        status, answer = server.execute("set", guild, {"key": key, "value": [number, value]}, connection)
        if status == 200:
            acknowledged[guild, key] = number
        else:
            problems[(status, answer.get("message", ""))] += 1
        time.sleep(0.01)


def meet_trouble(bench, server, trouble):
    """What works meanwhile, what does not and what it says; and all of it afterwards."""
    acknowledged, problems, stop, name = {}, collections.Counter(), threading.Event(), trouble.__name__
    writers = [threading.Thread(target=write_through, args=(server, guild, acknowledged, problems, stop))
               for guild in ("11", "12", "13")]
    status, answer = server.execute("arm", "9", {"name": name, "count": 300, "at": time.time() + 0.5})
    expect(status == 200, f"{answer}")
    with trouble(bench, server) as text:
        for writer in writers:
            writer.start()
        until = time.monotonic() + 60 * FACTOR
        while not any(text in message for _, message in problems):
            expect(time.monotonic() < until, f"{name}: {problems}")
            status, answer = server.execute("echo", "9", 7)
            expect(status == 200 and answer["result"] == 7, f"{name}, templates in memory: {answer}")
            time.sleep(0.05)
        time.sleep(3) # and everything that is due is, too
        expect(server.execute("lasting", "9")[1].get("result") == 7, f"{name}: a template of the store, in memory")
    until = time.monotonic() + 120 * FACTOR
    while server.execute("set", "8", {"key": name, "value": 1})[0] != 200:
        expect(time.monotonic() < until, f"{name} is over, and nothing can be written")
        time.sleep(0.1)
    stop.set()
    for writer in writers:
        writer.join()
    expect({status for status, _ in problems} == {422}, f"{name}: {problems}")
    while bench.find("9", "due"):
        expect(time.monotonic() < until, f"{name}: expiries are left: {len(bench.find('9', 'due'))}\n{server.read_log()}")
        time.sleep(0.2)
    told = collections.Counter(key.split(" ")[1] for key in bench.find("9", "told"))
    expect({f"{name}-{i}" for i in range(1, 301)} <= set(told), f"{name}: {len(told)} tellings")
    for guild in ("11", "12", "13"):
        found = bench.find(guild, "w")
        for key in {key for owner, key in acknowledged if owner == guild}:
            expect(found[key][0] >= acknowledged[guild, key], f"{name}: {key} was acknowledged")
    return problems


def check_disk_trouble(bench):
    """A disk that is full, a file that is locked or gone: templates in memory serve, errors say what it is,
    what was acknowledged stays, what falls due is told afterwards, and the log is short."""
    bench.save({"set.luau": SET, "arm.luau": ARM, "tell.luau": TELL, "tell.json": meta(["KeyExpiry[due]"]),
                "lasting.luau": "return 7"})
    server = bench.serve()
    log = ""
    try:
        for guild in ("8", "9", "11", "12", "13"):
            for name in ("set", "lasting", "echo"):
                server.execute(name, guild, {"key": "first", "value": [0]})
        for trouble in (locked, moved_away, replaced, full):
            begun = len(server.read_log())
            problems = meet_trouble(bench, server, trouble)
            lines = [line for line in server.read_log()[begun:].splitlines() if line]
            print(f"    {trouble.__name__}: {sum(problems.values())} calls failed, {len(lines)} lines in the log")
            expect(any("a write failed" in line for line in lines), f"{lines}")
            expect(any("writes succeed again" in line for line in lines), f"{lines}")
            expect(len(lines) < 40, f"{trouble.__name__}: {len(lines)} lines: {lines[:60]}")
    finally:
        log = server.stop()
    expect("stopped" in log, log[-2000:])
    bench.command("store", "check")


# What a handler may do with its own key, and to itself.
HANDLERS = {
    "rearms": """
        local event, ctx = ...
        local told = (ctx.KV:get("rearms", {"count"}) or 0) + 1
        ctx.KV:set("rearms", told, {"count"})
        if told < 3 then ctx.KV:set(event.data.key, told, {"rearms"}, os.time() - 1) end""",
    "deletes": 'local event, ctx = ... ctx.KV:delete(event.data.key, {"deletes"})',
    "errs": 'error("this is why")',
    "slow": "task.wait(3600)",
    "breaks": 'local all = {} while true do table.insert(all, string.rep("x", 1e6) .. #all) end',
}
PREPARE = """
local event, ctx = ...
for _, name in event.data do ctx.KV:set("key", name, {name}, os.time() - 1) end
"""


def check_handlers(bench):
    """Handlers that arm their key again, delete it, fail, take too long, break their VM: what they are told,
    and what the log says when it is given up."""
    files = {name + ".luau": text for name, text in HANDLERS.items()}
    files.update({name + ".json": meta([f"KeyExpiry[{name}]"]) for name in HANDLERS})
    bench.save({"prepare.luau": PREPARE})
    server = bench.serve()
    try:
        for guild, name in enumerate(HANDLERS, 1):
            expect(server.execute("prepare", str(guild), [name])[0] == 200, name)
        until = time.monotonic() + 60 * FACTOR
        while any(bench.find(str(guild), name) for guild, name in enumerate(HANDLERS, 1)):
            expect(time.monotonic() < until, "what nobody listens to is gone when it is due")
            time.sleep(0.1)
    finally:
        server.stop()
    bench.save(files)
    server = bench.serve("--wall-limit", "300")
    try:
        for guild, name in enumerate(HANDLERS, 1):
            server.execute("prepare", str(guild), [name])
        until = time.monotonic() + 60 * FACTOR
        while bench.find("1", "rearms") or bench.find("2", "deletes"):
            expect(time.monotonic() < until, "they are not told")
            time.sleep(0.1)
        expect(bench.find("1", "count") == {"rearms": 3}, "told as often as it was armed")
        server.until_log("guild 3: the expiry of the key with id [0-9]+ failed and is told again in 1 s, 12 times in "
                         "all at most: template errs, version 1: [^\n]*this is why")
    finally:
        server.stop()
    db = sqlite3.connect(bench.path)
    count = db.execute("UPDATE kv SET attempts = 11, due_ms = 1 WHERE scopes IN ('4:errs,', '4:slow,', '6:breaks,')")
    expect(count.rowcount == 3, "what failed stays")
    db.commit()
    db.close()
    server = bench.serve("--wall-limit", "300")
    try:
        for guild, name, why in (("3", "errs", "this is why"), ("4", "slow", "0.3 s"), ("5", "breaks", "memory")):
            line = f"guild {guild}: the expiry of the key with id [0-9]+ failed 12 times and is given up: " \
                   f"template {name}, version 1: [^\n]*{why}"
            server.until_log(line)
            expect(bench.find(guild, name) == {"key": name}, f"{name}: the record stays")
    finally:
        server.stop()
    bench.command("store", "check")


def check_resume_and_startup(bench):
    """Keys with `resume` are told when the server starts, and when a VM is made anew."""
    note = """
local event, ctx = ...
ctx.KV:set(`{event.name} {event.data.key or event.data.reason}`, event.base_name, {"seen"})
"""
    bench.save({
        "keep.luau": 'local _, ctx = ... ctx.KV:set("kept", 1, {"r"}, nil, true) return true',
        "note.luau": note,
        "note.json": meta(["KeyResume[r]", "OnStartup"]),
    })

    def wait_for(keys):
        until = time.monotonic() + 30 * FACTOR
        while not keys <= set(bench.find("7", "seen")):
            expect(time.monotonic() < until, f"{bench.find('7', 'seen')}, expected {keys}")
            time.sleep(0.05)

    server = bench.serve()
    try:
        expect(server.execute("keep", "7")[0] == 200, "keep")
        wait_for({"OnStartup first run"})
        expect("KeyResume kept" not in bench.find("7", "seen"), "resumed without a reason")
        expect(server.ask("DELETE", "/guilds/7/vm")[0] in (200, 202), "destroy")
        expect(server.execute("keep", "7")[0] == 200, "keep")
        wait_for({"KeyResume kept", "OnStartup explicit destroy"})
        bench.command("kv", "delete", "KeyResume kept", "--guild", "7", "--scope", "seen")
    finally:
        server.stop()
    server = bench.serve()
    try:
        wait_for({"KeyResume kept"}) # nobody asked for anything
    finally:
        server.stop()


def check_templates(bench):
    """Saved by the command line, seen by a server that runs; samples are there in a new store."""
    server = http_run.Server(bench.program, ("--store", bench.path))
    try:
        status, answer = server.execute("antispam", "5", {"author": {"id": "1"}})
        expect(status == 200 and answer["result"] is None, f"{status} {answer}")
        path = os.path.join(bench.folder, "mine.luau")
        for version in (1, 2):
            with open(path, "w", encoding="utf-8") as file:
                file.write(f"return {version}")
            bench.command("templates", "save", path, "--guild", "5")
            until = time.monotonic() + 30 * FACTOR
            while server.execute("mine", "5")[1].get("result") != version:
                expect(time.monotonic() < until, f"version {version} is not seen")
                time.sleep(0.05)
        expect(server.execute("mine", "6")[0] == 404, "another guild's template")
        with open(path, "w", encoding="utf-8") as file:
            file.write("return +")
        bench.command("templates", "save", path, "--guild", "5", status=1)
        expect(server.execute("mine", "5")[1]["result"] == 2, "the old version serves")
    finally:
        server.stop()


def check_second_server(bench):
    """Two servers on one store: the second says what is wrong."""
    server = bench.serve()
    try:
        done = subprocess.run([bench.program, "serve", "--store", bench.path, "--port", "0"], capture_output=True,
                              text=True, timeout=60 * FACTOR, check=False)
        expect(done.returncode == 1 and "another server" in done.stderr, done.stderr)
    finally:
        server.stop()


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    program, names, failed = os.path.abspath(sys.argv[1]), sys.argv[2:], 0
    checks = [check_templates, check_told_once, check_resume_and_startup, check_second_server, check_kill_writes,
              check_kill_expiries, check_stop_under_load, check_disk_trouble, check_handlers]
    for check in checks:
        title = check.__name__[6:]
        if names and title not in names:
            continue
        begun = time.monotonic()
        bench = Bench(program)
        try:
            check(bench)
            print(f"ok    {title} ({time.monotonic() - begun:.0f} s)")
        except PROBLEMS as problem:
            failed += 1
            print(f"FAIL  {title}: {type(problem).__name__}: {problem}")
        finally:
            bench.close()
        sys.stdout.flush()
    print(f"{failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
