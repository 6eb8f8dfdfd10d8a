/* expect(value): an expectation, whose methods raise when it is not met.
 *
 * An expectation is a table {value, negated} with a metatable of the image. What is raised is a
 * text without a place: the run's place is the line of the test that called. */
#include "cli/testing.h"

#include "base/base.h"

enum { VALUE = 1, NEGATED = 2, SHOWN_BYTES = 600 };

static const char TYPE_NAME[] = "expectation";

/* The one at 1 has our metatable, of which scripts see no more than the name. */
static bool is_expectation(lua_State *L)
{
    if (lua_type(L, 1) != LUA_TTABLE || !lua_getmetatable(L, 1))
        return false;
    bool ours = lua_rawgetfield(L, -1, "__type") == LUA_TSTRING &&
                strcmp(lua_tostring(L, -1), TYPE_NAME) == 0;
    lua_pop(L, 2);
    return ours;
}

/* The expectation at 1 is replaced by its value; is it negated? */
static bool open_expectation(lua_State *L, const char *method)
{
    if (!is_expectation(L))
        luaL_error(L, "%s must be called with a colon: expect(value):%s(...)", method, method);
    lua_rawgeti(L, 1, NEGATED);
    bool negated = lua_toboolean(L, -1) != 0;
    lua_rawgeti(L, 1, VALUE);
    lua_replace(L, 1);
    lua_pop(L, 1);
    return negated;
}

static BASE_NORETURN void raise(lua_State *L, Strbuf *text)
{
    if (text->failed)
        lua_pushliteral(L, "the expectation was not met, and it is too long to show");
    else
        lua_pushlstring(L, text->data, text->length);
    khronos_scratch_done(L);
    lua_error(L);
}

/* `expected WHAT OPERAND` and what there is; operand 0: none. */
static BASE_NORETURN void fail(lua_State *L, bool negated, const char *what, int operand)
{
    Strbuf *text = khronos_scratch(L);
    strbuf_printf(text, "expected  %s%s", negated ? "not " : "", what);
    if (operand != 0) {
        strbuf_putc(text, ' ');
        testing_show(L, operand, text, SHOWN_BYTES);
    }
    strbuf_puts(text, "\ngot       ");
    testing_show(L, 1, text, SHOWN_BYTES);
    raise(L, text);
}

static void judge(lua_State *L, bool met, bool negated, const char *what, int operand)
{
    if (met == negated)
        fail(L, negated, what, operand);
}

/* ---- Matchers ---------------------------------------------------------------------------------
 */

static int to_be(lua_State *L)
{
    bool negated = open_expectation(L, "to_be");
    luaL_checkany(L, 2);
    bool met = lua_rawequal(L, 1, 2) || (!lua_istable(L, 1) && testing_equal(L, 1, 2));
    if (met != negated)
        return 0;
    if (negated)
        fail(L, true, "", 2);
    Strbuf *text = khronos_scratch(L);
    if (lua_istable(L, 1) && lua_istable(L, 2) && testing_equal(L, 1, 2)) {
        strbuf_puts(text, "expected the same table, got another one with the same fields (to_equal "
                          "compares fields)");
        raise(L, text);
    }
    testing_diff(L, 2, 1, text);
    raise(L, text);
}

static int to_equal(lua_State *L)
{
    bool negated = open_expectation(L, "to_equal");
    luaL_checkany(L, 2);
    if (testing_equal(L, 1, 2) != negated)
        return 0;
    if (negated)
        fail(L, true, "a value equal to", 2);
    Strbuf *text = khronos_scratch(L);
    testing_diff(L, 2, 1, text);
    raise(L, text);
}

static bool contains_text(lua_State *L, int text, int part)
{
    size_t length, part_length;
    const char *p = lua_tolstring(L, text, &length);
    const char *q = lua_tolstring(L, part, &part_length);
    return memmem(p, length, q, part_length) != NULL;
}

/* A value of the table at 1 equals the one at 2. */
static bool contains_value(lua_State *L)
{
    int top = lua_gettop(L);
    bool found = false;
    for (int iter = 0; !found && (iter = lua_rawiter(L, 1, iter)) >= 0; lua_settop(L, top)) {
        found = testing_equal(L, top + 2, 2);
        luau_poll(L);
    }
    return found;
}

static int to_contain(lua_State *L)
{
    bool negated = open_expectation(L, "to_contain");
    luaL_checkany(L, 2);
    int type = lua_type(L, 1);
    if (type != LUA_TTABLE && type != LUA_TSTRING)
        fail(L, false, "a table or a string that contains", 2);
    if (type == LUA_TSTRING && lua_type(L, 2) != LUA_TSTRING)
        luaL_error(L, "to_contain: a string contains strings, not a value of type %s",
                   luaL_typename(L, 2));
    bool met = type == LUA_TTABLE ? contains_value(L) : contains_text(L, 1, 2);
    judge(L, met, negated, type == LUA_TTABLE ? "a table that contains" : "a text that contains",
          2);
    return 0;
}

/* string.find(text, pattern) finds something. [e]: a bad pattern */
static bool matches(lua_State *L, int text, int pattern)
{
    luau_image_push(L, "string.find");
    lua_pushvalue(L, text);
    lua_pushvalue(L, pattern);
    lua_call(L, 2, 1);
    bool found = !lua_isnil(L, -1);
    lua_pop(L, 1);
    return found;
}

