#!/usr/bin/env python3
"""run.py PROGRAM [NAME...]: templates that attack the server, over HTTP.

Each attack is a template of its own, run for a guild of its own, several at the same time. Meanwhile fifty
quiet guilds ask and must get their answers, from VMs that nobody replaces. An attack must end with the
expected code, tell where it happened, and tell nothing of the machine; after a kill the guild's next event
finds a new VM, after anything else the old one. NAMEs choose among the attacks.

How long the quiet guilds wait is printed; only what no machine excuses is a failure.
"""

import concurrent.futures
import json
import os
import re
import sys
import time

import matrix
import plugins
import scheduler
import tenants
from common import (AT_ONCE, CPU_MS, ERROR, MEMORY, MEMORY_MIB, PROBLEMS, RESULT, SECRETS, TIMEOUT, Failure, Quiet,
                    expect, http_run, start)

TEMPLATES_AT_ONCE = 48 # a folder has 64 at most
STATUS = {"ok": 200}

# name: (source, code or codes, what else must hold: a part of the message, or for "ok" the result)
ATTACKS = {
    # -- processor time
    "while": ("while true do end", TIMEOUT, None),
    "repeat": ("repeat local x = 1 until x == 2", TIMEOUT, None),
    "for": ("for i = 1, math.huge do end", TIMEOUT, None),
    "pcall": ("while true do pcall(function() while true do end end) end", TIMEOUT, None),
    "handler": ("xpcall(error, function() while true do end end)", TIMEOUT, None),
    "coroutines": ("while true do coroutine.wrap(function() end)() end", TIMEOUT, None),
    "ping-pong": ("local a = coroutine.wrap(function() while true do coroutine.yield() end end) "
                  "while true do a() end", TIMEOUT, None),
    "sort": ("table.sort({5, 4, 3, 2, 1}, function() while true do end end)", TIMEOUT, None),
    "sort in sort": ("local t = table.create(1000, 1) local function less() table.sort(t, less) return true end "
                     "while true do pcall(table.sort, t, less) end", TIMEOUT, None),
    "gsub": ("('x'):rep(100):gsub('.', function() while true do end end)", TIMEOUT, None),
    "pattern": ("string.find(('a'):rep(100000), ('a-'):rep(20) .. 'b')", TIMEOUT, None),
    "print hook": ("print(setmetatable({}, {__tostring = function() while true do end end}))", TIMEOUT, None),
    "index hook": ("local t = setmetatable({}, {__index = function() while true do end end}) return t.x", TIMEOUT,
                   None),
    "iter hook": ("for k in setmetatable({}, {__iter = function() while true do end end}) do end", TIMEOUT, None),
    "call hook": ("setmetatable({}, {__call = function(f) while true do end end})()", TIMEOUT, None),
    "fibonacci hook": ("local t = setmetatable({}, {__index = function(t, n) return n < 2 and n or t[n - 1] + "
                       "t[n - 2] end}) return t[60]", TIMEOUT, None),
    "holes": ("local t = table.create(100000, 1) while true do for i = 1, 99999 do t[i] = nil end next(t) "
              "for i = 1, 99999 do t[i] = 1 end end", TIMEOUT, None),
    "require spins": ("return require('./spins')", TIMEOUT, None),
    "loadstring spins": ("loadstring('while true do end')()", TIMEOUT, None),
    "compiles": ("while true do loadstring(('local x = {1, 2, f()} '):rep(5000)) end", (TIMEOUT, MEMORY), None),
    "json": ("local j = require('@antiraid/json') local t = table.create(10000, 1) while true do j.encode(t) end",
             (TIMEOUT, MEMORY), None),
    "unjson": ("local j = require('@antiraid/json') local s = '[' .. ('1,'):rep(10000) .. '1]' "
               "while true do j.decode(s) end", (TIMEOUT, MEMORY), None),
    "print flood": ("while true do print(('x'):rep(10000)) end", TIMEOUT, None),
    "warn flood": ("while true do pcall(warn, ('\\255'):rep(5000), '\\0\\n\\27[31m') end", TIMEOUT, None),
    "concat": ("local t = table.create(100000, 'x') while true do table.concat(t, 'y') end", (TIMEOUT, MEMORY), None),
    "format": ("while true do string.format(('%d'):rep(90), table.unpack(table.create(90, 1e300))) end",
               (TIMEOUT, MEMORY, ERROR), None),
    "clock": ("local t = os.clock() repeat until os.clock() > t + 1e6", TIMEOUT, None),
    "date": ("while true do os.date(('%c'):rep(100)) end", (TIMEOUT, ERROR), None),
    # -- memory
    "tables": ("local t = {} while true do t[#t + 1] = {} end", MEMORY, None),
    "doubling": ("local s = 'x' while true do s ..= s end", (MEMORY, ERROR), None),
    "strings": ("local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end", MEMORY, None),
    "buffers": ("local t = {} while true do t[#t + 1] = buffer.create(100000) end", MEMORY, None),
    "huge buffer": ("buffer.create(2^30)", (MEMORY, ERROR), None),
    "huge rep": ("return #('x'):rep(2^30)", (MEMORY, ERROR), None),
    "huge create": ("return #table.create(2^26, 1)", (MEMORY, ERROR), None),
    "closures": ("local t = {} while true do local a = {} t[#t + 1] = function() return a end end", MEMORY, None),
    "threads": ("local t = {} while true do t[#t + 1] = coroutine.create(function() end) end", MEMORY, None),
    "globals": ("while true do _G['g' .. tostring(math.random())] = 1 end", (MEMORY, TIMEOUT), None),
    "store": ("local _, ctx = ... local s = ctx.store while true do s[#s + 1] = ('y'):rep(1000) .. #s end", MEMORY,
              None),
    "at the cap": ("local function grow() local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end end "
                   "while true do pcall(grow) end", MEMORY, None),
    "split": ("string.split(('a,'):rep(1000000), ',')", MEMORY, None),
    "result of many strings": ("local t = {} for i = 1, 1e6 do t[i] = 'abcdefghijklmnop' .. i end return t", MEMORY,
                               None),
    # -- native stack and call depth
    "tail calls": ("local function f() return f() end f()", ERROR, "stack overflow"),
    "recursion": ("local function f() return 1 + f() end f()", ERROR, "stack overflow"),
    "mutual recursion": ("local t t = setmetatable({}, {__index = function(_, k) return t[k + 1] end}) return t[1]",
                         ERROR, None),
    "pcall recursion": ("local function f() pcall(f) f() end f()", (ERROR, TIMEOUT, MEMORY), None),
    "gsub recursion": ("local function f() return (('x'):gsub('.', f)) end f()", ERROR, None),
    "sort recursion": ("local function f() table.sort({1, 2}, f) end f()", ERROR, None),
    "tostring recursion": ("local t t = setmetatable({}, {__tostring = function() return tostring(t) end}) "
                           "return tostring(t)", ERROR, None),
    "coroutine recursion": ("local function f() coroutine.wrap(f)() end f()", (ERROR, MEMORY), None),
    "require recursion": ("local function f() return require('./self') end return f()", ERROR, "cyclic"),
    "wide unpack": ("return select('#', table.unpack({}, 1, 1e7))", ERROR, None),
    "deep source": ("return loadstring('return ' .. ('('):rep(200000))", "ok", None),
    # -- results
    "cyclic": ("local t = {} t.t = t return t", RESULT, "result.t"),
    "deep": ("local t = {} for i = 1, 200 do t = {t} end return t", RESULT, None),
    "mixed": ("return {1, 2, n = 3}", RESULT, "both list elements and named keys"),
    "huge": ("return ('x'):rep(3000000) .. ('y'):rep(100)", (RESULT, MEMORY, "ok"), None),
    "huge escapes": ("return {('\\1'):rep(900000)}", (RESULT, MEMORY), None),
    "nan": ("return {a = {0 / 0}}", RESULT, "result.a[1]: NaN"),
    "infinite": ("return -1 / 0", RESULT, "infinite"),
    "function": ("return {1, {f = print}}", RESULT, "result[2].f: a function"),
    "thread": ("return coroutine.create(print)", RESULT, "thread"),
    "userdata": ("return newproxy(true)", RESULT, "userdata"),
    "buffer": ("return buffer.create(5)", RESULT, "buffer"),
    "not UTF-8": ("return {x = 'ab\\255'}", RESULT, "result.x: invalid UTF-8"),
    "key not UTF-8": ("return {['\\255'] = 1}", RESULT, None),
    "table as key": ("return {[{}] = 1}", RESULT, None),
    "boolean as key": ("return {[true] = 1}", RESULT, None),
    "fraction as key": ("return {[1.5] = 1}", RESULT, None),
    "too many values": ("return table.unpack(table.create(5000, 1))", RESULT, "5000 values"),
    "traps": ("local m = {} for _, e in {'__index', '__newindex', '__iter', '__len', '__tostring', '__call', "
              "'__eq', '__type', '__metatable', '__gc', '__close', '__name'} do m[e] = function() error('trap') end "
              "end return setmetatable({1, setmetatable({a = 2}, m)}, m)", "ok", [1, {"a": 2}]),
    "looping traps": ("local m = {} for _, e in {'__index', '__iter', '__len', '__tostring'} do m[e] = function() "
                      "while true do end end end return setmetatable({}, m)", "ok", {}),
    "returns ctx": ("return ...", RESULT, "result[2]"),
    # -- errors
    "error huge": ("error(('x'):rep(1000000))", ERROR, "xxxx"),
    "error nil": ("error(nil)", ERROR, "nil"),
    "error nothing": ("error()", ERROR, "nil"),
    "error table": ("error({code = 1})", ERROR, "table"),
    "error trap": ("error(setmetatable({}, {__tostring = function() while true do end end}))", ERROR, "table"),
    "error function": ("error(print)", ERROR, "function"),
    "error number": ("error(42)", ERROR, "42"),
    "error bytes": ("error('a\\0b\\255\\n{\"code\":\"ok\"}\\27[31m')", ERROR, "\ufffd"),
    "error level": ("error('far', 1e9)", ERROR, "far"),
    "error in error": ("xpcall(error, function() error('again') end) error('last')", ERROR, "last"),
    "error in coroutine": ("coroutine.wrap(function() error('inside') end)()", ERROR, "inside"),
    "deep traceback": ("local function f(n) if n == 0 then error('bottom') end f(n - 1) end f(15000)", ERROR,
                       "bottom"),
    "long chunk name": ("loadstring('error(1 .. \"!\")', ('n'):rep(1000000))()", ERROR, "1!"),
    "forged chunk name": ("loadstring('error(\"x\")', '@/etc/passwd')()", ERROR, "x"),
    "yields": ("coroutine.yield(1)", ERROR, "yielded"),
    "closes itself": ("return coroutine.close(coroutine.running())", ERROR, None),
    # -- the walls of the sandbox
    "require path": ("return require('../../../../etc/passwd')", ERROR, "leaves the template"),
    "require absolute": ("return require('/etc/passwd')", ERROR, "valid prefix"),
    "require plugin": ("return require('@antiraid/../../x')", ERROR, "@antiraid"),
    "require NUL": ("return require('./a\\0b')", ERROR, None),
    "require long": ("return require('./' .. ('a/'):rep(100000))", ERROR, None),
    "library write": ("string.x = 1", ERROR, "readonly"),
    "global write": ("print = 1", ERROR, "cannot modify read-only global 'print'"),
    "library rawset": ("rawset(math, 'floor', print)", ERROR, "readonly"),
    "event write": ("local event = ... event.data = 1", ERROR, "readonly"),
    "ctx write": ("local _, ctx = ... ctx.guild_id = '2'", ERROR, "cannot be modified"),
    "ctx metatable": ("local _, ctx = ... return getmetatable(ctx)", "ok", "The metatable is locked"),
    "levels": ("local t = {} for i = 0, 20 do t[#t + 1] = debug.info(i, 's') end return t", "ok",
               ["[C]", "levels.luau"]),
    "missing": ("return io, getfenv, setfenv, dofile, package, load, loadfile", "ok", [None] * 7),
    "bytecode": ("return (loadstring('\\6\\3\\1\\2'))", "ok", None),
    "collect": ("collectgarbage('collect')", ERROR, "collectgarbage must be called with 'count'"),
}

