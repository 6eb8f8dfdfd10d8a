"""Attacks of a guild on another, and of a template on those of its guild that may do more (threats D, F17, C13)."""

import concurrent.futures
import json
import re
import threading
import time

from common import ERROR, FACTOR, PROBLEMS, STRATEGY, Quiet, expect, lasting
from plugins import PRELUDE, run, write_templates

ROUNDS = 4
SPIN = "execution_timeout"


def ok(server, guild, source, wanted="ok", template="play"):
    status, answer = server.execute(template, guild, PRELUDE + source)
    expect(status == 200 and answer["result"] == wanted, f"guild {guild}: {status} {str(answer)[:500]}")


def add_template(server, name, capabilities, events=()):
    """One that runs what it is told to, with these capabilities."""
    server.write(f"{name}.luau", f"local event = ... return assert(loadstring(event.data, '={name}.luau'))(...)")
    server.write(f"{name}.json", json.dumps({"capabilities": list(capabilities), "events": list(events)}))


# ---- guild and guild -----------------------------------------------------------------------------------

def check_two_guilds(program, names):
    """D05: the same keys, others' ids, others' cursors, others' templates: nothing of it reaches another guild."""
    del names
    guilds = ["1", "2", "11", str(1 << 63), str((1 << 63) + 1), str((1 << 64) - 1)]
    mine = PRELUDE + """
        local ids = {}
        for i = 1, 5 do
            ids[i] = kv:set('k' .. i, ctx.guild_id, {'s', 'of ' .. ctx.guild_id}, os.time() + 1000, true).id
        end
        templates:save('mine', {source = `return '{ctx.guild_id}'`, capabilities = {'kv:*'}, events = {'E'}})
        templates:save('mine', {source = `return '{ctx.guild_id}' .. ''`})
        local _, next = kv:keys({'s'}, {limit = 1})
        return {ids = ids, next = next}"""
    spy = """
        local others, guild = %s, %s
        for _, id in others.ids do
            assert(kv:getbyid(id) == nil and not kv:getrecordbyid(id).exists and not kv:deletebyid(id))
            assert(not kv:setbyid(id, 'stolen').exists and not kv:setexpirybyid(id, 1))
            fails('', kv.atomic, kv, {{op = 'set', id = id, value = 'stolen'}})
            assert(not kv:atomic({{op = 'get', id = id}, {op = 'delete', id = id}, {op = 'setexpiry', id = id}})[1].exists)
        end
        for _, scope in {'of ' .. guild, guild, `guild:{guild}`, `{guild}:s`} do
            assert(not kv:get('k1', {scope}) and not kv:exists('k1', {'s', scope}) and #kv:find('%%', {scope}) == 0)
            assert(not kv:delete('k1', {scope}) and #kv:keys({scope}) == 0)
        end
        for _, record in kv:find('%%', {'s'}, {after = others.next}) do assert(record.value == ctx.guild_id) end
        for _, record in kv:find('%%', {'s'}) do assert(record.value == ctx.guild_id) end
        for _, scope in kv:list_scopes() do assert(not scope:find(guild .. '$') or ctx.guild_id:find(guild .. '$'), scope) end
        assert(#templates:list() == 1)
        for _, name in {guild .. '.mine', guild .. '-mine', 'Mine', 'mine$'} do
            assert(templates:get(name) == nil and not templates:delete(name) and #templates:versions(name) == 0)
            fails('no version 1', templates.activate, templates, name, 1)
        end
        for _, name in {guild .. '/mine', '../' .. guild .. '/mine', guild .. ':mine'} do
            fails("invalid 'name'", templates.get, templates, name) fails("invalid 'name'", templates.delete, templates, name)
        end
        for _, field in {'guild_id', 'owner_guild_id', 'KV'} do fails('cannot be modified', function() ctx[field] = guild end) end
        fails('', ctx.withlimits, ctx, {capabilities = {'*'}, guild_id = guild})
        return 'ok'"""
    with lasting(program) as server:
        write_templates(server)
        quiet = Quiet(server, "kept")
        own = {}
        for guild in guilds:
            status, answer = server.execute("play", guild, mine)
            expect(status == 200, f"{status} {answer}")
            own[guild] = answer["result"]
        for guild in guilds:
            for other in guilds:
                if other != guild:
                    ids = ", ".join(f"'{i}'" for i in own[other]["ids"])
                    ok(server, guild, spy % (f"{{ids = {{{ids}}}, next = '{own[other]['next']}'}}", f"'{other}'"))
        for guild in guilds:
            ok(server, guild, "for i = 1, 5 do assert(kv:get('k' .. i, {'s'}) == ctx.guild_id) end "
                              "local t = templates:get('mine') assert(t.version == 2 and #templates:versions('mine') == 2) "
                              "return 'ok'")
            status, answer = server.execute("mine", guild)
            expect(status == 200 and answer["result"] == guild, f"{status} {answer}")
        quiet.stop("guilds that look for each other's data")
    return 0


