"""template-worker test: folders of templates with tests, and what is said of them. Times in what is printed become
TIME."""

import json
import os
import re
import tempfile
import xml.etree.ElementTree

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TIME = re.compile(r"\(\d+ ms\)")

HEAD = """local testing = require("@antiraid/testing")
local describe, it, expect = testing.describe, testing.it, testing.expect
"""

# Name -> (files, options, exit status, standard output (whole, or parts), standard error (likewise)). Test files get
# the HEAD, which is two lines.
CASES = {
    "test-usage": [
        ({}, ["--help"], 0, ["usage: template-worker test", "--junit FILE", "--timeout S"], ""),
        ({}, ["--timeout", "0", "."], 2, "", ["--timeout: expected a whole number"]),
        ({}, ["--nothing", "."], 2, "", ["unknown option '--nothing'"]),
        ({}, [".", "x"], 2, "", ["'x' is too much"]),
        ({}, [], 2, "", ["which folder?"]),
        ({}, ["none"], 1, "", ["none: No such file or directory"]),
        ({"a.luau": "return 1\n"}, ["."], 1, "", ["no tests: no file in it ends with .test.luau"]),
    ],
    "test-results": [
        ({"a.luau": "local event = ...\nreturn event.data\n",
          "a.test.luau": HEAD + """
describe("a", function()
    it("gives back what it gets", function()
        local run = testing.run("a", testing.event{name = "X", data = {n = 1, list = {1, 2}, none = {}}})
        expect(run):to_equal({template = "a", ok = true, result = {n = 1, list = {1, 2}, none = {}}, logs = {}})
    end)
    it.skip("is left out", function() error("never") end)
    it("ends early", function() testing.skip("not today") error("never") end)
end)
it("fails", function() expect(1):to_be(2) end)
"""}, ["."], 1, """a.test.luau
  ok    a / gives back what it gets  TIME
  skip  a / is left out
  skip  a / ends early: not today
  FAIL  fails  TIME
        expected  2
        got       1
        at a.test.luau:12

1 passed, 1 failed, 2 skipped
""", ""),
        ({"a.test.luau": HEAD + "it('a', function() end)\nit('b', function() end)\n",
          "sub/b.test.luau": HEAD + "it('a', function() end)\n"}, ["--list", "."], 0,
         "a.test.luau:3: a\na.test.luau:4: b\nsub/b.test.luau:3: a\n", ""),
        ({"a.test.luau": HEAD + "it('one', function() end)\nit('two', function() error('no') end)\n",
          "b.test.luau": HEAD + "it('two', function() error('no') end)\n"}, ["--filter", "one", "./"], 0,
         "a.test.luau\n  ok    one  TIME\n\n1 passed, 0 failed, 0 skipped\n", ""),
        ({"a.test.luau": HEAD + "it('one', function() end)\n"}, ["--filter", "x", "."], 1,
         "0 passed, 0 failed, 0 skipped\n", ["no test has 'x' in its name"]),
        ({"a.test.luau": HEAD + "it.only('one', function() end)\nit('two', function() error('no') end)\n"}, ["."], 0,
         "a.test.luau\n  ok    one  TIME\n  skip  two: others are marked with only\n\n"
         "1 passed, 0 failed, 1 skipped\n", ""),
    ],
    "test-bad-files": [
        ({"a.test.luau": "local x = = 1\n", "b.test.luau": HEAD + "it('a', function() end)\nerror('oops')\n",
          "c.test.luau": "while true do end\n", "d.test.luau": HEAD + "it('runs', function() end)\n"},
         ["--timeout", "1", "."], 1, """a.test.luau
  FAIL  (the file)  TIME
        Expected identifier when parsing expression, got '='
        at a.test.luau:1
b.test.luau
  FAIL  (the file)  TIME
        oops
        at b.test.luau:4
c.test.luau
  FAIL  (the file)  TIME
        processor time limit of 1 s exceeded
        at c.test.luau:1
d.test.luau
  ok    runs  TIME

1 passed, 3 failed, 0 skipped
""", ""),
    ],
    # Each fails in its own way, and the last one does not notice.
    "test-limits": [
        ({"spin.luau": "while true do end\n", "sleep.luau": "task.wait(601)\n",
          "a.test.luau": HEAD + """runs = 0
it("spins", function() while true do end end)
it("eats", function() local t = {} while true do table.insert(t, string.rep("x", 1000000) .. #t) end end)
it("waits", function() while true do task.wait(3600) end end)
it("polls", function() while true do task.wait(0) end end)
it("yields", function() coroutine.yield() end)
it("runs one that spins", function() testing.run("spin", testing.event{name = "X"}) end)
it("runs one that sleeps", function()
    local run = testing.run("sleep", testing.event{name = "X"})
    expect(run.error.kind):to_be("timeout")
    expect(run.error.message):to_be("time limit of 600 s exceeded")
end)
it("goes on", function() runs += 1 expect(runs):to_be(1) end)
"""}, ["--timeout", "1", "."], 1, """a.test.luau
  FAIL  spins  TIME
        processor time limit of 1 s exceeded
        at a.test.luau:4
  FAIL  eats  TIME
        memory limit of 20 MiB exceeded
        at a.test.luau:5
  FAIL  waits  TIME
        it waited for 7 days (of the test's clock) and did not end
        at a.test.luau:6
  FAIL  polls  TIME
        it used more than 1 s of processor time
        at a.test.luau:7
  FAIL  yields  TIME
        the template yielded, and nothing would ever resume it
        at a.test.luau:8
  FAIL  runs one that spins  TIME
        the guild's VM was lost while this ran: template 'spin': processor time limit of 1 s exceeded
        at a.test.luau:9
        printed:
          [spin] failed: processor time limit of 1 s exceeded
  ok    runs one that sleeps  TIME
  ok    goes on  TIME

2 passed, 6 failed, 0 skipped
""", ""),
    ],
    "test-expect": [
        ({"a.test.luau": HEAD + """
local function fails(f, ...)
    local ok, message = pcall(f)
    assert(not ok, "nothing failed")
    for _, part in {...} do
        assert(string.find(message, part, 1, true), message)
    end
end
it("to_be", function()
    expect(0 / 0):to_be(0 / 0)
    expect("a"):never():to_be("b")
    local t = {}
    expect(t):to_be(t)
    fails(function() expect({}):to_be({}) end, "the same table, got another one with the same fields")
    fails(function() expect(1):to_be("1") end, 'expected  "1"\\ngot       1')
    fails(function() expect(1):never():to_be(1) end, "expected  not  1")
    fails(function() expect("Hello, Bob"):to_be("Hello, Rob") end,
        'expected  "Hello, Rob"\\ngot       "Hello, Bob"\\n' .. string.rep(" ", 18) .. "^")
    fails(function() expect("\\27[1m\\0"):to_be("") end, [["\\x1B[1m\\x00"]])
    fails(function() expect(string.rep("a", 500) .. "b"):to_be(string.rep("a", 500) .. "c") end,
        '...\\"', 'b"\\n')
end)
it("to_equal", function()
    expect({a = {1, {b = 0 / 0}}}):to_equal({a = {1, {b = 0 / 0}}})
    expect({1, 2}):never():to_equal({1, 2, 3})
    expect({1, 2, 3}):never():to_equal({1, 2})
    expect({a = 1}):never():to_equal({a = 1, b = 2})
    expect(setmetatable({1}, {__eq = error, __index = error})):to_equal({1})
    expect(buffer.fromstring("ab")):to_equal(buffer.fromstring("ab"))
    fails(function() expect({a = 1, b = {c = "x"}, e = 5}):to_equal({a = 1, b = {c = "y"}, d = 4}) end,
        "    a = 1\\n", "    b = {\\n", '-       c = "y"\\n+       c = "x"\\n', "-   d = 4\\n", "+   e = 5\\n")
    local deep = {}
    deep.deep = deep
    fails(function() expect(deep):to_equal({deep = {deep = deep}, x = 1}) end, "")
    local other = {}
    other.deep = other
    fails(function() expect(deep):to_equal(other) end, "contain themselves")
end)
it("to_contain", function()
    expect("abc"):to_contain("bc")
    expect({1, {2}}):to_contain({2})
    expect({a = "x"}):to_contain("x")
    expect({1}):never():to_contain(2)
    fails(function() expect("abc"):to_contain("x") end, 'a text that contains "x"', '"abc"')
    fails(function() expect("abc"):to_contain(1) end, "a string contains strings")
    fails(function() expect(5):to_contain(1) end, "a table or a string that contains")
end)
it("to_match", function()
    expect("abc"):to_match("^a.c$")
    expect("abc"):never():to_match("^b")
    fails(function() expect("abc"):to_match("^b") end, 'a text that matches "^b"')
    fails(function() expect(12):to_match("1") end, "a text that matches")
end)
it("truth", function()
    expect(0):to_be_truthy()
    expect(nil):to_be_falsy()
    expect(false):to_be_falsy()
    expect(nil):to_be_nil()
    expect(false):never():to_be_nil()
    fails(function() expect(false):to_be_truthy() end, "expected  a value that counts as true")
    fails(function() expect(1):to_be_falsy() end, "expected  false or nil")
    fails(function() expect(1):to_be_nil() end, "expected  nil\\ngot       1")
end)
it("to_error", function()
    expect(function() task.wait(5) error("boom (x)") end):to_error("boom (x)")
    expect(function() error("boom") end):to_error("^.*bo+m$")
    expect(function() error({}) end):to_error()
    expect(function() task.wait(5) end):never():to_error()
    expect(function() error("boom") end):never():to_error("bang")
end)
it("to_error: none", function() expect(function() task.wait(1) end):to_error("x") end)
it("to_error: another", function() expect(function() error("boom", 0) end):to_error("bang") end)
it("to_error: never", function() expect(function() error("boom", 0) end):never():to_error() end)
it("misuse", function()
    fails(function() expect(1).to_be(1) end, "to_be must be called with a colon")
    fails(function() expect(1):to_bee(1) end, "expect has no method 'to_bee'")
    fails(function() expect() end, "missing argument")
    fails(function() expect(1):to_error() end, "a function expected, got number")
    fails(function() it("x", function() end) end, "tests are registered when the file runs")
    fails(function() testing.event{nme = "x"} end, "event has no field 'nme'")
    fails(function() testing.run("none", testing.event{name = "X"}) end, "there is no template 'none' in .")
    fails(function() testing.run("a.test", testing.event{name = "X"}) end, "there is no template 'a.test' in .")
    fails(function() testing.run("none", {nme = "x"}) end, "event/nme")
    fails(function() testing.run("none", {name = "x"}, {user = "1"}) end, "options/user")
    fails(function() testing.advance(-1) end, "from 0 to")
end)
it("helpers", function()
    local function check(x) expect(x):to_be(1) end
    check(2)
end)
"""}, ["."], 1, ["  ok    to_be  ", "  ok    to_equal  ", "  ok    to_contain  ", "  ok    to_match  ", "  ok    truth  ",
                 "  ok    to_error  ", "  ok    misuse  ",
                 'expected  an error with "x"\n        got       none: the function returned\n',
                 'expected  an error with "bang"\n        got       "boom"\n',
                 'expected  no error\n        got       "boom"\n',
                 "at a.test.luau:90 function check\n           a.test.luau:91\n",
                 "7 passed, 4 failed"], ""),
    ],
    "test-hooks": [
        ({"a.test.luau": HEAD + """
local log = {}
local function note(text) return function() task.wait(1) table.insert(log, text) end end
testing.before_each(note("b0"))
testing.after_each(note("a0"))
describe("outer", function()
    testing.before_each(note("b1"))
    testing.after_each(note("a1"))
    describe("inner", function()
        testing.before_each(note("b2"))
        testing.after_each(note("a2"))
        it("fails", function() table.insert(log, "test") error("on purpose") end)
    end)
end)
it("looks", function() expect(table.concat(log, " ")):to_be("b0 b1 b2 test a2 a1 a0 b0") end)
describe("bad hook", function()
    testing.after_each(function() error("in the hook") end)
    it("passes itself", function() end)
end)
"""}, ["."], 1, ["  FAIL  outer / inner / fails", "on purpose", "  ok    looks", "  FAIL  bad hook / passes itself",
                 "in the hook\n        at a.test.luau:19"], ""),
    ],
    "test-world": [
        ({"keep.luau": """local event, ctx = ...
count = (count or 0) + 1
ctx.store.seen = (ctx.store.seen or 0) + 1
if event.name == "KeyExpiry" then
    print(`told of {event.data.key}`)
    return event.data.value
elseif event.name == "Keep" then
    ctx.KV:set(event.data.key, event.data, {"k"}, os.time() + event.data.seconds)
end
return {count = count, seen = ctx.store.seen, user = ctx.current_user, owner = ctx.owner_guild_id}
""", "keep.json": json.dumps({"events": ["Keep", "KeyExpiry[k]", "Look"], "capabilities": ["kv:*"]}),
          "other.luau": "return 'other'\n", "other.json": json.dumps({"events": ["Look"]}),
          "broken.luau": "error('no luck')\n", "broken.json": json.dumps({"events": ["Break"]}),
          "a.test.luau": HEAD + """
local function keep(key, seconds)
    return testing.run("keep", testing.event{name = "Keep", data = {key = key, seconds = seconds}}).result
end
it("has state that stays, and reset", function()
    expect(keep("a", 100)):to_equal({count = 1, seen = 1, owner = "1"})
    expect(keep("b", 200).count):to_be(2)
    expect((testing.kv():keys({"k"}))):to_equal({"a", "b"})
    testing.reset()
    expect(keep("a", 100).count):to_be(1)
    testing.reset()
    expect((testing.kv():keys({"k"}))):to_equal({})
    expect(require("@antiraid/json").encode({1})):to_be("[1]") -- the file keeps its globals
end)
it("tells of expiries, in order, once", function()
    testing.reset()
    keep("late", 20)
    keep("soon", 10)
    local start = testing.now()
    expect(testing.advance(9)):to_equal({})
    local due = testing.advance(60)
    expect(testing.now()):to_be(start + 69)
    expect(#due):to_be(2)
    expect(due[1].event.data.key):to_be("soon")
    expect(due[1].logs):to_equal({"told of soon"})
    expect(due[2].result.key):to_be("late")
    expect(testing.advance(1e6)):to_equal({})
end)
it("lets them come while it waits", function()
    keep("x", 50)
    task.wait(49)
    expect(testing.kv():exists("x", {"k"})):to_be(true)
    task.wait(2)
    expect(testing.kv():exists("x", {"k"})):to_be(false)
    expect(testing.advance(0)[1].event.data.key):to_be("x")
end)
it("dispatches to all that listen", function()
    local results = testing.dispatch(testing.event{name = "Look"})
    expect(#results):to_be(2)
    expect(results[2]):to_equal({template = "other", ok = true, result = "other", logs = {}})
    expect(testing.dispatch(testing.event{name = "Nobody"})):to_equal({})
    local broken = testing.dispatch(testing.event{name = "Break"})[1]
    expect(broken.ok):to_be(false)
    expect(broken.error.kind):to_be("runtime_error")
    expect(broken.error.path .. ":" .. broken.error.line):to_be("broken.luau:1")
end)
it("runs for a caller", function()
    local options = {current_user = "9", owner_guild_id = "77", capabilities = {}}
    local run = testing.run("keep", testing.event{name = "X"}, options)
    expect(run.result.user):to_be("9")
    expect(run.result.owner):to_be("77")
    local kept = testing.run("keep", testing.event{name = "Keep", data = {key = "k", seconds = 1}}, options)
    expect(kept.error.message):to_contain("needs the capability")
end)
it("has one clock", function()
    local wall, clock = os.time(), os.clock()
    expect(task.wait(3600)):to_be(3600)
    expect(os.time() - wall):to_be(3600)
    expect(os.clock() - clock):to_be(3600)
    expect(os.date("!%Y-%m-%dT%H:%M:%S", 86400)):to_be("1970-01-02T00:00:00")
    expect(os.date("!%Y")):to_be("2030")
    expect(os.time({year = 1970, month = 1, day = 2, hour = 0})):to_be(86400)
    expect(tostring(require("@antiraid/datetime").UTC:now())):to_match("^2030%-")
    expect(math.floor(testing.now())):to_be(os.time())
end)
""", "b.test.luau": HEAD + """
it("begins anew", function()
    expect(os.time()):to_be(1893456000)
    expect((testing.kv():keys({"k"}))):to_equal({})
    expect(testing.run("keep", testing.event{name = "X"}).result.count):to_be(1)
end)
"""}, ["."], 0, ["7 passed, 0 failed, 0 skipped"], ""),
        ({"t/init.luau": "return require('./lib/part')\n", "t/lib/part.luau": "return 'part'\n",
          "t/.luaurc": json.dumps({"aliases": {"lib": "./lib"}}),
          "t/deep/x.test.luau": HEAD + """
it("requires the template's files", function()
    expect(require("./lib/part")):to_be("part")
    expect(require("@lib/part")):to_be("part")
    expect(testing.run("t", testing.event{name = "X"}).result):to_be("part")
end)
"""}, ["."], 0, ["t/deep/x.test.luau\n", "1 passed, 0 failed"], ""),
    ],
}