def file_name(name):
    return re.sub(r"[^a-z0-9]", "-", name.lower())


def write_templates(server, names):
    for name in names:
        source = ATTACKS[name][0]
        server.write(file_name(name) + ".luau" if "require('./" not in source
                     else f"{file_name(name)}/init.luau", source)
    server.write("require-spins/spins.luau", "while true do end")
    server.write("require-recursion/self.luau", "return require('./self')")


def judge(name, status, answer):
    """The answer to an attack is the expected one and gives nothing away."""
    _, codes, more = ATTACKS[name]
    code = answer.get("code", "ok")
    expect(code in ((codes,) if isinstance(codes, str) else codes), f"{code}, expected {codes}: {str(answer)[:300]}")
    expect(status == STATUS.get(code, 422), f"status {status} with {code}")
    if code == "ok":
        if more is not None:
            expect(answer["result"] == more, f"result {answer['result']!r}")
        return code
    text = answer["message"] + answer.get("traceback", "") + answer.get("path", "")
    expect(not SECRETS.search(text.replace("/etc/passwd", "")), f"gives away: {text[:600]}")
    expect(len(text) < 40000, f"{len(text)} bytes of error")
    expect(answer["template"] == file_name(name), f"template {answer['template']}")
    if code in (TIMEOUT, MEMORY):
        expect(answer["limit"] == (CPU_MS if code == TIMEOUT else MEMORY_MIB << 20), f"limit {answer['limit']}")
        expect(answer.get("line", 1) > 0, "line")
    elif more is not None:
        expect(more in answer["message"], f"message {answer['message'][:300]!r}")
    if code == ERROR:
        expect(answer["path"] and answer["line"] > 0, f"no place: {answer}"[:600])
        expect("yielded" in answer["message"] or answer["path"] in answer["traceback"],
               f"traceback {answer.get('traceback')!r}")
    return code