def check_allowances(program, names):
    """D09: who spends his allowance, in whatever way, spends nobody else's, and gets it back by no trick."""
    del names
    spend = PRELUDE + """
        local done, seconds = 0, nil
        repeat
            local ok, message = pcall(function() %s end)
            if ok then done += %d else seconds = message:match('rate limit: 1000 operations a second for a guild; try again in ([%%d.]+) seconds') end
            assert(ok or seconds, message)
        until seconds
        return {done, tonumber(seconds)}"""
    ways = {"gets": ("kv:get('k', {'s'})", 1), "lists": ("kv:atomic(table.create(50, {op = 'get', key = 'k', scopes = {'s'}}))", 50),
            "missing": ("kv:deletebyid('5')", 1), "templates": ("templates:get('none')", 1)}
    with lasting(program) as server:
        write_templates(server)
        quiet = Quiet(server, "kept")
        for i, (name, (call, count)) in enumerate(ways.items()):
            guild, begun = str(1 + i), time.monotonic()
            status, answer = server.execute("play", guild, spend % (call, count))
            took = time.monotonic() - begun
            expect(status == 200, f"{name}: {status} {answer}")
            done, seconds = answer["result"]
            expect(1000 - count < done <= 1000 * (took + 1.01) and 0 < seconds <= 1, f"{name}: {answer} in {took} s")
            ok(server, str(100 + i), "for i = 1, 100 do kv:get('k', {'s'}) end return 'ok'")
        # A new VM, another template, another handle: the allowance is the guild's.
        begun = time.monotonic()
        status, answer = server.execute("play", "50", spend % ways["gets"])
        before = answer["result"][0]
        expect(server.ask("DELETE", "/guilds/50/vm")[0] in (200, 202), "destroy")
        status, answer = server.execute("module", "50", spend % ("require('@antiraid/kv').new(ctx):get('k', {'s'})", 1))
        took = time.monotonic() - begun
        expect(status == 200 and before + answer["result"][0] <= 1000 * (took + 1.01), f"{before} {answer} in {took} s")
        # Saves have one of their own.
        status, answer = server.execute("play", "60", PRELUDE + """
            local n = 0
            while true do
                local ok, message = pcall(templates.save, templates, 't', {source = `return {n}`})
                if not ok then return {n, message} end
                n += 1
            end""")
        expect(status == 200 and 30 <= answer["result"][0] <= 40 and "changes of templates a minute" in answer["result"][1],
               f"{status} {answer}")
        quiet.stop("guilds that spend their allowances")
    return 0


def check_cold_guilds_with_data(program, names):
    """D15: events that find no VM, and wait for the store in it, share one."""
    del names
    with lasting(program) as server:
        add_template(server, "counts", ["*"], ["Count"])
        source = """
            local event, ctx = ...
            local n = (ctx.store.n or 0) + 1
            ctx.store.n = n
            ctx.KV:atomic({{op = 'set', key = ctx.execution_id, value = 1, scopes = {'run'}}})
            return n"""

        def ask(guild, way):
            if way % 2:
                answer = server.ask("POST", f"/guilds/{guild}/events?wait=true", {"name": "Count", "data": source})[1]
                return answer["results"][0]["result"]
            return server.execute("counts", guild, source)[1]["result"]

        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            for guild in range(1, int(60 / FACTOR)):
                got = sorted(pool.map(ask, [str(guild)] * 6, range(6)))
                expect(got == [1, 2, 3, 4, 5, 6], f"guild {guild}: {got}")
    return 0


