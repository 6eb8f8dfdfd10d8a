/* Archives and lists of files, both ways: {name, data, mode, mtime}. Tables are read raw, so
 * nothing of the guild runs in between. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "plugins/datamgmt.h"
#include "plugins/tar.h"

enum { FILES_MAX = 10000, MODE_DEFAULT = 0644, POLL_FILES = 16 };

/* ---- Reading ----------------------------------------------------------------------------------
 */

static void push_data(lua_State *L, const TarMember *member, bool is_buffer)
{
    DataOut out;
    datamgmt_open(L, &out, member->size, is_buffer);
    datamgmt_copy(L, out.bytes, member->data, member->size);
    datamgmt_close(L, &out);
}

static void push_file(lua_State *L, const TarMember *member, bool is_buffer)
{
    lua_createtable(L, 0, 4);
    lua_pushlstring(L, member->name, member->name_length);
    lua_rawsetfield(L, -2, "name");
    push_data(L, member, is_buffer);
    lua_rawsetfield(L, -2, "data");
    lua_pushinteger(L, member->mode);
    lua_rawsetfield(L, -2, "mode");
    lua_pushnumber(L, member->mtime);
    lua_rawsetfield(L, -2, "mtime");
}

/* tarread(archive): the files in it, in their order; the data of each as what the archive was. */
int datamgmt_tarread(lua_State *L)
{
    DataIn in;
    TarMember member;
    TarStep step;
    const char *error;
    int count = 0, members = 0;
    datamgmt_check(L, 1, &in);
    lua_settop(L, 1);
    lua_newtable(L);
    TarReader reader = {.bytes = in.bytes, .length = in.length};
    while ((step = tar_next(&reader, &member, &error)) == TAR_MEMBER) {
        if (++members % POLL_FILES == 0)
            luau_poll(L);
        if (!member.is_file)
            continue;
        if (++count > FILES_MAX)
            luaL_error(L, "the archive has more than %d files", FILES_MAX);
        push_file(L, &member, in.is_buffer);
        lua_rawseti(L, 2, count);
    }
    if (step == TAR_BAD) {
        char text[120];
        snprintf(text, sizeof(text), "no tar archive: %s at byte %zu", error, reader.at + 1);
        luaL_argerror(L, 1, text);
    }
    return 1;
}

/* ---- Writing ----------------------------------------------------------------------------------
 */

static BASE_NORETURN void refuse(lua_State *L, int number, const char *what)
{
    char text[120];
    snprintf(text, sizeof(text), "file %d: %s", number, what);
    luaL_argerror(L, 1, text);
}

/* The number in that field of the table on top. */
static double check_number(lua_State *L, const char *field, double most, double otherwise,
                           int number, const char *complaint)
{
    double value = otherwise;
    int type = lua_rawgetfield(L, -1, field);
    if (type == LUA_TNUMBER)
        value = floor(lua_tonumber(L, -1));
    else if (type != LUA_TNIL)
        refuse(L, number, complaint);
    if (!(value >= 0 && value <= most))
        refuse(L, number, complaint);
    lua_pop(L, 1);
    return value;
}

static void read_name(lua_State *L, int number, TarMember *member)
{
    size_t length = 0;
    if (lua_rawgetfield(L, -1, "name") != LUA_TSTRING)
        refuse(L, number, "its name must be a string");
    const char *name = lua_tolstring(L, -1, &length);
    if (length == 0 || length > TAR_NAME_MAX)
        refuse(L, number, "its name must have 1 to 4096 bytes");
    if (memchr(name, '\0', length))
        refuse(L, number, "its name has a NUL in it");
    if (name[length - 1] == '/')
        refuse(L, number, "its name ends with '/', as that of a directory");
    memcpy(member->name, name, length);
    member->name_length = length;
    lua_pop(L, 1);
}

/* The file at that place in the list. Pushes its data: nobody else may keep it, tables can be weak.
 */
static void read_file(lua_State *L, int number, TarMember *member)
{
    DataIn data;
    lua_rawgeti(L, 1, number);
    if (!lua_istable(L, -1))
        refuse(L, number, "it must be a table {name, data}");
    read_name(L, number, member);
    member->mode = (int)check_number(L, "mode", 07777, MODE_DEFAULT, number,
                                     "its mode must be a number from 0 to 0o7777 (4095)");
    member->mtime = check_number(L, "mtime", (double)TAR_MTIME_MAX, 0, number,
                                 "its mtime must be seconds since 1970, from 0 to 2^33 - 1");
    lua_rawgetfield(L, -1, "data");
    if (!datamgmt_read(L, -1, &data))
        refuse(L, number, "its data must be a string or a buffer");
    member->data = data.bytes;
    member->size = data.length;
    lua_replace(L, -2);
}

/* Size of the whole archive. */
static size_t measure(lua_State *L, int count, TarMember *member)
{
    size_t total = TAR_TRAILER_BYTES;
    for (int i = 1; i <= count; i++) {
        read_file(L, i, member);
        total += tar_header_bytes(member->name, member->name_length) + member->size +
                 tar_padding(member->size);
        lua_pop(L, 1);
        if (i % POLL_FILES == 0)
            luau_poll(L);
    }
    return total;
}

/* tarwrite(list): the archive, a buffer. */
int datamgmt_tarwrite(lua_State *L)
{
    TarMember member;
    DataOut out;
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    int count = lua_objlen(L, 1);
    if (count > FILES_MAX)
        luaL_argerror(L, 1, "more than 10000 files");
    datamgmt_open(L, &out, measure(L, count, &member), true);
    char *to = out.bytes;
    for (int i = 1; i <= count; i++) {
        read_file(L, i, &member);
        tar_put_header(to, &member);
        to += tar_header_bytes(member.name, member.name_length);
        datamgmt_copy(L, to, member.data, member.size);
        lua_pop(L, 1);
        to += member.size;
        memset(to, 0, tar_padding(member.size));
        to += tar_padding(member.size);
    }
    memset(to, 0, TAR_TRAILER_BYTES);
    datamgmt_close(L, &out);
    return 1;
}
