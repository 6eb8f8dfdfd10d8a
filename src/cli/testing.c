#include "cli/testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/base.h"
#include "khronos/int64.h"
#include "khronos/interop.h"
#include "khronos/runtime.h"
#include "plugins/holder.h"
#include "store/store.h"

/* ---- What was registered ----------------------------------------------------------------------
 * In the VM's registry:
 *
 *     {tests = {test, ...}, group = group, kept = bool, running = bool}
 *     group = {parent = group?, name, mode, before = {f, ...}, after = {f, ...}}
 *     test = {name, run = f, group, line, mode}
 *
 * mode: 0 plain, 1 skip, 2 only. */

enum { MODE_PLAIN, MODE_SKIP, MODE_ONLY };
enum { NAME_BYTES_MAX = 200, GROUPS_MAX = 32 };
static const char REGISTRY_NAME[] = "@antiraid/testing";

static void push_group(lua_State *L)
{
    lua_newtable(L);
    lua_newtable(L);
    lua_rawsetfield(L, -2, "before");
    lua_newtable(L);
    lua_rawsetfield(L, -2, "after");
}

static void push_state(lua_State *L)
{
    if (lua_rawgetfield(L, LUA_REGISTRYINDEX, REGISTRY_NAME) == LUA_TTABLE)
        return;
    lua_pop(L, 1);
    lua_newtable(L);
    lua_newtable(L);
    lua_rawsetfield(L, -2, "tests");
    push_group(L);
    lua_rawsetfield(L, -2, "group");
    lua_pushvalue(L, -1);
    lua_rawsetfield(L, LUA_REGISTRYINDEX, REGISTRY_NAME);
}

static bool flag(lua_State *L, int table, const char *name)
{
    lua_rawgetfield(L, table, name);
    bool set = lua_toboolean(L, -1) != 0;
    lua_pop(L, 1);
    return set;
}

static int number(lua_State *L, int table, const char *name)
{
    lua_rawgetfield(L, table, name);
    int n = lua_tointeger(L, -1);
    lua_pop(L, 1);
    return n;
}

static void set_flag(lua_State *L, const char *name)
{
    lua_pushboolean(L, 1);
    lua_rawsetfield(L, -2, name);
}

/* Pushes the state, for registering. The globals of the file stay for as long as its tests may run,
 * though its own run ends. */
static void push_open_state(lua_State *L, const char *what)
{
    const char *chunk;
    push_state(L);
    if (flag(L, -1, "running"))
        luaL_error(L, "%s: tests are registered when the file runs, not by tests", what);
    if (flag(L, -1, "kept"))
        return;
    TemplateInstance *file = instance_of_caller(L, runtime_instances(L), &chunk);
    if (file)
        file->runs++;
    set_flag(L, "kept");
}

static void check_name(lua_State *L, const char *what, int arg)
{
    size_t length;
    luaL_checktype(L, arg, LUA_TSTRING);
    const char *name = lua_tolstring(L, arg, &length);
    if (length == 0 || length > NAME_BYTES_MAX || memchr(name, '\0', length))
        luaL_error(L, "%s: a name has 1 to %d bytes", what, NAME_BYTES_MAX);
    luaL_checktype(L, arg + 1, LUA_TFUNCTION);
}

/* ---- describe, it, before_each, after_each ----------------------------------------------------
 */

/* Name and function at `arg`. The group's functions register into it. */
static int open_group(lua_State *L, int arg, int mode)
{
    check_name(L, "describe", arg);
    lua_settop(L, arg + 1);
    push_open_state(L, "describe");
    int state = lua_gettop(L), depth = 0;
    push_group(L);
    lua_pushvalue(L, arg);
    lua_rawsetfield(L, -2, "name");
    lua_pushnumber(L, mode);
    lua_rawsetfield(L, -2, "mode");
    lua_rawgetfield(L, state, "group");
    lua_rawsetfield(L, -2, "parent");
    for (lua_pushvalue(L, -1); lua_istable(L, -1); depth++) {
        lua_rawgetfield(L, -1, "parent");
        lua_remove(L, -2);
    }
    lua_pop(L, 1);
    if (depth > GROUPS_MAX)
        luaL_error(L, "describe: groups are nested more than %d deep", GROUPS_MAX);
    lua_rawsetfield(L, state, "group");
    lua_pushvalue(L, arg + 1);
    return luau_callk(L, 0, 0);
}

static int close_group(lua_State *L, int status)
{
    (void)status;
    push_state(L);
    lua_rawgetfield(L, -1, "group");
    lua_rawgetfield(L, -1, "parent");
    lua_rawsetfield(L, -3, "group");
    return 0;
}

