/* The time that test files and the templates under test see: the runtime's clock, which the test
 * runner moves. Natives of the library that look at the machine's clocks are replaced while the
 * image is built. */
#include <string.h>

#include "base/clock.h"
#include "cli/testing.h"
#include "khronos/int64.h"
#include "khronos/runtime.h"
#include "plugins/datetime.h"

/* Since the clocks began. */
static uint64_t since_start_ns(lua_State *L)
{
    return runtime_now_ns(khronos_of(L)) - TESTING_START_NS;
}

static double wall_s(lua_State *L)
{
    return (double)(TESTING_EPOCH_S + (int64_t)(since_start_ns(L) / CLOCK_NS_PER_S));
}

/* testing.now(): seconds since 1970, with a fraction. */
int testing_now(lua_State *L)
{
    lua_pushnumber(L, (double)testing_wall_ms(runtime_now_ns(khronos_of(L))) / 1000);
    return 1;
}

/* In whole milliseconds, as in production. */
static int clock_native(lua_State *L)
{
    lua_pushnumber(L, (double)(since_start_ns(L) / CLOCK_NS_PER_MS) / 1000);
    return 1;
}

/* Upvalue 1: the library's. */
static int time_native(lua_State *L)
{
    if (lua_isnoneornil(L, 1)) {
        lua_pushnumber(L, wall_s(L));
        return 1;
    }
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

/* Upvalue 1: the library's. */
static int date_native(lua_State *L)
{
    lua_settop(L, 2);
    if (lua_isnil(L, 1)) {
        lua_pushliteral(L, "%c");
        lua_replace(L, 1);
    }
    if (lua_isnil(L, 2)) {
        lua_pushnumber(L, wall_s(L));
        lua_replace(L, 2);
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 2, 1);
    return 1;
}

/* zone:now() */
static int zone_now(lua_State *L)
{
    const Zone *zone = datetime_checkzone(L, 1)->zone;
    datetime_push(L, TESTING_EPOCH_S * NANOS_PER_S + (Nanos)since_start_ns(L), zone);
    return 1;
}

/* __index of time zones. Upvalue 1: the plugin's; 2: zone_now. */
static int zone_index(lua_State *L)
{
    lua_settop(L, 2);
    if (lua_type(L, 2) == LUA_TSTRING && strcmp(lua_tostring(L, 2), "now") == 0) {
        lua_pushvalue(L, lua_upvalueindex(2));
        return 1;
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, 2, 1);
    return 1;
}

/* Of the table on top; the one that stands there is upvalue 1. */
static void wrap(lua_State *L, const char *name, lua_CFunction native)
{
    lua_rawgetfield(L, -1, name);
    lua_pushcclosure(L, native, name, 1);
    lua_rawsetfield(L, -2, name);
}

void testing_openclock(lua_State *L)
{
    lua_getglobal(L, "os");
    wrap(L, "clock", clock_native);
    wrap(L, "time", time_native);
    wrap(L, "date", date_native);
    lua_pop(L, 1);
    lua_getuserdatametatable(L, KHRONOS_TAG_TIMEZONE);
    lua_rawgetfield(L, -1, "__index");
    lua_pushcfunction(L, zone_now, "now");
    lua_pushcclosure(L, zone_index, "__index", 2);
    lua_rawsetfield(L, -2, "__index");
    lua_pop(L, 1);
}