def write(folder, files):
    for name, text in files.items():
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


def play(run, compare, clean, cases):
    problems = []
    for files, options, status, output, errors in cases:
        with tempfile.TemporaryDirectory(prefix="testing-") as folder:
            write(folder, files)
            scratch = os.path.join(folder, ".scratch")
            os.mkdir(scratch)
            done = run(["test", *options], cwd=folder, env={**os.environ, "TMPDIR": scratch})
            found = compare("output", output, TIME.sub("TIME", done.stdout.decode("utf-8", "replace"))
                            if isinstance(output, str) else done.stdout.decode("utf-8", "replace"))
            found += compare("errors", errors, clean(done.stderr.decode("utf-8", "replace")))
            if done.returncode != status:
                found.append(f"exit status {done.returncode}, expected {status}: {done.stdout.decode()}")
            if os.listdir(scratch):
                found.append(f"left behind: {os.listdir(scratch)}")
            problems += [f"{' '.join(options)}: {problem}" for problem in found]
    return problems


def check_junit(run, clean):
    """XML that a parser takes, whatever was printed and compared, and the same numbers."""
    del clean
    files = {"a.test.luau": HEAD + r"""
it("passes <&\">", function() print("\27[31mred \0 \255 ]]> <b>") end)
it("fails", function() expect("a\1b\255 <x> & \"y\""):to_be("\u{FFFF}") end)
it.skip("is skipped", function() end)
""", "b.test.luau": "return )\n"}
    with tempfile.TemporaryDirectory(prefix="testing-") as folder:
        write(folder, files)
        path = os.path.join(folder, "out.xml")
        done = run(["test", "--junit", path, folder])
        suites = xml.etree.ElementTree.parse(path).getroot()
        failed = run(["test", "--junit", os.path.join(folder, "none", "out.xml"), folder])
    problems = [] if done.returncode == 1 else [f"exit status {done.returncode}"]
    if b"No such file" not in failed.stderr:
        problems.append(f"a file that cannot be made: {failed.stderr}")
    counts = [(suite.get("name"), suite.get("tests"), suite.get("failures"), suite.get("skipped")) for suite in suites]
    if counts != [("a.test.luau", "3", "1", "1"), ("b.test.luau", "1", "1", "0")]:
        problems.append(f"suites {counts}")
    if [suites.get(name) for name in ("tests", "failures", "skipped")] != ["4", "2", "1"]:
        problems.append(f"sums {suites.attrib}")
    cases = [(case.get("name"), [child.tag for child in case]) for case in suites.iter("testcase")]
    if cases != [('passes <&">', ["system-out"]), ("fails", ["failure"]), ("is skipped", ["skipped"]),
                 ("(the file)", ["failure"])]:
        problems.append(f"cases {cases}")
    printed = next(suites.iter("system-out")).text
    if printed != "\\x1B[31mred \\x00 \\xFF ]]> <b>\n":
        problems.append(f"printed {printed!r}")
    return problems


