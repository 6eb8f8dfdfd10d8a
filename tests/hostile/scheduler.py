"""Attacks on what guilds share, the scheduler, the mailboxes and the log (threats B, D and E), and what a template
can do to itself with its own threads."""

import concurrent.futures
import json
import re
import threading
import time

from common import ERROR, FACTOR, MEMORY, TIMEOUT, Quiet, expect, start

BROKEN, FULL = "vm_broken", "queue_full"


def ask(server, template, guild, data=None, connection=None, **more):
    """The code and the answer."""
    status, answer = server.execute(template, guild, data, connection, **more)
    code = answer.get("code", "ok")
    expect((status == 200) == (code == "ok"), f"{status} {answer}")
    return code, answer


def result(server, template, guild, data=None, connection=None):
    code, answer = ask(server, template, guild, data, connection)
    expect(code == "ok", f"{template}: {answer}")
    return answer["result"]


def at_once(count, function, *lists):
    """The results of function for each of the lists' entries, from so many threads."""
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(function, *lists))


def log_lines(log):
    return [json.loads(line) for line in log.splitlines() if "ASan doesn't fully support" not in line]


# ---- a guild's own threads ---------------------------------------------------------------------------

# Each ends with "ok", or with what was wrong. `fails(text, f, ...)`: it raises an error with text in it.
GAMES = {
    "self": "fails('cancel itself', task.cancel, coroutine.running())",
    "parent": """
        local main, problem = coroutine.running(), nil
        task.spawn(function() problem = {pcall(task.cancel, main)} end)
        assert(problem[1] == false, 'a parent was cancelled')""",
    "dead": """
        local t = task.spawn(function() end)
        assert(coroutine.status(t) == 'dead')
        task.cancel(t) task.cancel(t)
        fails('dead', task.spawn, t) fails('dead', task.defer, t) fails('dead', task.delay, 0, t)""",
    "never started": """
        local ran = false
        local t = coroutine.create(function() ran = true end)
        task.cancel(t)
        assert(coroutine.status(t) == 'dead' and not ran)""",
    "queued": """
        local ran = 0
        local t = task.defer(function() ran += 1 end)
        task.cancel(t) task.cancel(t)
        task.wait() task.wait()
        assert(ran == 0, 'it ran')""",
    "timed": """
        local ran = 0
        local t = task.delay(0.01, function() ran += 1 end)
        task.cancel(t)
        task.wait(0.05)
        assert(ran == 0, 'it ran')""",
    "waiting": """
        local steps = 0
        local t = task.spawn(function() steps += 1 task.wait(0.01) steps += 1 end)
        task.cancel(t)
        task.wait(0.05)
        assert(steps == 1 and coroutine.status(t) == 'dead')""",
    "waiting under pcall": """
        local steps = {}
        local t = task.spawn(function()
            steps[1] = 'in' steps[2] = pcall(task.wait, 0.01) steps[3] = 'went on'
        end)
        task.cancel(t)
        task.wait(0.05)
        assert(steps[1] == 'in' and steps[3] == nil, 'pcall outlived the cancel')""",
    "by a sibling": """
        local ran = false
        local t = task.delay(0.02, function() ran = true end)
        task.delay(0.01, task.cancel, t)
        task.wait(0.05)
        assert(not ran)""",
    "resumed by hand": """
        local woken = 0
        local t = coroutine.create(function() task.wait(0.01) woken += 1 end)
        coroutine.resume(t) coroutine.resume(t)
        assert(woken == 1)
        task.wait(0.05)
        assert(woken == 1, 'it woke twice')""",
    "deferred twice": """
        local got = {}
        local t = coroutine.create(function(...) got[#got + 1] = {...} end)
        task.defer(t, 1) pcall(task.defer, t, 2)
        task.wait() task.wait()
        assert(#got == 1, #got)""",
    "closed by hand": """
        local t = task.delay(0.01, function() error('ran') end)
        coroutine.close(t)
        task.wait(0.05)""",
    "durations": """
        fails('finite', task.wait, 0 / 0) fails('finite', task.wait, math.huge) fails('finite', task.delay, -math.huge, print)
        assert(task.wait(-5) >= 0) assert(task.wait(-1e300) >= 0)""",
    "arguments": """
        fails('function or thread', task.spawn, 1) fails('function or thread', task.defer, {})
        fails('', task.cancel, print) fails('', task.delay, print) fails('', task.wait, {})""",
    "no yields across": """
        fails('yield', table.sort, {3, 2, 1}, function() task.wait() end)
        fails('yield', string.gsub, 'x', '.', function() task.wait() end)
        local m = setmetatable({}, {__index = function() task.wait() end})
        pcall(function() return m.x end)""",
    "many": """
        local done, threads = 0, {}
        for i = 1, 400 do threads[i] = task.delay(i % 7 / 100, function() done += 1 end) end
        for i = 1, 400, 2 do task.cancel(threads[i]) end
        task.wait(0.3)
        assert(done == 200, done)""",
}
FAILS = """
local function fails(text, f, ...)
    local ok, message = pcall(f, ...)
    assert(not ok, 'no error')
    assert(string.find(tostring(message), text, 1, true), message)
end
"""


