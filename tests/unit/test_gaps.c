/* test_gaps.c: no operation goes far without a poll: each is done to something large, and the polls
 * on the way are counted (not timed). A piece of work between two polls is at most BYTES_PER_POLL
 * bytes, or SLOTS_PER_POLL table slots. */
#include <stdbool.h>

#include "vm_support.h"

enum {
    SIZE = 6 << 20, /* bytes, or SIZE / 8 slots */
    BYTES_PER_POLL = 400 << 10,
    SLOTS_PER_POLL = 33 << 10,
    QUOTA = 64 << 20
};

typedef struct Operation {
    const char *setup, *work;
    int percent; /* of SIZE that the work has to do with at least */
} Operation;

/* n: SIZE; text: so many bytes; other: another string of the same bytes, longer: a byte more. */
static const Operation on_bytes[] = {
    {"", "local x = text .. text", 200},
    {"", "local x = text .. 'x' .. text", 200},
    {"", "local x = `a{text}b`", 100},
    {"", "local x = ('x'):rep(n)", 100},
    {"", "local x = text:rep(2)", 200},
    {"", "local x = text:sub(2)", 100},
    {"", "local x = text:upper()", 100},
    {"", "local x = text:reverse()", 100},
    {"", "assert(text == other)", 100},
    {"", "assert(rawequal(text, other))", 100},
    {"", "assert(text < longer)", 100},
    {"", "assert(text <= other)", 100},
    {"", "table.sort({longer, text})", 100},
    {"", "assert(table.find({other}, text))", 100},
    {"local t = {y = 1}", "assert(t[text] == nil)", 100},
    {"local t = {y = 1}", "t[text] = 1", 100},
    {"local t = {y = 1}", "rawset(t, text, 1)", 100},
    {"local t = {[other] = 1} local x = ({})[text]", "assert(t[text] == 1)", 100},
    {"local t = {[other] = 1} local x = ({})[text]", "assert(next(t, text) == nil)", 100},
    {"", "text:find('y', 1, true)", 100},
    {"", "text:match('(.*)')", 100},
    {"", "text:match('%f[y]')", 100},
    {"", "text:gsub('y', '')", 100},
    {"", "longer:gsub('y', '')", 200},
    {"", "('ab'):gsub('.', text)", 200},
    {"", "('ab'):gsub('.', text .. '%0')", 200},
    {"", "('ab'):gsub('.', function() return text end)", 200},
    {"", "for x in text:gmatch('.*') do end", 100},
    {"", "text:split('y')", 100},
    {"", "('a%sb'):format(text)", 100},
    {"", "text:format()", 200},
    {"", "('%q'):format(text)", 100},
    {"", "('%*'):format(text)", 100},
    {"", "tostring(setmetatable({}, {__tostring = function() return text .. 'z' end}))", 100},
    {"local s = ('1'):rep(n)", "tonumber(s)", 100},
    {"local s = (' '):rep(n)", "tonumber(s)", 100},
    {"local s = '1' .. (' '):rep(n)", "tonumber(s)", 100},
    {"local s = '0.' .. ('0'):rep(n)", "tonumber(s)", 100},
    {"local s = '0x' .. ('f'):rep(n)", "tonumber(s)", 100},
    {"local s = '1e' .. ('1'):rep(n)", "tonumber(s)", 100},
    {"local s = ('1'):rep(n)", "tonumber(s, 36)", 100},
    {"local s = ('1'):rep(n)", "local x = s + 1", 100},
    {"local s = ('\\u{20AC}'):rep(n / 3)", "utf8.len(s)", 30},
    {"", "string.pack('z', text)", 100},
    {"", "string.pack('s4', text)", 100},
    {"", "string.unpack('z', text .. '\\0')", 200},
    {"", "string.packsize((' '):rep(n))", 100},
    {"", "pcall(error, text)", 100},
    {"", "table.concat({text, text})", 200},
    {"", "table.concat({'', '', ''}, text)", 200},
    {"", "buffer.create(n)", 100},
    {"local b = buffer.create(n)", "buffer.fill(b, 0, 1)", 100},
    {"local b = buffer.create(n)", "buffer.copy(b, 1, b, 0, n - 1)", 90},
    {"local b = buffer.create(n)", "buffer.tostring(b)", 100},
    {"", "buffer.fromstring(text)", 200},
    {"local b = buffer.create(n)", "buffer.writestring(b, 0, text)", 100},
    {"", "loadstring(text)", 100},
    {"", "loadstring('return \"' .. text .. '\"')", 200},
    {"", "loadstring('return \"' .. ('\\\\n'):rep(n / 2) .. '\"')", 200},
    {"", "loadstring('return [[' .. text .. ']]')", 200},
    {"", "loadstring('--' .. text)", 200},
    {"", "loadstring((' '):rep(n))", 100},
    {"", "loadstring('return ' .. ('1'):rep(n))", 300},
    {"local p = '[' .. ('a'):rep(n) .. ']'", "('b'):rep(20):find(p)", 1000},
    {"local s = ('x'):rep(n - 1) .. 'z'", "assert(text ~= s)", 90},
};