def check_saving(run, clean):
    """Tests are no part of what is saved."""
    with tempfile.TemporaryDirectory(prefix="testing-") as folder:
        write(folder, {"t/init.luau": "return 1\n", "t/t.test.luau": "return )\n", "t/lib/x.test.luau": "return )\n"})
        saved = run(["templates", "save", "t"], cwd=folder)
        shown = run(["templates", "list", "--json"], cwd=folder)
    problems = [] if saved.returncode == 0 else [f"save: {clean(saved.stderr.decode())}"]
    if saved.returncode == 0 and json.loads(shown.stdout)[0]["source_bytes"] != len("return 1\n"):
        problems.append(f"saved more than the template: {shown.stdout}")
    return problems


def check_samples(run, clean):
    """The tests of the samples pass, and there are some."""
    done = run(["test", os.path.join(ROOT, "templates")])
    text = done.stdout.decode("utf-8", "replace")
    last = text.strip().splitlines()[-1] if text.strip() else ""
    if done.returncode != 0 or not re.fullmatch(r"[1-9]\d+ passed, 0 failed, 0 skipped", last):
        return [text + clean(done.stderr.decode("utf-8", "replace"))]
    return []


def jobs(program, run, compare, clean):
    """Names and functions that return problems."""
    def start(arguments, **more):
        return run(program, arguments, **more)

    found = [(name, lambda cases=cases: play(start, compare, clean, cases)) for name, cases in CASES.items()]
    return found + [("test-" + name[6:], lambda work=work: work(start, clean))
                    for name, work in sorted(globals().items()) if name.startswith("check_")]