def check_games(program, names):
    """E05: what task.cancel and its relatives are asked to do that they must not."""
    del names
    server, failed = start(program), 0
    server.write("play.luau", "local event = ... assert(loadstring(event.data, '=game'))() return 'ok'")
    try:
        for i, (name, source) in enumerate(GAMES.items()):
            code, answer = ask(server, "play", str(1 + i), FAILS + source)
            if answer.get("result") != "ok":
                failed += 1
                print(f"FAIL  game '{name}': {code} {answer.get('message')}")
            expect(result(server, "alive", str(1 + i)) == 1, f"game '{name}': afterwards")
    finally:
        server.stop()
    return failed


def check_floods_of_threads(program, names):
    """E01, B11: more tasks than may be are an error; those there are go with the VM."""
    del names
    server = start(program, "--tasks", "500", "--memory-limit", "8")
    server.write("flood.luau", "for i = 1, 1e7 do task.delay(1e6, print) end")
    server.write("spawns.luau", "for i = 1, 1e7 do task.spawn(function() task.wait(1e6) end) end")
    server.write("coroutines.luau", "for i = 1, 1e7 do coroutine.wrap(task.wait)(1e6) end")
    server.write("fill.luau", "local n = 0 while pcall(task.delay, 1e6, print) do n += 1 end return n")
    server.write("grow.luau", "local t = {} while true do t[#t + 1] = {} end")
    try:
        for guild, template in (("1", "flood"), ("2", "spawns"), ("3", "coroutines")):
            for _ in range(2):
                code, answer = ask(server, template, guild)
                expect(code == ERROR and "too many tasks" in answer["message"] and "500" in answer["message"],
                       f"{template}: {answer}")
            expect([result(server, "alive", guild) for _ in range(3)] == [1, 2, 3], "the VM is another")
            expect(result(server, "fill", guild) == 0, "there is room for more")
        expect(result(server, "fill", "4") == 500, "room at first")
        expect(ask(server, "grow", "4")[0] == MEMORY, "grow")
        expect(result(server, "alive", "4") == 1 and result(server, "fill", "4") == 500, "room in a new VM")
    finally:
        server.stop()
    return 0


LOOPS = {
    "defer": "local function f() task.defer(f) end f()",
    "delay": "local function f() task.delay(0, f) end f()",
    "wait": "task.spawn(function() while true do task.wait(0) end end)",
    "wait in coroutine": "coroutine.wrap(function() while true do task.wait() end end)()",
    "spawn and wait": "task.spawn(function() while true do task.spawn(task.wait) task.wait() end end)",
    "cancel": "task.spawn(function() while true do task.cancel(task.delay(1, print)) task.wait() end end)",
    # A21: almost a slice, and then a rest
    "just in time": ("task.spawn(function() while true do local x = 0 for i = 1, 20000 do x += i end task.wait() end "
                     "end)"),
}


