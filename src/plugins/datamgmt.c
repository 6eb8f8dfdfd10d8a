/* @antiraid/datamgmt: bytes in other forms. The module, and what its natives share: bytes in and
 * out. What gives bytes gives them in the kind in which they came, string or buffer; what gives
 * text gives a string. */
#include "plugins/datamgmt.h"

#include <stdio.h>

#include "khronos/khronos.h"
#include "luau/bytes.h"
#include "plugins/plugins.h"

enum { SPARE_BYTES = 64 * 1024 }; /* for what comes with a large object */

bool datamgmt_read(lua_State *L, int index, DataIn *in)
{
    in->is_buffer = lua_isbuffer(L, index);
    if (in->is_buffer)
        in->bytes = lua_tobuffer(L, index, &in->length);
    else if (lua_type(L, index) == LUA_TSTRING)
        in->bytes = lua_tolstring(L, index, &in->length);
    else
        return false;
    return true;
}

void datamgmt_check(lua_State *L, int arg, DataIn *in)
{
    if (!datamgmt_read(L, arg, in))
        luaL_typeerror(L, arg, "string or buffer");
}

static size_t room_left(lua_State *L)
{
    luau_Account account;
    size_t limit = khronos_memory_limit(L);
    luau_account(L, &account);
    size_t used = account.reserved_bytes + SPARE_BYTES;
    return limit == 0 ? SIZE_MAX : limit > used ? limit - used : 0;
}

void datamgmt_checkroom(lua_State *L, size_t bytes)
{
    if (bytes <= room_left(L))
        return;
    lua_gc(L, LUA_GCCOLLECT, 0); /* as an allocation would */
    size_t left = room_left(L);
    if (bytes > left) {
        char text[120];
        snprintf(text, sizeof(text),
                 "the result needs %zu bytes, of the guild's memory %zu are left", bytes, left);
        luaL_error(L, "%s", text);
    }
}

void datamgmt_open(lua_State *L, DataOut *out, size_t length, bool is_buffer)
{
    datamgmt_checkroom(L, length);
    out->length = length;
    out->is_buffer = is_buffer;
    out->bytes = is_buffer ? lua_newbuffer(L, length) : luaL_buffinitsize(L, &out->text, length);
}

void datamgmt_close(lua_State *L, DataOut *out)
{
    (void)L;
    if (!out->is_buffer)
        luaL_pushresultsize(&out->text, out->length);
}

void datamgmt_copy(lua_State *L, char *to, const char *from, size_t length)
{
    luY_copy(to, from, length);
    luau_poll(L);
}

void plugin_datamgmt_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"base64encode", datamgmt_base64encode},
        {"base64decode", datamgmt_base64decode},
        {"compressgzip", datamgmt_compressgzip},
        {"decompressgzip", datamgmt_decompressgzip},
        {"sha256", datamgmt_sha256},
        {"hmac_sha256", datamgmt_hmac_sha256},
        {"tarread", datamgmt_tarread},
        {"tarwrite", datamgmt_tarwrite},
        {NULL, NULL},
    };
    lua_newtable(L);
    luaL_register(L, NULL, functions);
}
