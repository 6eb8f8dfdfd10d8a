"""The wrapper matrix, over HTTP: every attack, wrapped in everything that could catch, hide or outlive a kill.

An attack is the body of a function. A wrapper calls it again and again, so that whatever becomes of it inside,
the run must end by a limit: never well, never with an ordinary error. Then the guild's next event finds a new
VM. The sources travel in the events; two templates run them, one of which does so while a module loads.
"""

import concurrent.futures
import re
import time

from common import ERROR, FACTOR, MEMORY, PROBLEMS, SECRETS, TIMEOUT, Quiet, expect, start

CPU_MS, MEMORY_MIB, AT_ONCE = int(100 * FACTOR), 4, 16

ATTACKS = {
    # -- processor time
    "while": "while true do end",
    "for zero step": "for i = 1, 1, 0 do end",
    "handler": "xpcall(error, function() while true do end end)",
    "tail calls": "local function f() return f() end f()",
    "recursion": "local function f(...) return 1 + f(1, ...) end f()",
    "recursion by __call": "local m = {} m.__call = function(s) return s() end setmetatable({}, m)()",
    "pattern": "string.find(('a'):rep(3000), ('a-'):rep(8) .. 'b')",
    "deep pattern": "string.find(('x'):rep(1000), ('(x'):rep(200))",
    "gsub": "('x'):rep(1e5):gsub('.', function() end)",
    "gsub recursion": "local function f() return (('x'):gsub('.', f)) end f()",
    "concat": "table.concat(table.create(1e5, 'x'), 'y')",
    "comparator": "table.sort(table.create(500, 1), function() return math.random() < 0.5 end)",
    "sort recursion": "local function f() table.sort({1, 2}, f) end f()",
    "index chain": "local t = {} for i = 1, 1e4 do t = setmetatable({}, {__index = t}) end return t.x",
    "fibonacci": ("local t = setmetatable({}, {__index = function(t, n) return n < 2 and n or t[n - 1] + t[n - 2] "
                  "end}) return t[40]"),
    "ping-pong": "local a = coroutine.wrap(function() while true do coroutine.yield() end end) while true do a() end",
    "coroutines in coroutines": "local function f() coroutine.wrap(f)() end f()",
    "tostring": "tostring(setmetatable({}, {__tostring = function() while true do end end}))",
    "traceback": "local function f(n) if n > 0 then f(n - 1) else debug.traceback() end end f(15000)",
    "holes": "local t = table.create(1e5, 1) while true do local k = next(t) if not k then break end t[k] = nil end",
    "unpack": "select('#', table.unpack({}, 1, 1e7))",
    "pack": "string.packsize(('c1073741824'):rep(9))",
    "format": "string.format(('%d'):rep(90), table.unpack(table.create(90, 1)))",
    "compile": "loadstring(('x = 1 '):rep(2e4))",
    "deep source": "loadstring('return ' .. ('('):rep(1e5))",
    "json": "local j = require('@antiraid/json') j.decode(j.encode(table.create(2e4, 1)))",
    "log": "for i = 1, 100 do print(('x'):rep(1e4)) warn(('\\255'):rep(5000)) end",
    "spawns": "for i = 1, 1000 do task.spawn(function() end) end",
    "spawns in spawns": "local function f() task.spawn(f) end f()",
    "cancels": "for i = 1, 1000 do task.cancel(task.delay(1e6, print)) end",
    "cancels itself": "task.cancel(coroutine.running())",
    "floods": "for i = 1, 1e6 do task.delay(1e6, print) end",
    "defers and resumes": "local t = task.defer(print) coroutine.close(t) task.defer(t)",
    # -- memory
    "doubling": "local s = 'x' while true do s ..= s end",
    "tables": "local t = {} while true do t[#t + 1] = {} end",
    "keys": "local t, i = {}, 0 while true do i += 1 t['k' .. i] = i end",
    "buffers": "local t = {} while true do t[#t + 1] = buffer.create(1e5) end",
    "closures": "local t = {} while true do local a, b = 1, 2 t[#t + 1] = function() a += b end end",
    "threads": "local t = {} while true do t[#t + 1] = coroutine.create(function() end) end",
    "at the cap": "pcall(function() local t = {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end end)",
    "globals": "for i = 1, 1e4 do _G['g' .. math.random()] = i end",
    "weak": "local t = setmetatable({}, {__mode = 'k'}) local k = {} while true do local n = {} t[k] = n k = n end",
    "giant": "local t = table.create(1e5, 1) while true do t[#t + 1] = {} end",
    "tasks hold": "for i = 1, 1000 do task.delay(1e6, print, ('x'):rep(1000) .. i) end",
}

# How each ends when nothing is around it, if not by a limit.
BARE = "attack()"
MAY_RETURN = (ERROR, "ok", TIMEOUT, MEMORY)