def check_loops_without_delay(program, names):
    """E03, A21: they take turns with the others, and end with the time of their run."""
    del names
    server = start(program, "--wall-limit", str(int(2500 * FACTOR)), "--memory-limit", "4")
    for name, source in LOOPS.items():
        server.write(f"waits-{name.replace(' ', '-')}.luau", source + " task.wait(1e6)")
        server.write(f"leaves-{name.replace(' ', '-')}.luau", source + " return 'left'")
    try:
        quiet = Quiet(server)
        work = [(kind, name, str(1 + 100 * i + j)) for i, kind in enumerate(("waits", "leaves"))
                for j, name in enumerate([*LOOPS] * 4)]

        def loop(kind, name, guild):
            expect(result(server, "alive", guild) == 1, "before")
            code, answer = ask(server, f"{kind}-{name.replace(' ', '-')}", guild)
            if kind == "waits":
                expect(code == TIMEOUT and "time limit" in answer["message"], f"{name}: {answer}")
                expect(result(server, "alive", guild) == 1, f"{name}: the old VM")
                return
            expect(answer.get("result") == "left", f"{name}: {answer}")
            before = time.monotonic()
            while time.monotonic() - before < 4 * FACTOR: # others of the guild are served, too
                result(server, "alive", guild)
                time.sleep(0.2)
            expect(result(server, "alive", guild) > 3, f"{name}: the VM did not live")

        at_once(len(work), lambda job: loop(*job), work)
        quiet.stop(f"{len(work)} loops without a delay")
    finally:
        log = server.stop()
    ended = {line["guild_id"] for line in log_lines(log) if "background were ended" in line["message"]}
    left = {guild for kind, _, guild in work if kind == "leaves"}
    expect(left <= ended, f"no word of the end of {sorted(left - ended)}")
    return 0


def check_never_finishing(program, names):
    """E07: who waits for what nobody does is told at once, who waits for long when the time is up."""
    del names
    server = start(program, "--wall-limit", str(int(1000 * FACTOR)))
    hopeless = {
        "yield": "coroutine.yield()",
        "yield-again": "for i = 1, 10 do task.wait() end coroutine.yield(1, 2, 3)",
        "yield-in-pcall": "pcall(coroutine.yield)",
        "cancelled-friend": ("local me = coroutine.running() local t = task.delay(1e3, function() task.spawn(me) end) "
                             "task.cancel(t) coroutine.yield()"),
        "module/init": "return require('./part')",
    }
    long = {
        "waits": "task.wait(1e6)",
        "loops": "while true do task.wait(0.05) end",
        "friend": ("local me = coroutine.running() task.delay(1e6, function() task.spawn(me) end) coroutine.yield()"),
        "waits-in-pcall": "while true do pcall(task.wait, 1e6) end",
    }
    for name, source in {**hopeless, **long, "module/part": "coroutine.yield() return 1"}.items():
        server.write(name + ".luau", source)
    try:
        for i, name in enumerate(hopeless):
            guild = str(1 + i)
            code, answer = ask(server, name.split("/")[0], guild)
            expect(code == ERROR and "nothing would ever resume it" in answer["message"], f"{name}: {answer}")
            expect(result(server, "alive", guild) == 1, "afterwards")
        for i, name in enumerate(long):
            guild = str(100 + i)
            result(server, "alive", guild)
            code, answer = ask(server, name, guild)
            expect(code == TIMEOUT and answer["message"].startswith("time limit of"), f"{name}: {answer}")
            expect(answer.get("line", 1) == 1, f"{name}: {answer}")
            expect(result(server, "alive", guild) == 1, f"{name}: not a new VM")
    finally:
        server.stop()
    return 0


# ---- between guilds ------------------------------------------------------------------------------------

def check_timers_of_one_instant(program, names):
    """E11: many guilds, many timers, one instant."""
    del names
    guilds, timers = 150, 100
    server = start(program)
    server.write("timers.luau", f"""
        local done, late, main = 0, 0, coroutine.running()
        for i = 1, {timers} do
            task.spawn(function()
                late = math.max(late, task.wait(0.5) - 0.5)
                done += 1
                if done == {timers} then task.spawn(main) end
            end)
        end
        coroutine.yield()
        return {{done, late}}""")
    try:
        quiet = Quiet(server)
        got = at_once(guilds, lambda guild: result(server, "timers", str(guild)), range(1, guilds + 1))
        expect(all(done == timers for done, _ in got), f"{got}")
        print(f"    {guilds} guilds with {timers} timers each: at most {max(late for _, late in got) * 1e3:.0f} ms late")
        quiet.stop("timers of one instant")
    finally:
        server.stop()
    return 0


def check_cold_guilds(program, names):
    """E13: a guild after the other, round and round, while idle VMs are ended."""
    del names
    guilds, rounds = int(4000 / FACTOR), 2
    server = start(program, "--idle-destroy", "1")
    try:
        def visit(part):
            connection = server.connect()
            for _ in range(rounds):
                for guild in range(1 + part, guilds + 1, 4):
                    expect(result(server, "alive", str(guild), None, connection) in (1, 2), "the count")
            connection.close()

        begun = time.monotonic()
        at_once(4, visit, range(4))
        took = time.monotonic() - begun
        expect(result(server, "alive", str(guilds + 1)) == 1, "another guild")
        print(f"    {guilds * rounds} visits to cold guilds: {took / guilds / rounds * 1e6:.0f} us each")
    finally:
        server.stop()
    return 0