/* list: n / 8 slots of an array; holes: the same without values; hash: n / 100 entries. */
static const Operation on_slots[] = {
    {"", "table.create(n / 8)", 100},
    {"", "table.create(n / 8, 1)", 100},
    {"", "table.clone(list)", 100},
    {"", "table.clone(hash)", 10},
    {"", "table.clear(list)", 100},
    {"", "table.clear(hash)", 10},
    {"", "hash[.1] = 1 for i = 1, 1e5 do hash[i + .5] = 1 end", 10},
    {"", "table.move(list, 1, #list, 2)", 100},
    {"", "table.move(list, 1, #list, 1, {})", 100},
    {"", "table.insert(list, 1, 1)", 100},
    {"", "table.remove(list, 1)", 100},
    {"", "table.find(list, 2)", 100},
    {"", "table.find(list, 'x')", 100},
    {"", "table.maxn(holes)", 100},
    {"", "next(holes)", 100},
    {"", "for k in holes do end", 100},
    {"", "for k in pairs(holes) do end", 100},
    {"", "table.foreach(holes, print)", 100},
    {"", "table.sort(list)", 300},
    {"local t = table.create(n / 16, '')", "table.concat(t)", 50},
    {"", "collectgarbage()", 100},
    {"local w = setmetatable(table.create(n / 8, 1), {__mode = 'v'})", "collectgarbage()", 200},
    {"local co = coroutine.create(function(...)\n"
     "  local function f(k, ...) if k == 0 then coroutine.yield() else f(k - 1, ...) end\n"
     "    return 1 end f(200, ...) end)\n"
     "coroutine.resume(co, table.unpack(table.create(1000, 'x')))",
     "collectgarbage()", 120},
};

static int script_polls(lua_State *L)
{
    luau_Account account;
    luau_account(L, &account);
    lua_pushnumber(L, (double)account.polls);
    return 1;
}

typedef struct Run {
    const char *source;
    char problem[300];
} Run;

static void work(lua_State *L, void *arg)
{
    Run *run = arg;
    luau_testmode(L, LUAU_TEST_POLL_ALWAYS);
    lua_State *co = lua_newthread(L);
    vm_load(co, run->source);
    int status = lua_resume(co, L, 0);
    if (status != LUA_OK && status != LUA_KILLED)
        snprintf(run->problem, sizeof(run->problem), "%s", lua_tostring(co, -1));
}

static void count_polls(void **state, const char *prepare, const Operation *operation, int expected)
{
    char source[2048];
    Run run = {source, ""};
    snprintf(source, sizeof(source),
             "local n = %d %s %s local before = polls() do %s end local used = polls() - before\n"
             "if used < %d then error(`{used} polls`, 0) end",
             SIZE, prepare, operation->setup, operation->work, expected);
    luau_Fibers *pool = luau_fibers_new(1);
    lua_State *L = vm_new(state, QUOTA);
    lua_pushcfunction(L, script_polls, "polls");
    lua_setglobal(L, "polls");
    int result = luau_run(pool, L, work, &run);
    while (result == LUAU_PARKED)
        result = luau_continue(L);
    if (run.problem[0])
        fail_msg("%s: %s, expected %d", operation->work, run.problem, expected);
    vm_close(L);
    luau_fibers_free(pool);
}