static int to_match(lua_State *L)
{
    bool negated = open_expectation(L, "to_match");
    luaL_checktype(L, 2, LUA_TSTRING);
    if (lua_type(L, 1) != LUA_TSTRING)
        fail(L, false, "a text that matches", 2);
    judge(L, matches(L, 1, 2), negated, "a text that matches", 2);
    return 0;
}

static int to_be_truthy(lua_State *L)
{
    bool negated = open_expectation(L, "to_be_truthy");
    judge(L, lua_toboolean(L, 1) != 0, negated, "a value that counts as true", 0);
    return 0;
}

static int to_be_falsy(lua_State *L)
{
    bool negated = open_expectation(L, "to_be_falsy");
    judge(L, lua_toboolean(L, 1) == 0, negated, "false or nil", 0);
    return 0;
}

static int to_be_nil(lua_State *L)
{
    bool negated = open_expectation(L, "to_be_nil");
    judge(L, lua_isnil(L, 1), negated, "nil", 0);
    return 0;
}

/* ---- Errors -----------------------------------------------------------------------------------
 * The function runs under the continuation to_error_done: it may wait. */

/* 1: the error; 2: the text or pattern, or nil. */
static bool is_wanted(lua_State *L)
{
    if (lua_isnil(L, 2))
        return true;
    return lua_type(L, 1) == LUA_TSTRING && (contains_text(L, 1, 2) || matches(L, 1, 2));
}

static int to_error_done(lua_State *L, int status)
{
    bool negated = lua_toboolean(L, 1) != 0, failed = status != LUA_OK;
    if (!failed)
        lua_pushnil(L); /* in the place of the error */
    lua_replace(L, 1);
    lua_settop(L, 2);
    Strbuf *text;
    if (!failed && negated)
        return 0;
    if (!failed) {
        text = khronos_scratch(L);
        strbuf_puts(text, "expected  an error");
        if (!lua_isnil(L, 2)) {
            strbuf_puts(text, " with ");
            testing_show(L, 2, text, SHOWN_BYTES);
        }
        strbuf_puts(text, "\ngot       none: the function returned");
        raise(L, text);
    }
    bool wanted = is_wanted(L);
    if (!negated && !wanted)
        fail(L, false, "an error with", 2);
    if (negated && wanted)
        fail(L, false, lua_isnil(L, 2) ? "no error" : "no error with", lua_isnil(L, 2) ? 0 : 2);
    return 0;
}

static int to_error(lua_State *L)
{
    bool negated = open_expectation(L, "to_error");
    if (!lua_isnoneornil(L, 2))
        luaL_checktype(L, 2, LUA_TSTRING);
    lua_settop(L, 2);
    if (!lua_isfunction(L, 1))
        luaL_error(L, "to_error: a function expected, got %s: expect(function() ... end)",
                   luaL_typename(L, 1));
    lua_pushvalue(L, 1);
    lua_pushboolean(L, negated);
    lua_replace(L, 1);
    return luau_pcallk(L, 0, 0);
}

/* ---- The expectation --------------------------------------------------------------------------
 */

/* A new one: upvalue 1 is the metatable. */
static int push_expectation(lua_State *L, int metatable, int value, bool negated)
{
    lua_createtable(L, 2, 0);
    lua_pushvalue(L, value);
    lua_rawseti(L, -2, VALUE);
    lua_pushboolean(L, negated);
    lua_rawseti(L, -2, NEGATED);
    lua_pushvalue(L, metatable);
    lua_setmetatable(L, -2);
    return 1;
}

static int never(lua_State *L)
{
    lua_settop(L, 1);
    if (!lua_getmetatable(L, 1))
        lua_pushnil(L);
    bool negated = open_expectation(L, "never");
    return push_expectation(L, 2, 1, !negated);
}

static int expect(lua_State *L)
{
    luaL_checkany(L, 1);
    return push_expectation(L, lua_upvalueindex(1), 1, false);
}

/* Upvalue 1: the methods. */
static int expectation_index(lua_State *L)
{
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    if (lua_isnil(L, 2) || lua_rawget(L, lua_upvalueindex(1)) == LUA_TNIL)
        luaL_error(L, "expect has no method '%.64s'",
                   lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : luaL_typename(L, 2));
    return 1;
}

void testing_pushexpect(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"to_be", to_be},
        {"to_equal", to_equal},
        {"to_contain", to_contain},
        {"to_match", to_match},
        {"to_be_truthy", to_be_truthy},
        {"to_be_falsy", to_be_falsy},
        {"to_be_nil", to_be_nil},
        {"never", never},
        {NULL, NULL},
    };
    lua_newtable(L);
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    lua_pushcclosurek(L, to_error, "to_error", 0, to_error_done);
    lua_rawsetfield(L, -2, "to_error");
    lua_pushcclosure(L, expectation_index, "__index", 1);
    lua_rawsetfield(L, -2, "__index");
    lua_pushstring(L, TYPE_NAME);
    lua_rawsetfield(L, -2, "__type");
    lua_pushliteral(L, "The metatable is locked");
    lua_rawsetfield(L, -2, "__metatable");
    lua_pushcclosure(L, expect, "expect", 1);
}