def attack(server, name, guild):
    connection = server.connect()
    try:
        status, answer = server.execute("alive", guild, None, connection)
        expect(status == 200 and answer["result"] == 1, f"before: {status} {answer}")
        status, answer = server.execute(file_name(name), guild, {"n": 1}, connection)
        code = judge(name, status, answer)
        status, answer = server.execute("alive", guild, None, connection)
        wanted = 1 if code in (TIMEOUT, MEMORY) else 2
        expect(status == 200 and answer["result"] == wanted, f"after {code}: {status} {answer}")
    finally:
        connection.close()
    return None


def attack_together(program, chosen):
    server = start(program, "--cpu-limit", str(CPU_MS), "--memory-limit", str(MEMORY_MIB))
    write_templates(server, chosen)
    failed = 0
    try:
        quiet = Quiet(server)
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            jobs = [(name, pool.submit(attack, server, name, str(1 + i))) for i, name in enumerate(chosen)]
            for name, job in jobs:
                try:
                    job.result()
                except PROBLEMS as problem:
                    failed += 1
                    print(f"FAIL  {name}: {type(problem).__name__}: {problem}")
        quiet.stop(f"{len(chosen)} attacks")
    finally:
        log = server.stop()
    for line in log.splitlines():
        if "ASan doesn't fully support" not in line:
            json.loads(line)
    return failed