static int add_test(lua_State *L, int arg, int mode)
{
    lua_Debug ar;
    check_name(L, "it", arg);
    lua_settop(L, arg + 1);
    push_open_state(L, "it");
    int state = lua_gettop(L);
    lua_newtable(L);
    lua_pushvalue(L, arg);
    lua_rawsetfield(L, -2, "name");
    lua_pushvalue(L, arg + 1);
    lua_rawsetfield(L, -2, "run");
    lua_pushnumber(L, mode);
    lua_rawsetfield(L, -2, "mode");
    lua_pushnumber(L, lua_getinfo(L, 1, "l", &ar) && ar.currentline > 0 ? ar.currentline : 0);
    lua_rawsetfield(L, -2, "line");
    lua_rawgetfield(L, state, "group");
    lua_rawsetfield(L, -2, "group");
    lua_rawgetfield(L, state, "tests");
    lua_insert(L, -2);
    lua_rawseti(L, -2, lua_objlen(L, -2) + 1);
    return 0;
}

/* `describe` and `it` are tables that can be called. */
static int describe_called(lua_State *L)
{
    return open_group(L, 2, MODE_PLAIN);
}
static int describe_skip(lua_State *L)
{
    return open_group(L, 1, MODE_SKIP);
}
static int describe_only(lua_State *L)
{
    return open_group(L, 1, MODE_ONLY);
}
static int it_called(lua_State *L)
{
    return add_test(L, 2, MODE_PLAIN);
}
static int it_skip(lua_State *L)
{
    return add_test(L, 1, MODE_SKIP);
}
static int it_only(lua_State *L)
{
    return add_test(L, 1, MODE_ONLY);
}

static int add_hook(lua_State *L, const char *what, const char *list)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    push_open_state(L, what);
    lua_rawgetfield(L, -1, "group");
    lua_rawgetfield(L, -1, list);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, lua_objlen(L, -2) + 1);
    return 0;
}

static int before_each(lua_State *L)
{
    return add_hook(L, "before_each", "before");
}
static int after_each(lua_State *L)
{
    return add_hook(L, "after_each", "after");
}

/* ---- The driver -------------------------------------------------------------------------------
 */

const char testing_driver[] =
    "local event = ...\n"
    "local driver = require(\"@testing/driver\")\n"
    "if event.data.phase == \"publish\" then return driver.publish() end\n"
    "for _, step in driver.steps(event.data.test, event.data.phase) do step() end\n";

/* Pushes the groups of the test on top, the innermost first; returns how many. */
static int push_groups(lua_State *L)
{
    int count = 0;
    luaL_checkstack(L, GROUPS_MAX + LUA_MINSTACK, "groups");
    for (lua_rawgetfield(L, -1, "group"); lua_istable(L, -1); count++)
        lua_rawgetfield(L, -1, "parent");
    lua_pop(L, 1);
    return count;
}

/* Appends the functions of the group at `group` to the list at `to`. */
static void add_steps(lua_State *L, int to, int group, const char *list)
{
    lua_rawgetfield(L, group, list);
    int count = lua_objlen(L, -1);
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, -1, i);
        lua_rawseti(L, to, lua_objlen(L, to) + 1);
    }
    lua_pop(L, 1);
}

/* steps(test, phase): what is to be called one after another. */
static int driver_steps(lua_State *L)
{
    int index = luaL_checkinteger(L, 1);
    bool after = strcmp(luaL_checkstring(L, 2), "after") == 0;
    lua_settop(L, 0);
    lua_newtable(L);
    push_state(L);
    set_flag(L, "running");
    lua_rawgetfield(L, -1, "tests");
    if (lua_rawgeti(L, -1, index) != LUA_TTABLE)
        luaL_error(L, "the file registered fewer tests than before");
    int test = lua_gettop(L);
    int groups = push_groups(L);
    for (int i = 0; i < groups; i++)
        add_steps(L, 1, after ? test + 1 + i : test + groups - i, after ? "after" : "before");
    if (!after) {
        lua_rawgetfield(L, test, "run");
        lua_rawseti(L, 1, lua_objlen(L, 1) + 1);
    }
    lua_settop(L, 1);
    return 1;
}

/* `FLAGS LINE NAME` and a NUL, for the test on top. FLAGS: letters s, o, a, or a dash. */
static void put_item(lua_State *L, Strbuf *out)
{
    int test = lua_gettop(L), mode = number(L, test, "mode"), line = number(L, test, "line");
    bool skipped = mode == MODE_SKIP, only = mode == MODE_ONLY, after = false;
    int groups = push_groups(L);
    for (int i = 1; i <= groups; i++) {
        skipped |= number(L, test + i, "mode") == MODE_SKIP;
        only |= number(L, test + i, "mode") == MODE_ONLY;
        lua_rawgetfield(L, test + i, "after");
        after |= lua_objlen(L, -1) > 0;
        lua_pop(L, 1);
    }
    strbuf_printf(out, "-%s%s%s %d ", skipped ? "s" : "", only ? "o" : "", after ? "a" : "", line);
    for (int i = groups; i >= 0; i--) {
        size_t length;
        if (lua_rawgetfield(L, test + i, "name") == LUA_TSTRING) {
            const char *name = lua_tolstring(L, -1, &length);
            strbuf_put(out, name, length);
            strbuf_puts(out, i > 0 ? " / " : "");
        }
        lua_pop(L, 1);
    }
    strbuf_putc(out, '\0');
    lua_settop(L, test);
}