def check_one_vm(program, names):
    """D15: events that find no VM at the same time make one."""
    del names
    server = start(program)
    try:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for guild in range(1, int(200 / FACTOR)):
                jobs = [pool.submit(result, server, "alive", str(guild)) for _ in range(8)]
                got = sorted(job.result() for job in jobs)
                expect(got == list(range(1, 9)), f"guild {guild}: {got}")
    finally:
        server.stop()
    return 0


def check_random_numbers(program, names):
    """D03: no two VMs have the same ones, and none can seed another's."""
    del names
    first = set()
    for _ in range(2):
        server = start(program)
        server.write("random.luau", "return {math.random(), math.random(1, 2^31 - 1)}")
        server.write("seeds.luau", "math.randomseed(1) return {math.random(), math.random()}")
        try:
            seeded = result(server, "seeds", "1000")
            expect(result(server, "seeds", "1001") == seeded, "a seed means nothing")
            for guild in range(1, 51):
                result(server, "seeds", "1000")
                pair = tuple(result(server, "random", str(guild)))
                expect(pair not in first and pair[0] not in seeded, f"{pair} again")
                first.add(pair)
        finally:
            server.stop()
    return 0


def check_forged_lines(program, names):
    """D11: what a template prints, or dies of, in the background stays one line with its guild's name."""
    del names
    forged = '\\n{\\"level\\":\\"error\\",\\"guild_id\\":\\"1\\",\\"message\\":\\"forged\\"}\\r\\27[31m\\0\\255'
    server = start(program)
    server.write("forge.luau", f"print('{forged}') task.defer(error, '{forged}') task.defer(warn, '{forged}') "
                               f"task.delay(0.01, error, setmetatable({{}}, {{__tostring = function() return '{forged}' "
                               "end})) task.wait(0.05)")
    try:
        result(server, "forge", "77")
    finally:
        log = server.stop()
    lines = log_lines(log)
    expect(not any(line.get("guild_id") == "1" for line in lines), "a forged line")
    mine = [line for line in lines if line.get("guild_id") == "77"]
    expect(len(mine) == 4 and all(line["template"] == "forge" for line in mine), f"{mine}")
    expect("\x1b" not in log and "\0" not in log, "control characters")
    return 0


def check_background_logs(program, names):
    """B21: floods of lines from threads in the background, with and without errors, are cut."""
    del names
    seconds = 3
    server = start(program, "--wall-limit", str(int(seconds * 1000 * FACTOR)))
    server.write("prints.luau", "task.defer(function() while true do for i = 1, 100 do print(('x'):rep(1e4)) end task.wait() "
                                "end end)")
    server.write("errors.luau", "local function f() task.defer(f) error(('e'):rep(1e4)) end task.defer(f)")
    try:
        quiet = Quiet(server)
        for guild in range(1, 11):
            result(server, "prints" if guild % 2 else "errors", str(guild))
        time.sleep((seconds + 1) * FACTOR)
        quiet.stop("ten floods of lines")
    finally:
        log = server.stop()
    lines = log_lines(log)
    for guild in range(1, 11):
        mine = [line["message"] for line in lines if line.get("guild_id") == str(guild)]
        most = 110 * (seconds + 3) * FACTOR
        expect(80 < len(mine) < most, f"guild {guild}: {len(mine)} lines")
        expect(all(len(text) < 4200 for text in mine), f"guild {guild}: long lines")
        expect(any("dropped" in text for text in mine), f"guild {guild}: no word of what was dropped")
    return 0


def resident_mib(server):
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as file:
        return int(re.search(r"VmRSS:\s+(\d+) kB", file.read()).group(1)) >> 10