def check_attacks(program, names):
    chosen = [name for name in ATTACKS if not names or name in names]
    return sum(attack_together(program, chosen[i:i + TEMPLATES_AT_ONCE])
               for i in range(0, len(chosen), TEMPLATES_AT_ONCE))


def check_logs(program, names):
    """A flood of lines is cut and said to be; the caller's own copy too."""
    del names
    server = start(program)
    try:
        server.write("flood.luau", "for i = 1, 100000 do print(i, ('x'):rep(6000)) end return 'done'")
        connection = server.connect()
        connection.request("POST", "/execute?logs=1", json.dumps(
            {"template": "flood", "event": {"name": "E"}, "context": {"guild_id": "1"}}),
            {"Content-Type": "application/json"})
        answer = json.loads(connection.getresponse().read())
        connection.close()
        logs = answer["logs"]
        expect(answer["result"] == "done" and sum(map(len, logs)) < 300 * 1024, f"{len(logs)} lines")
        expect(all(len(line) < 4096 + 40 for line in logs), "long lines")
        expect("bytes cut" in logs[0] and "more lines" in logs[-1], f"{logs[0][-40:]!r} {logs[-1]!r}")
    finally:
        log = server.stop()
    lines = [line for line in log.splitlines() if '"flood"' in line]
    expect(100 <= len(lines) < 3000 and any("dropped" in line for line in lines), f"{len(lines)} lines in the log")
    return 0