bool testing_next(const Strbuf *list, size_t *at, TestingItem *item)
{
    if (*at >= list->length)
        return false;
    const char *p = list->data + *at;
    *at += strlen(p) + 1;
    *item = (TestingItem){0};
    for (; *p != ' '; p++) {
        item->is_skipped |= *p == 's';
        item->is_only |= *p == 'o';
        item->has_after |= *p == 'a';
    }
    char *end;
    item->line = (int)strtol(p, &end, 10);
    item->name = (Text){end + 1, strlen(end + 1)};
    return true;
}

/* ---- Calls ------------------------------------------------------------------------------------
 */

static TestingCall *of(KhronosCall *call)
{
    return (TestingCall *)call;
}

static int push_answer(lua_State *L, KhronosCall *base)
{
    TestingCall *call = of(base);
    InteropError error;
    if (call->error[0] != '\0') {
        lua_pushfstring(L, "%s%s", call->where, call->error);
        lua_error(L);
    }
    if (call->answer.length == 0)
        return 0;
    InteropReader reader = {.text = call->answer.data, .length = call->answer.length};
    if (!interop_decode(L, &reader, &error))
        luaL_error(L, "%s", error.text);
    return 1;
}

static void drop(KhronosCall *base)
{
    TestingCall *call = of(base);
    strbuf_free(&call->name);
    strbuf_free(&call->event);
    strbuf_free(&call->options);
    strbuf_free(&call->answer);
    free(call);
}

static void refuse(KhronosCall *base, const char *text)
{
    snprintf(of(base)->error, sizeof(of(base)->error), "%s", text);
}

/* Calls never leave the process: the rest of the kind is not there. */
static const KhronosCallKind KIND = {
    .number = TESTING_CALL_KIND, .push = push_answer, .drop = drop, .refuse = refuse};

static void copy(Strbuf *to, Text text)
{
    if (text.data)
        strbuf_put(to, text.data, text.length);
}

/* Texts may be in the scratch buffer, which is given back. Nothing raises until the call is made.
 */
static int submit(lua_State *L, TestingOp op, double seconds, Text name, Text event, Text options)
{
    lua_Debug ar;
    TestingCall *call = calloc(1, sizeof(*call));
    if (!call)
        luaL_error(L, "not enough memory");
    call->call.kind = &KIND;
    call->op = op;
    call->seconds = seconds;
    copy(&call->name, name);
    copy(&call->event, event);
    copy(&call->options, options);
    khronos_scratch_done(L);
    call->call.bytes = sizeof(*call) + name.length + event.length + options.length;
    if (lua_getinfo(L, 1, "sl", &ar) && ar.currentline >= 0)
        snprintf(call->where, sizeof(call->where), "%s:%d: ", ar.short_src, ar.currentline);
    if (call->name.failed || call->event.failed || call->options.failed)
        refuse(&call->call, "not enough memory");
    return khronos_call(L, &call->call);
}

static int driver_publish(lua_State *L)
{
    Strbuf *list = khronos_scratch(L);
    push_state(L);
    lua_rawgetfield(L, -1, "tests");
    int count = lua_objlen(L, -1);
    for (int i = 1; i <= count; i++) {
        lua_rawgeti(L, -1, i);
        put_item(L, list);
        lua_pop(L, 1);
    }
    Text text = {list->data, list->length};
    return submit(L, TESTING_PUBLISH, 0, text, (Text){0}, (Text){0});
}

/* Appends the value at index as JSON. */
static void put_json(lua_State *L, int index, const char *root, Strbuf *out)
{
    InteropWriter writer = {.out = out, .root = root};
    InteropError error;
    if (!interop_encode(L, index, &writer, &error))
        luaL_error(L, "%s", error.text);
}

static int testing_run(lua_State *L)
{
    Text name;
    luaL_checktype(L, 1, LUA_TSTRING);
    luaL_checktype(L, 2, LUA_TTABLE);
    if (!lua_isnoneornil(L, 3))
        luaL_checktype(L, 3, LUA_TTABLE);
    name.data = lua_tolstring(L, 1, &name.length);
    Strbuf *out = khronos_scratch(L);
    put_json(L, 2, "event", out);
    size_t length = out->length;
    if (!lua_isnoneornil(L, 3))
        put_json(L, 3, "options", out);
    Text event = {out->data, length}, options = {out->data + length, out->length - length};
    return submit(L, TESTING_RUN, 0, name, event, options);
}