def check_memory_of_many(program, names):
    """Many guilds at their limit at once, again and again: all are ended, and what they had serves the next."""
    del names
    guilds, limit = 100, 4
    server = start(program, "--memory-limit", str(limit))
    server.write("hold.luau", "local t = {} for i = 1, 20000 do t[i] = {i} end kept = t task.wait(0.3) return #t")
    server.write("grow.luau", "local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end")
    try:
        quiet = Quiet(server)
        before = resident_mib(server)
        ids = [str(guild) for guild in range(1, guilds + 1)]
        for _ in range(4):
            expect(at_once(guilds, lambda guild: result(server, "hold", guild), ids) == [20000] * guilds, "hold")
            codes = at_once(guilds, lambda guild: ask(server, "grow", guild)[0], ids)
            expect(codes == [MEMORY] * guilds, f"{codes}")
            expect(at_once(guilds, lambda guild: result(server, "alive", guild), ids) == [1] * guilds, "new VMs")
        after = resident_mib(server)
        quiet.stop("a hundred guilds at their limit")
        print(f"    resident: {before} MiB at first, {after} when {guilds} guilds of {limit} MiB were ended four times")
        expect(FACTOR > 1 or after < before + 0.75 * guilds * limit, "it does not go back")
    finally:
        server.stop()
    return 0


def check_mailbox(program, names):
    """Two thousand requests for one guild at once: as many as may wait are served, the rest is refused at once."""
    del names
    requests, room = 2000, 1024
    server = start(program, "--mailbox", str(room))
    # Nobody returns before the mailbox was full and the rest came as well.
    server.write("meet.luau", f"""
        local _, ctx = ...
        local s = ctx.store
        s.here = (s.here or 0) + 1
        while s.here < {room} do task.wait(0.05) end
        task.wait({4 * FACTOR})
        return s.here""")
    codes, lock = {}, threading.Lock()

    def post(_):
        code, answer = ask(server, "meet", "1")
        expect(code == "ok" or code == FULL and answer["retry_after_ms"] > 0, f"{answer}")
        with lock:
            codes[code] = codes.get(code, 0) + 1

    try:
        quiet = Quiet(server)
        at_once(requests, post, range(requests))
        expect(codes == {"ok": room, FULL: requests - room}, f"{codes}")
        expect(result(server, "alive", "1") == 1, "afterwards")
        quiet.stop(f"{requests} requests for one guild")
    finally:
        server.stop()
    return 0


def check_pause(program, names):
    """A guild whose VMs break again and again is put on hold, and released."""
    del names
    server = start(program, "--memory-limit", "1")
    server.write("grow.luau", "local t = {} while true do t[#t + 1] = buffer.create(1e5) end")
    try:
        quiet = Quiet(server)
        connection = server.connect()
        codes = []
        while len(codes) < 200 and (not codes or codes[-1] != BROKEN):
            code, answer = ask(server, "grow", "1", None, connection)
            codes.append(code)
        expect(codes[-1] == BROKEN and set(codes[:-1]) == {MEMORY} and 50 <= len(codes) - 1 <= 60,
               f"{len(codes)} {codes[-3:]} {answer}")
        status, answer = server.execute("alive", "1", None, connection)
        expect(status == 429 and answer["code"] == BROKEN and 0 < answer["retry_after_ms"] <= 5000,
               f"{status} {answer}")
        expect(result(server, "alive", "2") == 1, "another guild")
        time.sleep(answer["retry_after_ms"] / 1000 + 0.1)
        expect(result(server, "alive", "1") == 1, "released")
        quiet.stop("a guild on hold")
        connection.close()
    finally:
        log = server.stop()
    expect(any("is paused" in line["message"] for line in log_lines(log)), "no word in the log")
    return 0


def check_fairness(program, names):
    """E15: two hundred guilds that take almost a slice each; what the quiet ones wait is printed."""
    del names
    server = start(program, "--wall-limit", str(int(4000 * FACTOR)))
    server.write("just.luau", "while true do local x = 0 for i = 1, 50000 do x += i end task.wait() end")
    try:
        pool = concurrent.futures.ThreadPoolExecutor(200)
        jobs = [pool.submit(ask, server, "just", str(guild)) for guild in range(1, 201)]
        time.sleep(0.5)
        quiet = Quiet(server)
        time.sleep(2 * FACTOR)
        quiet.stop("200 guilds at almost a slice")
        expect(all(job.result()[0] == TIMEOUT for job in jobs), "they ended otherwise")
        pool.shutdown()
    finally:
        server.stop()
    return 0


CHECKS = [check_games, check_floods_of_threads, check_loops_without_delay, check_never_finishing,
          check_timers_of_one_instant, check_cold_guilds, check_one_vm, check_random_numbers, check_forged_lines,
          check_background_logs, check_memory_of_many, check_mailbox, check_pause, check_fairness]