def check_forged_lines_of_data(program, names):
    """D11: what comes back out of the store and is printed, by handlers of events that the worker makes, forges no line."""
    del names
    forged = '\\n{\\"level\\":\\"error\\",\\"guild_id\\":\\"1\\",\\"message\\":\\"forged\\"}\\r\\27[31m'
    with lasting(program) as server:
        add_template(server, "arms", ["*"])
        server.write("told.luau", "local event = ... print(event.data.key, event.data.value.x) warn(event.data.scopes[1]) "
                                  "task.defer(error, event.data.key) error(event.data.value.x)")
        server.write("told.json", json.dumps({"events": ["KeyExpiry"], "capabilities": []}))
        status, answer = server.execute("arms", "77", f"""
            local _, ctx = ...
            ctx.KV:set('{forged}', {{x = '{forged}'}}, {{'a' .. ('{forged}'):sub(1, 60)}}, os.time() - 1)
            return 'ok'""")
        expect(status == 200 and answer["result"] == "ok", f"{status} {answer}")
        server.until_log(r'"guild_id":"77"[^\n]*forged')
        time.sleep(1)
    log = server.ended_log
    lines = [json.loads(line) for line in log.splitlines() if "ASan doesn't fully support" not in line]
    expect(not any(line.get("guild_id") == "1" or line.get("message") == "forged" for line in lines), "a forged line")
    mine = [line for line in lines if line.get("guild_id") == "77"]
    expect(len(mine) >= 3, f"{mine}")
    expect("\x1b" not in log and "\0" not in log and "\r" not in log, "control characters")
    return 0


# ---- template and template -----------------------------------------------------------------------------