static void test_bytes(void **state)
{
    for (size_t i = 0; i < sizeof(on_bytes) / sizeof(on_bytes[0]); i++) {
        int bytes = SIZE / 100 * on_bytes[i].percent;
        count_polls(state,
                    "local text, other = ('x'):rep(n), ('x'):rep(n)\n"
                    "local longer = ('x'):rep(n) .. 'y'",
                    &on_bytes[i], bytes / BYTES_PER_POLL);
    }
}

static void test_slots(void **state)
{
    for (size_t i = 0; i < sizeof(on_slots) / sizeof(on_slots[0]); i++) {
        int slots = SIZE / 8 / 100 * on_slots[i].percent;
        count_polls(state,
                    "local list, holes, hash = table.create(n / 8, 1), table.create(n / 8), {}\n"
                    "list[#list] = nil for i = 1, n / 100 do hash[i * 7.5] = 1 end",
                    &on_slots[i], slots / SLOTS_PER_POLL);
    }
}

/* Parked in the middle of each, and going on, they give what they give undisturbed. */
static void test_results(void **state)
{
    static const char source[] =
        "local n = 2e6 local a, b = ('ab'):rep(n / 2), ('ab'):rep(n / 2)\n"
        "assert(a == b and not (a < b) and a <= b and a .. 'x' > b)\n"
        "local c = a .. '-' .. b assert(#c == 2 * n + 1 and c:sub(n + 1, n + 1) == '-')\n"
        "assert(c:sub(1, n) == a and c:sub(n + 2) == b)\n"
        "local t = {[a] = 1, [c] = 2} assert(t[b] == 1 and t[a .. '-' .. b] == 2)\n"
        "assert(#a:gsub('b', 'bb') == n * 1.5 and ('%s%s'):format(a, b) == a .. b)\n"
        "assert(tonumber('0.' .. ('0'):rep(n) .. '1e' .. n) == 0.1)\n"
        "assert(tonumber(('1'):rep(n)) == math.huge and tonumber((' '):rep(n) .. '7  ') == 7)\n"
        "assert(loadstring('return \"' .. a .. '\"')() == a)\n"
        "assert(loadstring('--' .. a .. '\\nreturn [[' .. b .. ']]')() == a)\n"
        "assert(loadstring('local ' .. a .. ' = 5 return ' .. b)() == 5)";
    luau_Fibers *pool = luau_fibers_new(1);
    lua_State *L = vm_new(state, QUOTA);
    luau_setslice(L, 1); /* parks at every poll */
    Run run = {source, ""};
    int parked = 0, result = luau_run(pool, L, work, &run);
    for (; result == LUAU_PARKED; parked++)
        result = luau_continue(L);
    assert_string_equal(run.problem, "");
    assert_true(parked > 100);
    vm_close(L);
    luau_fibers_free(pool);
}

/* A kill that comes while a long comparison or a hash is parked ends the run after it. */
static void test_kills(void **state)
{
    static const char *const sources[] = {
        "local x = a == b while true do end",
        "local x = ({})[a] while true do end",
        "local x = a .. b while true do end",
        "pcall(loadstring, '--' .. a) while true do end",
        "local x = tonumber(digits) while true do end",
    };
    luau_Fibers *pool = luau_fibers_new(1);
    for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
        for (int at = 1; at < 40; at += 7) {
            char source[256];
            snprintf(source, sizeof(source),
                     "local a, b, digits = ('x'):rep(2e6), ('x'):rep(2e6), ('1'):rep(2e6)\n"
                     "polls() pcall(function() %s end)",
                     sources[i]);
            lua_State *L = vm_new(state, QUOTA);
            lua_pushcfunction(L, script_polls, "polls");
            lua_setglobal(L, "polls");
            luau_setslice(L, 1);
            Run run = {source, ""};
            int parked = 0, result = luau_run(pool, L, work, &run);
            for (; result == LUAU_PARKED; result = luau_continue(L)) {
                if (++parked == 30 + at)
                    luau_kill(L, LUAU_KILL_HOST);
            }
            assert_int_equal(result, LUAU_DONE);
            assert_int_equal(luau_killreason(L), LUAU_KILL_HOST);
            vm_close(L);
        }
    }
    luau_fibers_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),
        cmocka_unit_test(test_slots),
        cmocka_unit_test(test_results),
        cmocka_unit_test(test_kills),
    };
    return cmocka_run_group_tests(tests, vm_make_image, vm_drop_image);
}