static int testing_dispatch(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    Strbuf *out = khronos_scratch(L);
    put_json(L, 1, "event", out);
    return submit(L, TESTING_DISPATCH, 0, (Text){0}, (Text){out->data, out->length}, (Text){0});
}

static int testing_advance(lua_State *L)
{
    double seconds = luaL_checknumber(L, 1);
    if (!(seconds >= 0 && seconds <= 1e9))
        luaL_argerror(L, 1, "from 0 to 1000000000 seconds");
    return submit(L, TESTING_ADVANCE, seconds, (Text){0}, (Text){0}, (Text){0});
}

/* Templates' globals and ctx.store at once, the data by the host. */
static int testing_reset(lua_State *L)
{
    khronos_pushstore(L);
    lua_cleartable(L, -1);
    lua_pop(L, 1);
    instances_forget(L, runtime_instances(L));
    return submit(L, TESTING_RESET, 0, (Text){0}, (Text){0}, (Text){0});
}

static int testing_skip(lua_State *L)
{
    Text reason;
    reason.data = luaL_optlstring(L, 1, "", &reason.length);
    return submit(L, TESTING_SKIP, 0, reason, (Text){0}, (Text){0});
}

/* ---- Events, and the guild's data -------------------------------------------------------------
 */

/* A copy of the table with the defaults filled in. Its fields are judged where it is used. */
static int testing_event(lua_State *L)
{
    static const char *const known[] = {"name", "data", "base_name", "author", "id", "scopes"};
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    for (int iter = 0; (iter = lua_rawiter(L, 1, iter)) >= 0; lua_settop(L, 1)) {
        bool found = false;
        for (size_t i = 0; i < BASE_ARRAY_COUNT(known); i++)
            found |= lua_type(L, 2) == LUA_TSTRING && strcmp(lua_tostring(L, 2), known[i]) == 0;
        if (!found)
            luaL_error(L, "event has no field '%.64s': name, data, base_name, author, id, scopes",
                       lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_typename(L, 2));
    }
    lua_clonetable(L, 1);
    if (lua_rawgetfield(L, 2, "name") != LUA_TSTRING)
        luaL_error(L, "event: the name is missing: testing.event{name = ..., data = ...}");
    lua_settop(L, 2);
    if (lua_rawgetfield(L, 2, "base_name") == LUA_TNIL) {
        lua_pushliteral(L, "Custom");
        lua_rawsetfield(L, 2, "base_name");
    }
    lua_settop(L, 2);
    return 1;
}

/* The guild's ctx.KV, of somebody who may do everything. */
static int testing_kv(lua_State *L)
{
    static const char *const all[] = {"*"};
    Holder *holder = lua_newuserdatatagged(L, sizeof(*holder), KHRONOS_TAG_KV);
    *holder = (Holder){.guild_id = khronos_of(L)->guild_id, .caps = {all, 1}};
    return 1;
}

/* ---- Opening ----------------------------------------------------------------------------------
 */

static void push_callable(lua_State *L, lua_CFunction called, lua_CFunction skip,
                          lua_CFunction only, lua_Continuation done, const char *name)
{
    lua_newtable(L);
    lua_pushcclosurek(L, skip, "skip", 0, done);
    lua_rawsetfield(L, -2, "skip");
    lua_pushcclosurek(L, only, "only", 0, done);
    lua_rawsetfield(L, -2, "only");
    lua_newtable(L);
    lua_pushcclosurek(L, called, name, 0, done);
    lua_rawsetfield(L, -2, "__call");
    lua_setmetatable(L, -2);
}

static void open_module(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"before_each", before_each},
        {"after_each", after_each},
        {"event", testing_event},
        {"run", testing_run},
        {"dispatch", testing_dispatch},
        {"advance", testing_advance},
        {"reset", testing_reset},
        {"skip", testing_skip},
        {"kv", testing_kv},
        {"now", testing_now},
        {NULL, NULL},
    };
    testing_openclock(L);
    lua_newtable(L);
    luaL_register(L, NULL, functions);
    testing_pushexpect(L);
    lua_rawsetfield(L, -2, "expect");
    push_callable(L, describe_called, describe_skip, describe_only, close_group, "describe");
    lua_rawsetfield(L, -2, "describe");
    push_callable(L, it_called, it_skip, it_only, NULL, "it");
    lua_rawsetfield(L, -2, "it");
}

static void open_driver(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"publish", driver_publish},
        {"steps", driver_steps},
        {NULL, NULL},
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
}

const KhronosPlugin testing_plugins[TESTING_PLUGINS] = {
    {.namespace_name = "@antiraid", .name = "testing", .open = open_module},
    {.namespace_name = "@testing", .name = "driver", .open = open_driver},
};