AGAIN = "while true do pcall(attack) end"
# Those that are left go on when the template's main thread has returned.
WRAPPERS = {
    "pcall": AGAIN,
    "xpcall": "xpcall(function() attack() error() end, function() while true do attack() end end) " + AGAIN,
    "wrap in wrap": f"coroutine.wrap(function() coroutine.wrap(function() {AGAIN} end)() end)()",
    "resume": "while true do coroutine.resume(coroutine.create(attack)) end",
    "close": "while true do local c = coroutine.create(attack) coroutine.resume(c) pcall(coroutine.close, c) end",
    "comparator": f"table.sort({{3, 2, 1}}, function() {AGAIN} end)",
    "gsub callback": f"('abc'):gsub('.', function() {AGAIN} end)",
    "__index": f"local t = setmetatable({{}}, {{__index = function() {AGAIN} end}}) return t.x",
    "__newindex": f"local t = setmetatable({{}}, {{__newindex = function() {AGAIN} end}}) t.x = 1",
    "__eq": f"local m = {{__eq = function() {AGAIN} end}} return setmetatable({{}}, m) == setmetatable({{}}, m)",
    "__lt": f"local m = {{__lt = function() {AGAIN} end}} return setmetatable({{}}, m) < setmetatable({{}}, m)",
    "__concat": f"return setmetatable({{}}, {{__concat = function() {AGAIN} end}}) .. 'x'",
    "__tostring": f"print(setmetatable({{}}, {{__tostring = function() {AGAIN} end}}))",
    "__len": f"return #setmetatable({{}}, {{__len = function() {AGAIN} end}})",
    "__iter": f"for k in setmetatable({{}}, {{__iter = function() {AGAIN} end}}) do end",
    "__call": f"setmetatable({{}}, {{__call = function() {AGAIN} end}})()",
    "iterator": f"for k in function() {AGAIN} end do end",
    "module": AGAIN, # run by the template that requires it
    "loadstring": f"env_attack = attack loadstring('while true do pcall(env_attack) end')()",
    "after a wait": f"task.wait(0.01) {AGAIN}",
    "wait in coroutine": f"coroutine.wrap(function() task.wait() {AGAIN} end)() task.wait(1e6)",
    "task.spawn": f"task.spawn(function() {AGAIN} end)",
    "task.defer": f"task.defer(function() {AGAIN} end) task.wait(1e6)",
    "task.delay": f"task.delay(0.01, function() {AGAIN} end) task.wait(1e6)",
    "defer in defer": f"task.defer(task.defer, task.spawn, function() {AGAIN} end) task.wait(1e6)",
    "left by defer": f"task.defer(function() {AGAIN} end) return 'gone'",
    "left by delay": f"task.delay(0.05, function() {AGAIN} end) return 'gone'",
    "left waiting": f"task.spawn(function() task.wait(0.05) {AGAIN} end) return 'gone'",
}
REASON = re.compile(r"guild (\d+), VM \d+: broken \(([^()]*)\)")
KILLS = {TIMEOUT: "processor time limit", MEMORY: "memory limit"}


def source_of(attack, wrapper):
    return f"local function attack() {ATTACKS[attack]} end {WRAPPERS.get(wrapper, BARE)}"


def expect_new_vm(server, guild, connection):
    """What was left in the background breaks the VM sooner or later; then there is another."""
    until = time.monotonic() + 120 * FACTOR
    while True:
        status, answer = server.execute("alive", guild, None, connection)
        if status == 200 and answer["result"] == 1:
            return
        expect(status == 200 or answer["code"] in ("vm_broken", *KILLS), f"afterwards: {status} {answer}")
        expect(time.monotonic() < until, "the VM lives")
        time.sleep(0.02)


def play(server, attack, wrapper, guild):
    connection = server.connect()
    try:
        status, answer = server.execute("alive", guild, None, connection)
        expect(status == 200 and answer["result"] == 1, f"before: {status} {answer}")
        template = "module" if wrapper == "module" else "run"
        status, answer = server.execute(template, guild, {"source": source_of(attack, wrapper)}, connection)
        code = answer.get("code", "ok")
        if wrapper.startswith("left"):
            expect(answer.get("result") == "gone", f"{status} {answer}")
        elif wrapper != "bare":
            expect(code in KILLS, f"{code}: {str(answer)[:400]}")
            expect(KILLS[code] in answer["message"], f"{answer}")
        else:
            expect(code in MAY_RETURN, f"{code}: {str(answer)[:400]}")
        text = answer.get("message", "") + answer.get("traceback", "") + answer.get("path", "")
        expect(not SECRETS.search(text), f"gives away: {text[:600]}")
        if code in KILLS or wrapper.startswith("left"):
            expect_new_vm(server, guild, connection)
        else:
            status, answer = server.execute("alive", guild, None, connection)
            expect(status == 200 and answer["result"] == 2, f"after {code}: {status} {answer}")
    finally:
        connection.close()


def chosen_cells():
    """All; in slow builds every seventh, which are others for each attack."""
    cells = [(attack, wrapper) for attack in ATTACKS for wrapper in ("bare", *WRAPPERS)]
    return cells if FACTOR == 1 else cells[::7]


def check_matrix(program, names):
    del names
    server = start(program, "--cpu-limit", str(CPU_MS), "--memory-limit", str(MEMORY_MIB))
    server.write("run.luau", "local event, ctx = ... return assert(loadstring(event.data.source, '=run.luau'))(...)")
    server.write("module/init.luau", "local event = ... source = event.data.source return require('./part')")
    server.write("module/part.luau", "assert(loadstring(source, '=part.luau'))() return 'survived'")
    failed, left = 0, []
    try:
        quiet = Quiet(server)
        cells = chosen_cells()
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            jobs = []
            for i, (attack, wrapper) in enumerate(cells):
                jobs.append((attack, wrapper, pool.submit(play, server, attack, wrapper, str(1 + i))))
                if wrapper.startswith("left"):
                    left.append((str(1 + i), attack, wrapper))
            for attack, wrapper, job in jobs:
                try:
                    job.result()
                except PROBLEMS as problem:
                    failed += 1
                    print(f"FAIL  {attack} / {wrapper}: {type(problem).__name__}: {problem}")
        quiet.stop(f"{len(cells)} wrapped attacks")
    finally:
        log = server.stop()
    reasons = dict(REASON.findall(log))
    for guild, attack, wrapper in left:
        if reasons.get(guild) not in ("execution timeout", "memory limit exceeded"):
            failed += 1
            print(f"FAIL  {attack} / {wrapper}: the log tells as its reason: {reasons.get(guild)}")
    return failed
