/* ctx.KV:atomic: several operations, all or none of them. */
#include <string.h>

#include "base/base.h"
#include "khronos/int64.h"
#include "khronos/khronos.h"
#include "plugins/kv.h"

/* Fields of an item, in the order in which they stand on the stack while it is read, and the
 * operations that take them. */
enum { FOR_ALL = ~0, FOR_SET = 1 << STORE_KV_SET, FOR_TIMES = FOR_SET | 1 << STORE_KV_SETEXPIRY };
static const struct {
    const char *name;
    int operations;
} FIELDS[] = {
    {"op", FOR_ALL},    {"key", FOR_ALL},          {"scopes", FOR_ALL}, {"id", FOR_ALL},
    {"value", FOR_SET}, {"expires_at", FOR_TIMES}, {"resume", FOR_SET},
};
enum { OP = 1, KEY, SCOPES, ID, VALUE, EXPIRES, RESUME };

/* What a draft borrows from an item stays on the stack: the list may be a weak table. */
enum { KEPT_SLOTS = 3 /* the item, its scopes, its value */ };

static StoreKvKind read_kind(lua_State *L, int number, int index)
{
    static const char *const names[] = {[STORE_KV_GET] = "get",
                                        [STORE_KV_EXISTS] = "exists",
                                        [STORE_KV_SET] = "set",
                                        [STORE_KV_DELETE] = "delete",
                                        [STORE_KV_SETEXPIRY] = "setexpiry"};
    const char *name = lua_type(L, index) == LUA_TSTRING ? lua_tostring(L, index) : "";
    for (size_t i = 0; i < BASE_ARRAY_COUNT(names); i++)
        if (strcmp(names[i], name) == 0)
            return (StoreKvKind)i;
    kv_complain(L, number, "op", "get, exists, set, delete or setexpiry expected");
}

/* Every field is one that the operation takes: what is misspelt would be left out silently. */
static void check_fields(lua_State *L, int number, int item, StoreKvKind kind)
{
    for (int iter = 0; (iter = lua_rawiter(L, item, iter)) >= 0; lua_pop(L, 2)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
        size_t i = 0;
        while (i < BASE_ARRAY_COUNT(FIELDS) && strcmp(FIELDS[i].name, name) != 0)
            i++;
        if (i == BASE_ARRAY_COUNT(FIELDS))
            luaL_error(L, "operation %d: unknown field '%.64s'", number, name);
        if (!(FIELDS[i].operations & 1 << kind))
            luaL_error(L, "operation %d: its op has no '%s'", number, name);
    }
}

/* Pushes KEPT_SLOTS values. */
static void read_item(lua_State *L, const Holder *kv, int number, int list, KvDraft *draft)
{
    lua_rawgeti(L, list, number);
    int item = lua_gettop(L);
    if (!lua_istable(L, item))
        luaL_error(L, "operation %d: a table expected, got %s", number, luaL_typename(L, item));
    for (size_t i = 0; i < BASE_ARRAY_COUNT(FIELDS); i++)
        lua_rawgetfield(L, item, FIELDS[i].name);
    draft->op.kind = read_kind(L, number, item + OP);
    check_fields(L, number, item, draft->op.kind);
    if (lua_isnil(L, item + ID)) {
        kv_read_key(L, number, item + KEY, draft);
        draft->op.which.scope_count = kv_read_scopes(L, number, item + SCOPES, draft->scopes);
    } else if (lua_isnil(L, item + KEY) && lua_isnil(L, item + SCOPES)) {
        kv_read_id(L, number, item + ID, draft);
    } else {
        kv_complain(L, number, "id", "it stands in the place of 'key' and 'scopes'");
    }
    kv_read_expires(L, number, item + EXPIRES, draft);
    kv_read_resume(L, number, item + RESUME, draft);
    kv_require(L, kv, number, draft);
    lua_pushvalue(L, item + VALUE);
    lua_pushvalue(L, item + SCOPES);
    lua_replace(L, item + 1);
    lua_replace(L, item + 2);
    lua_settop(L, item + KEPT_SLOTS - 1);
}

int kv_atomic(lua_State *L)
{
    const Holder *kv = holder_check(L, KHRONOS_TAG_KV, "ctx.KV", "atomic");
    lua_settop(L, 2);
    int count = lua_istable(L, 2) ? lua_objlen(L, 2) : 0;
    if (count < 1 || count > STORE_ATOMIC_MAX)
        kv_complain(L, 0, "operations", "a list of 1 to %d tables expected", STORE_ATOMIC_MAX);
    luaL_checkstack(L, STORE_ATOMIC_MAX * KEPT_SLOTS + LUA_MINSTACK, "atomic");
    KvDraft *drafts = lua_newuserdata(L, (size_t)count * sizeof(KvDraft));
    int kept = lua_gettop(L) + 1;
    for (int i = 0; i < count; i++) {
        read_item(L, kv, i + 1, 2, &drafts[i]);
        luau_poll(L);
    }
    Strbuf *scratch = khronos_scratch(L);
    for (int i = 0; i < count; i++)
        if (drafts[i].op.kind == STORE_KV_SET)
            kv_read_value(L, i + 1, kept + i * KEPT_SLOTS + 2, scratch, &drafts[i]);
    return kv_submit(L, kv, drafts, count, scratch, kv_push_atomic);
}
