/* Arguments of ctx.KV. Nothing is taken for what it is not: a number is no key, and a field that
 * nobody knows is a mistake. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/jsontext.h"
#include "khronos/datetime.h"
#include "khronos/interop.h"
#include "khronos/khronos.h"
#include "plugins/kv.h"

void kv_complain(lua_State *L, int number, const char *argument, const char *format, ...)
{
    char text[400], place[32] = "";
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (number > 0)
        snprintf(place, sizeof(place), "operation %d: ", number);
    luaL_error(L, "%sinvalid '%s': %s", place, argument, text);
}

/* ---- Texts ------------------------------------------------------------------------------------
 */

/* 1 to length_max bytes of UTF-8 without a NUL, as every store can keep and compare them. */
void kv_check_text(lua_State *L, int number, const char *argument, Text text, size_t length_max)
{
    if (text.length == 0 || text.length > length_max)
        kv_complain(L, number, argument, "1 to %zu bytes expected, got %zu", length_max,
                    text.length);
    size_t valid = json_utf8_valid(text.data, text.length);
    if (valid != text.length)
        kv_complain(L, number, argument, "invalid UTF-8 at byte %zu", valid + 1);
    const char *nul = memchr(text.data, '\0', text.length);
    if (nul)
        kv_complain(L, number, argument, "a NUL at byte %zu", (size_t)(nul - text.data) + 1);
}

static Text read_text(lua_State *L, int number, int index, const char *argument, size_t length_max)
{
    Text text;
    if (lua_type(L, index) != LUA_TSTRING)
        kv_complain(L, number, argument, "a string of 1 to %zu bytes expected, got %s", length_max,
                    luaL_typename(L, index));
    text.data = lua_tolstring(L, index, &text.length);
    kv_check_text(L, number, argument, text, length_max);
    return text;
}

void kv_read_key(lua_State *L, int number, int index, KvDraft *draft)
{
    draft->op.which.key = read_text(L, number, index, "key", STORE_KEY_MAX);
}

void kv_read_id(lua_State *L, int number, int index, KvDraft *draft)
{
    size_t length = 0;
    const char *text = NULL;
    int64_t id = 0;
    if (lua_type(L, index) == LUA_TSTRING)
        text = lua_tolstring(L, index, &length);
    bool good = text && length > 0 && text[0] != '0';
    for (size_t i = 0; good && i < length; i++) {
        good = text[i] >= '0' && text[i] <= '9' && !__builtin_mul_overflow(id, 10, &id) &&
               !__builtin_add_overflow(id, text[i] - '0', &id);
    }
    if (!good)
        kv_complain(L, number, "id", "a string of digits expected, as records have it%s%s",
                    text ? "" : ", got ", text ? "" : luaL_typename(L, index));
    draft->op.which.id = id;
}

/* How many values a plain list of at most `most` has; else -1. */
static int list_length(lua_State *L, int index, int most)
{
    if (!lua_istable(L, index))
        return -1;
    int length = lua_objlen(L, index), fields = 0;
    if (length > most) /* not worth a walk, which could be long */
        return -1;
    for (int iter = 0; fields <= length && (iter = lua_rawiter(L, index, iter)) >= 0; fields++)
        lua_pop(L, 2);
    return length == fields ? length : -1;
}

int kv_read_scopes(lua_State *L, int number, int index, Text *scopes)
{
    int count = list_length(L, index, STORE_SCOPES_MAX);
    if (count <= 0)
        kv_complain(L, number, "scopes", "a list of 1 to %d strings expected%s%s", STORE_SCOPES_MAX,
                    lua_istable(L, index) ? "" : ", got ",
                    lua_istable(L, index) ? "" : luaL_typename(L, index));
    for (int i = 0; i < count; i++) {
        char name[24];
        snprintf(name, sizeof(name), "scopes[%d]", i + 1);
        lua_rawgeti(L, index, i + 1);
        scopes[i] = read_text(L, number, lua_gettop(L), name, STORE_SCOPE_MAX);
        lua_pop(L, 1);
    }
    return count;
}

/* ---- The rest ---------------------------------------------------------------------------------
 */

void kv_read_expires(lua_State *L, int number, int index, KvDraft *draft)
{
    StoreKvOp *op = &draft->op;
    if (interop_isnull(L, index) || (op->kind == STORE_KV_SETEXPIRY && lua_isnoneornil(L, index)))
        op->expires = STORE_CLEAR;
    else if (lua_isnoneornil(L, index))
        op->expires = STORE_KEEP;
    else if (datetime_to_ms(L, index, &op->expires_ms))
        op->expires = STORE_SET;
    else
        kv_complain(L, number, "expires_at",
                    "a DateTime, an RFC 3339 text, seconds since 1970 or interop.null expected");
}

void kv_read_resume(lua_State *L, int number, int index, KvDraft *draft)
{
    if (lua_isnoneornil(L, index))
        draft->op.resume = STORE_KEEP;
    else if (lua_isboolean(L, index))
        draft->op.resume = lua_toboolean(L, index) ? STORE_SET : STORE_CLEAR;
    else
        kv_complain(L, number, "resume", "a boolean expected, got %s", luaL_typename(L, index));
}

void kv_read_value(lua_State *L, int number, int index, Strbuf *scratch, KvDraft *draft)
{
    InteropWriter writer = {.out = scratch, .stored = true, .root = "value"};
    InteropError error;
    draft->value_start = scratch->length;
    if (!interop_encode(L, index, &writer, &error)) {
        khronos_scratch_done(L);
        kv_complain(L, number, "value", "%s", error.text);
    }
    draft->value_length = scratch->length - draft->value_start;
    if (draft->value_length > STORE_VALUE_MAX) {
        khronos_scratch_done(L);
        kv_complain(L, number, "value", "%zu bytes as JSON, at most %d can be stored",
                    draft->value_length, STORE_VALUE_MAX);
    }
}

static void check_page_fields(lua_State *L, int index)
{
    for (int iter = 0; (iter = lua_rawiter(L, index, iter)) >= 0; lua_pop(L, 2)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;
        if (!name || (strcmp(name, "after") != 0 && strcmp(name, "limit") != 0))
            kv_complain(L, 0, "options", "only 'after' and 'limit' are known");
    }
}

KvPage kv_read_page(lua_State *L, int index)
{
    KvPage page = {.limit = 0};
    if (lua_isnoneornil(L, index))
        return page;
    if (!lua_istable(L, index))
        kv_complain(L, 0, "options", "a table expected, got %s", luaL_typename(L, index));
    check_page_fields(L, index);
    if (lua_rawgetfield(L, index, "after") != LUA_TNIL)
        page.after = read_text(L, 0, lua_gettop(L), "after", KV_AFTER_MAX);
    if (lua_rawgetfield(L, index, "limit") != LUA_TNIL) {
        double limit = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : 0;
        if (!(limit >= 1 && limit <= STORE_PAGE_MAX && limit == floor(limit)))
            kv_complain(L, 0, "limit", "a whole number from 1 to %d expected", STORE_PAGE_MAX);
        page.limit = (int)limit;
    }
    lua_pop(L, 2);
    return page;
}