def check_capabilities(program, names):
    """No template gains what it was not given, by saving, bringing back, hiding, or naming scopes cleverly."""
    del names
    with lasting(program) as server:
        write_templates(server)
        add_template(server, "weak", ["templates:*", "kv[a]:*", "kv:find"])
        add_template(server, "none", [])
        for name, capabilities in (("guards", ["*"]), ("helps", ["kv[a]:get"])): # every guild has them
            path = f"{server.folder_of_store}/{name}.luau"
            with open(path, "w", encoding="utf-8") as file:
                file.write(f"return '{name}'")
            server.command("templates", "save", path, *(word for c in capabilities for word in ("--capability", c)))
        ok(server, "1", """
            templates:save('strong', {source = 'return 1', capabilities = {'kv:*', 'x:y'}})
            templates:save('was', {source = 'return 1', capabilities = {'*'}}) templates:save('was', {source = 'return 2'})
            kv:set('k', 'secret', {'b'}) kv:set('both', 'shared', {'a', 'b'}) kv:set('odd', 'secret', {'a]:get,kv[b'})
            return 'ok'""")
        quiet = Quiet(server, "kept")
        ok(server, "1", """
            for _, cap in {'*', 'kv:*', 'kv:get', 'kv[b]:get', 'kv.meta:id_ops', 'kv[*]:get', 'kv*', 'k*', 'templates', '**', 'KV[a]:get',
                'kv[a]', 'discord:ban', 'templates'} do
                fails('cannot be given', templates.save, templates, 'new', {source = 'return', capabilities = {cap}})
                fails('does not have', ctx.withlimits, ctx, {capabilities = {cap}})
            end
            for _, cap in {'', 'kv[a]:get\\0', ('c'):rep(129), 'a\\n'} do
                fails('', templates.save, templates, 'new', {source = 'return', capabilities = {cap}})
            end
            local turns = 0
            local changing = setmetatable({}, {__index = function() turns += 1 return turns > 3 and '*' or 'kv[a]:get' end,
                __len = function() return 1 end})
            templates:save('hooks', {source = 'return', capabilities = changing}) -- raw: empty
            assert(#templates:get('hooks').capabilities == 0 and turns == 0)
            assert(templates:get('new') == nil)
            return 'ok'""", template="weak")
        # The table is another one when it is read the second time.
        ok(server, "1", """
            local t = {source = 'return', capabilities = {'kv[a]:get'}}
            task.defer(function() t.capabilities[1] = '*' end)
            local good, message = pcall(templates.save, templates, 'swapped', t)
            local there = templates:get('swapped')
            assert(not there or there.capabilities[1] == 'kv[a]:get', 'it was swapped')
            local u = {source = 'return 1', capabilities = {}}
            local name = 'late'
            task.spawn(function() pcall(templates.save, templates, name, u) end)
            u.capabilities[1] = 'kv:*' u.enabled = true
            task.wait(0.1)
            there = templates:get('late')
            assert(not there or #there.capabilities == 0)
            return 'ok'""", template="weak")
        ok(server, "1", """
            local source = {source = 'return 0'}
            for _, name in {'strong', 'guards'} do fails('which this context lacks', templates.save, templates, name, source) end
            fails('which this context lacks', templates.save, templates, 'guards', {source = 'return 0', enabled = false}, 0)
            fails('which this context lacks', templates.delete, templates, 'strong')
            fails('which this context lacks', templates.delete, templates, 'was')
            fails('which this context lacks', templates.activate, templates, 'was', 1)
            templates:save('was', {source = 'return 3'}) -- what is current may do nothing more
            assert(not templates:delete('guards') and not templates:delete('nothing'))
            fails('there is no version', templates.activate, templates, 'guards', 1)
            templates:save('helps', {source = "return 'hidden'"}) -- that one can do no more
            return 'ok'""", template="weak")
        for name, wanted in (("strong", 1), ("was", 3), ("guards", "guards"), ("helps", "hidden")):
            status, answer = server.execute(name, "1")
            expect(status == 200 and answer["result"] == wanted, f"{name}: {status} {answer}")
        status, answer = server.execute("helps", "2")
        expect(answer.get("result") == "helps", f"another guild's: {answer}")
        ok(server, "1", """
            fails("'kv:get'", kv.get, kv, 'k', {'b'}) fails("'kv:get'", kv.get, kv, 'k', {'a', 'b'})
            for _, scope in {'a]:get,kv[b', 'a]:x', '*', 'a*', '[a]', 'a:', 'a]', 'b]:get\\nkv[a'} do
                fails("'kv:get'", kv.get, kv, 'odd', {scope}) fails("'kv:set'", kv.set, kv, 'odd', 1, {scope})
            end
            for _, scope in {'A', 'a ', ' a', 'aa', '\\u{430}'} do fails("'kv:get'", kv.get, kv, 'k', {scope}) end
            assert(kv:get('both', {'a'}) == 'shared') -- a grant for a scope opens what has it
            fails('kv.meta', kv.keys, kv, {'b'}) fails('kv.meta', kv.list_scopes, kv) fails('kv.meta', kv.getbyid, kv, '1')
            fails('operation 2', kv.atomic, kv, {{op = 'set', key = 'x', scopes = {'a'}, value = 1}, {op = 'get', key = 'k', scopes = {'b'}}})
            assert(not kv:exists('x', {'a'}))
            local less = ctx:withlimits{capabilities = {'kv[a]:get'}}
            fails("'kv:set'", less.KV.set, less.KV, 'x', 1, {'a'}) fails("'kv:get'", require('@antiraid/kv').new(less).get, less.KV, 'k', {'b'})
            fails("'templates:list'", less.Templates.list, less.Templates) fails('does not have', less.withlimits, less, {capabilities = {'kv[a]:set'}})
            return 'ok'""", template="weak")
        ok(server, "1", """
            for _, name in {'get', 'getrecord', 'exists', 'delete', 'setexpiry', 'keys'} do fails('needs the capability', kv[name], kv, 'k', {'b'}) end
            fails('needs the capability', kv.find, kv, '%', {'b'}) fails('needs the capability', kv.getbyid, kv, '1')
            fails('needs the capability', templates.list, templates) fails('needs the capability', templates.get, templates, 'strong')
            fails('needs the capability', templates.save, templates, 'x', {source = 'return'})
            -- It says the same of what is there and of what is not.
            local _, there = pcall(templates.get, templates, 'strong') local _, absent = pcall(templates.get, templates, 'nothing')
            assert(there == absent)
            _, there = pcall(kv.get, kv, 'k', {'b'}) _, absent = pcall(kv.get, kv, 'nothing', {'b'})
            assert(there == absent)
            return 'ok'""".replace("kv[name], kv, 'k', {'b'}", "kv[name], kv, table.unpack(name == 'keys' and {{'b'}} or {'k', {'b'}})"),
           template="none")
        quiet.stop("templates that want to be more")
    return 0