def check_large_sources(program, names):
    """Compiling the largest file there may be does not hold up others, however many want it at once."""
    del names
    line = "do local function f(a, b) local t = {x = a, y = b, 1, 2} if a > b then return t.x end return t end end\n"
    server = start(program)
    try:
        for i in range(8):
            server.write(f"large{i}.luau", line * ((1 << 20) // len(line) - 1) + "return 1")
        server.write("wide.luau", "return {" + "1," * 500000 + "1}")
        server.write("nested.luau", "return " + "{" * 500000)
        quiet = Quiet(server)
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            jobs = [pool.submit(server.execute, f"large{i % 8}", str(1 + i)) for i in range(64)]
            odd = [pool.submit(server.execute, name, str(1000 + i)) for i, name in enumerate(["wide", "nested"] * 4)]
            for job in jobs:
                status, answer = job.result()
                expect(status == 200 and answer["result"] == 1, f"{status} {answer}")
            for job in odd:
                status, answer = job.result()
                expect(status == 200 or answer["code"] in ("compile_error", ERROR, RESULT, MEMORY), f"{answer}"[:300])
        quiet.stop("8 files of 1 MiB that are compiled")
    finally:
        server.stop()
    return 0


def check_everything_spins(program, names):
    """Sixty-four guilds spin as long as they may; the quiet ones hardly notice."""
    del names
    server = start(program, "--cpu-limit", "30000")
    try:
        pool = concurrent.futures.ThreadPoolExecutor(64)
        jobs = [pool.submit(server.execute, "spin", str(1 + i), None, None, wait_ms=3000) for i in range(64)]
        time.sleep(0.5)
        quiet = Quiet(server)
        time.sleep(2)
        quiet.stop("64 guilds that spin")
        expect(all(job.result()[1]["code"] == "return_timeout" for job in jobs), "spinning")
        pool.shutdown()
        server.process.send_signal(http_run.signal.SIGTERM)
        time.sleep(0.2)
    finally:
        server.stop()
    return 0


def main():
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    program, names = os.path.abspath(sys.argv[1]), sys.argv[2:]
    failed = 0
    checks = [check_attacks, matrix.check_matrix, check_logs, check_large_sources, check_everything_spins]
    for check in checks + scheduler.CHECKS + plugins.CHECKS + tenants.CHECKS:
        title = check.__name__[6:]
        if names and title not in names and not (check is check_attacks and set(names) & set(ATTACKS)):
            continue
        begun = time.monotonic()
        try:
            bad = check(program, [name for name in names if name in ATTACKS])
        except PROBLEMS as problem:
            bad = 1
            print(f"FAIL  {title}: {type(problem).__name__}: {problem}")
        failed += bad
        if not bad:
            print(f"ok    {title} ({time.monotonic() - begun:.0f} s)")
        sys.stdout.flush()
    print(f"{failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