def check_handles(program, names):
    """C13: a handle is what it was made as, for as long as the VM lives: it can be handed on, never widened,
    and goes nowhere else."""
    del names
    with lasting(program) as server:
        write_templates(server)
        add_template(server, "none", [])
        path = f"{server.folder_of_store}/lends.luau"
        with open(path, "w", encoding="utf-8") as file:
            file.write("local _, ctx = ... ctx.store.kv = ctx.KV ctx.store.ctx = ctx ctx.KV:set('k', 1, {'s'}) return 1")
        server.command("templates", "save", path, "--guild", "1", "--capability", "kv[s]:get", "--capability", "kv[s]:set")
        until = time.monotonic() + 30 * FACTOR
        while server.execute("lends", "1")[0] != 200:
            expect(time.monotonic() < until, "the template is not seen")
            time.sleep(0.05)
        lent = """
            local lent, whole = ctx.store.kv, ctx.store.ctx
            fails('needs the capability', kv.get, kv, 'k', {'s'})
            assert(lent:get('k', {'s'}) == 1 and whole.KV:get('k', {'s'}) == 1) -- as docs/kv.md says
            fails('needs the capability', lent.delete, lent, 'k', {'s'}) fails('needs the capability', lent.get, lent, 'k', {'t'})
            fails('does not have', whole.withlimits, whole, {capabilities = {'kv:get'}})
            assert(whole.guild_id == ctx.guild_id and whole.template_name == 'lends')
            return 'ok'"""
        ok(server, "1", lent, template="none")
        for what in ("ctx.store.kv", "{ctx.store.ctx}"):
            status, answer = server.execute("none", "1", PRELUDE + "return " + what)
            expect(status == 422 and answer["code"] == "invalid_result", f"{answer}")
        server.command("templates", "delete", "lends", "--guild", "1")
        until = time.monotonic() + 30 * FACTOR
        while server.execute("lends", "1")[0] != 404:
            expect(time.monotonic() < until, "the template is still there")
            time.sleep(0.05)
        ok(server, "1", lent, template="none")
        ok(server, "2", "assert(ctx.store.kv == nil and ctx.store.ctx == nil) return 'ok'", template="none")
        expect(server.ask("DELETE", "/guilds/1/vm")[0] in (200, 202), "destroy")
        ok(server, "1", "assert(ctx.store.kv == nil) return 'ok'", template="none")
    return 0


# ---- all or nothing --------------------------------------------------------------------------------------

# Twenty keys always say the same, and how often it was done.
STEP = PRELUDE + """
local function step(n)
    local list = {}
    for i = 1, 20 do list[i] = {op = 'set', key = 'k' .. i, scopes = {'all'}, value = n} end
    kv:atomic(list)
end
"""


def check_same(bench, guild):
    records = json.loads(bench.command("kv", "find", "k%", "--guild", guild, "--scope", "all", "--json"))
    values = {record["value"] for record in records}
    expect(len(records) in (0, 20) and len(values) <= 1, f"guild {guild}: {len(records)} records, {values}")
    return values.pop() if values else 0


def check_lists_and_kills(program, names):
    """F17: the run, the VM or the server ends in the middle of lists of operations: each was done or was not."""
    del names
    for number in range(ROUNDS):
        with lasting(program, "--cpu-limit", str(int(100 * FACTOR))) as server:
            write_templates(server)
            stop, done = threading.Event(), {}

            def work(guild, server=server, stop=stop, done=done):
                connection, n = server.connect(), 0
                try:
                    while not stop.is_set():
                        n += 1
                        # The first ends well; the others, while the list is under way.
                        ends = ("return 'ok'", "task.spawn(step, n) while true do end", "task.spawn(step, n) error('no')",
                                "task.cancel(task.spawn(step, n)) return 'ok'")[n % 4]
                        status, answer = server.execute("play", guild, STEP + f"local n = {n} step({n}) {ends}", connection)
                        expect(status == 200 or answer["code"] in (ERROR, SPIN, "vm_broken"), f"{answer}")
                        if "rate limit" not in answer.get("message", "") and answer.get("code") != "vm_broken":
                            done[guild] = n
                except PROBLEMS:
                    if not stop.is_set():
                        done["problem"] = guild

            threads = [threading.Thread(target=work, args=(str(i),)) for i in range(1, 5)]
            for thread in threads:
                thread.start()
            time.sleep((1 + number / 4) * FACTOR)
            expect("problem" not in done, "a worker ended")
            stop.set()
            server.process.kill()
            server.process.wait()
            for thread in threads:
                thread.join()
            if STRATEGY == "process-pool":
                time.sleep(0.5) # the children see that their parent is gone
            last = [check_same(server, str(i)) for i in range(1, 5)]
            expect(all(value >= done.get(str(i + 1), 0) for i, value in enumerate(last)), f"{last}, acknowledged {done}")
    return 0


def check_lists_and_quotas(program, names):
    """F17: a list that would pass the guild's bounds in its middle changes nothing."""
    del names
    fill = PRELUDE + """
        local value = ('v'):rep(262000)
        for i = 1, 300 do
            local ok, message = pcall(kv.set, kv, 'big' .. i, value, {'fill'})
            if not ok then return message end
        end"""
    with lasting(program) as server:
        write_templates(server)
        quiet = Quiet(server, "kept")
        code, message = run(server, "1", fill)
        expect(code == "ok" and "64 MiB" in message or "67108864" in message.replace(",", ""), f"{code} {message}")
        ok(server, "1", """
            local value = ('v'):rep(100000)
            local before = #kv:keys({'fill'})
            fails('', kv.atomic, kv, {{op = 'set', key = 'a', scopes = {'list'}, value = 1}, {op = 'delete', key = 'nothing', scopes = {'fill'}},
                {op = 'set', key = 'b', scopes = {'list'}, value = value}, {op = 'set', key = 'c', scopes = {'list'}, value = value},
                {op = 'set', key = 'd', scopes = {'list'}, value = value}, {op = 'set', key = 'e', scopes = {'list'}, value = value}})
            for _, key in {'a', 'b', 'c', 'd', 'e'} do assert(not kv:exists(key, {'list'}), key) end
            -- What makes room first may go on.
            kv:atomic({{op = 'delete', key = 'big1', scopes = {'fill'}}, {op = 'set', key = 'b', scopes = {'list'}, value = value}})
            assert(kv:exists('b', {'list'}) and not kv:exists('big1', {'fill'}))
            return 'ok'""")
        ok(server, "2", "kv:set('big1', ('v'):rep(262000), {'fill'}) return 'ok'")
        quiet.stop("a guild that filled its room")
    return 0


def check_heavy_writers(program, names):
    """Guilds that write as much as they may; the quiet ones' writes hardly wait."""
    del names
    with lasting(program, "--cpu-limit", "60000") as server:
        write_templates(server)
        source = PRELUDE + """
            local over, value, done = os.clock() + %s, ('v'):rep(%%d), 0
            for i = 1, 12 do
                task.spawn(function()
                    while os.clock() < over do
                        local list = {}
                        for j = 1, %%d do list[j] = {op = 'set', key = `{i} {j}`, scopes = {'w'}, value = value} end
                        local ok, message = pcall(kv.atomic, kv, list)
                        if not ok then task.wait(tonumber(message:match('in ([%%%%d.]+) seconds')) or 0.01) end
                    end
                    done += 1
                end)
            end
            while done < 12 do task.wait(0.05) end
            return 'ok'""" % (3 * FACTOR)
        quiet = Quiet(server, "kept")
        with concurrent.futures.ThreadPoolExecutor(10) as pool:
            jobs = [pool.submit(run, server, str(1 + i), source % ((20, 60) if i % 2 else (40000, 10))) for i in range(10)]
            for job in jobs:
                expect(job.result() == ("ok", "ok"), f"{job.result()}")
        quiet.stop("ten guilds that write")
    return 0


CHECKS = [check_two_guilds, check_allowances, check_cold_guilds_with_data, check_forged_lines_of_data, check_capabilities,
          check_handles, check_lists_and_kills, check_lists_and_quotas, check_heavy_writers]
