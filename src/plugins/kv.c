#include "plugins/kv.h"

#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "khronos/int64.h"
#include "khronos/khronos.h"
#include "plugins/plugins.h"
#include "plugins/store_call.h"

/* ---- Capabilities -----------------------------------------------------------------------------
 */

/* The longest: kv.meta[SCOPE]:list_scopes */
enum { CAP_SIZE = 32 + STORE_SCOPE_MAX };

/* Can a capability name this scope? One with a bracket or a colon could end the name early, and
 * then the rest of it would stand where the action stands. */
static bool is_nameable(Text scope)
{
    for (size_t i = 0; i < scope.length; i++) {
        unsigned char c = (unsigned char)scope.data[i];
        if (c < ' ' || c == 0x7F || strchr("[]:*", c))
            return false;
    }
    return true;
}

static bool allows(const Holder *kv, const char *cap)
{
    return caps_allows(kv->caps, cap, strlen(cap));
}

/* `rest` goes on after the capability. */
static BASE_NORETURN void refuse(lua_State *L, int number, const char *cap, const char *rest)
{
    char place[32] = "";
    if (number > 0)
        snprintf(place, sizeof(place), "operation %d: ", number);
    luaL_error(L, "%sthis call needs the capability '%s'%s", place, cap, rest);
}

static void require_plain(lua_State *L, const Holder *kv, int number, const char *cap)
{
    if (!allows(kv, cap))
        refuse(L, number, cap, "");
}

/* BASE:ACTION, or BASE[SCOPE]:ACTION for every scope; there is at least one. */
static void require_scoped(lua_State *L, const Holder *kv, int number, const char *base,
                           const char *action, const Text *scopes, int count)
{
    char cap[CAP_SIZE], scoped[CAP_SIZE], rest[CAP_SIZE + 64];
    BASE_ASSERT(count > 0);
    snprintf(cap, sizeof(cap), "%s:%s", base, action);
    if (allows(kv, cap))
        return;
    for (int i = 0; i < count; i++) {
        int length = (int)scopes[i].length;
        if (!is_nameable(scopes[i])) {
            snprintf(rest, sizeof(rest), ": none names the scope '%.*s'", length, scopes[i].data);
            refuse(L, number, cap, rest);
        }
        snprintf(scoped, sizeof(scoped), "%s[%.*s]:%s", base, length, scopes[i].data, action);
        if (!allows(kv, scoped)) {
            snprintf(rest, sizeof(rest), " or '%s'", scoped);
            refuse(L, number, cap, rest);
        }
    }
}

static const char *action_of(StoreKvKind kind)
{
    switch (kind) {
    case STORE_KV_GET: return "get";
    case STORE_KV_EXISTS: return "exists";
    case STORE_KV_SET: return "set";
    case STORE_KV_DELETE: return "delete";
    case STORE_KV_SETEXPIRY: return "setexpiry";
    }
    BASE_UNREACHABLE();
}

void kv_require(lua_State *L, const Holder *kv, int number, const KvDraft *draft)
{
    const StoreSelector *which = &draft->op.which;
    const char *action = action_of(draft->op.kind);
    if (which->id == 0) {
        require_scoped(L, kv, number, "kv", action, draft->scopes, which->scope_count);
        return;
    }
    char cap[CAP_SIZE]; /* an id says nothing of scopes */
    snprintf(cap, sizeof(cap), "kv:%s", action);
    require_plain(L, kv, number, "kv.meta:id_ops");
    require_plain(L, kv, number, cap);
}

/* ---- Requests ---------------------------------------------------------------------------------
 */

/* False: no memory. */
static bool copy_operation(StoreRequest *request, StoreKvOp *op, const KvDraft *draft,
                           const Strbuf *scratch)
{
    *op = draft->op;
    if (op->which.id == 0) {
        op->which.key = store_request_text(request, draft->op.which.key);
        op->which.scopes = store_request_texts(request, draft->scopes, draft->op.which.scope_count);
        if (!op->which.key.data || !op->which.scopes)
            return false;
    }
    if (op->kind != STORE_KV_SET)
        return true;
    Text json = {scratch->data + draft->value_start, draft->value_length};
    op->value = store_request_text(request, json);
    return op->value.data != NULL;
}

static StoreRequest *new_request(uint64_t guild_id, const KvDraft *drafts, int count,
                                 const Strbuf *scratch)
{
    StoreRequest *request = store_request_new(STORE_KV, guild_id);
    if (!request)
        return NULL;
    request->ops = store_request_alloc(request, (size_t)count * sizeof(StoreKvOp));
    request->op_count = request->ops ? count : 0;
    bool ok = request->ops != NULL;
    for (int i = 0; ok && i < count; i++)
        ok = copy_operation(request, &request->ops[i], &drafts[i], scratch);
    if (ok)
        return request;
    store_request_free(request);
    return NULL;
}

int kv_submit(lua_State *L, const Holder *kv, const KvDraft *drafts, int count,
              const Strbuf *scratch, int (*results)(lua_State *L, StoreRequest *request))
{
    StoreRequest *request = new_request(kv->guild_id, drafts, count, scratch);
    if (scratch)
        khronos_scratch_done(L);
    if (!request)
        luaL_error(L, "not enough memory");
    return store_call(L, request, true, results);
}

/* ---- Methods about one record -----------------------------------------------------------------
 */

static const struct {
    const char *name;
    StoreKvKind kind;
    bool by_id;
    int (*results)(lua_State *L, StoreRequest *request);
} METHODS[] = {
    {"get", STORE_KV_GET, false, kv_push_get},
    {"getrecord", STORE_KV_GET, false, kv_push_getrecord},
    {"exists", STORE_KV_EXISTS, false, kv_push_existed},
    {"set", STORE_KV_SET, false, kv_push_set},
    {"delete", STORE_KV_DELETE, false, kv_push_existed},
    {"setexpiry", STORE_KV_SETEXPIRY, false, kv_push_existed},
    {"getbyid", STORE_KV_GET, true, kv_push_get},
    {"getrecordbyid", STORE_KV_GET, true, kv_push_getrecord},
    {"setbyid", STORE_KV_SET, true, kv_push_set},
    {"deletebyid", STORE_KV_DELETE, true, kv_push_existed},
    {"setexpirybyid", STORE_KV_SETEXPIRY, true, kv_push_existed},
};

/* Upvalue 1: the index of the method. Arguments: the KV, then
 *     key, scopes           or    id
 *     key, scopes, expires_at     id, expires_at             setexpiry
 *     key, value, scopes, ...     id, value, ...             set; then expires_at, resume */
static int kv_operation(lua_State *L)
{
    int method = (int)lua_tonumber(L, lua_upvalueindex(1));
    const Holder *kv = holder_check(L, KHRONOS_TAG_KV, "ctx.KV", METHODS[method].name);
    bool sets = METHODS[method].kind == STORE_KV_SET;
    KvDraft draft;
    int next = sets ? 4 : 3; /* what comes after the key or id, and the value */
    lua_settop(L, 6);
    memset(&draft, 0, sizeof(draft));
    draft.op.kind = METHODS[method].kind;
    if (METHODS[method].by_id) {
        kv_read_id(L, 0, 2, &draft);
    } else {
        kv_read_key(L, 0, 2, &draft);
        draft.op.which.scope_count = kv_read_scopes(L, 0, next++, draft.scopes);
    }
    kv_require(L, kv, 0, &draft);
    if (sets || draft.op.kind == STORE_KV_SETEXPIRY)
        kv_read_expires(L, 0, next++, &draft);
    if (!sets)
        return kv_submit(L, kv, &draft, 1, NULL, METHODS[method].results);
    kv_read_resume(L, 0, next, &draft);
    Strbuf *scratch = khronos_scratch(L);
    kv_read_value(L, 0, 3, scratch, &draft);
    return kv_submit(L, kv, &draft, 1, scratch, METHODS[method].results);
}

/* ---- Methods about many -----------------------------------------------------------------------
 */

/* Takes what the page says. NULL: no memory. */
static StoreRequest *new_page(const Holder *kv, StoreOp op, Text pattern, const Text *scopes,
                              int count, KvPage page)
{
    StoreRequest *request = store_request_new(op, kv->guild_id);
    if (!request)
        return NULL;
    request->count_max = page.limit;
    request->after = store_request_text(request, page.after);
    request->pattern = store_request_text(request, pattern);
    request->scopes = count > 0 ? store_request_texts(request, scopes, count) : NULL;
    request->scope_count = count;
    if ((page.after.data && !request->after.data) || (pattern.data && !request->pattern.data) ||
        (count > 0 && !request->scopes)) {
        store_request_free(request);
        return NULL;
    }
    return request;
}

static int submit_page(lua_State *L, StoreRequest *request,
                       int (*results)(lua_State *L, StoreRequest *request))
{
    if (!request)
        luaL_error(L, "not enough memory");
    return store_call(L, request, false, results);
}

static int kv_find(lua_State *L)
{
    const Holder *kv = holder_check(L, KHRONOS_TAG_KV, "ctx.KV", "find");
    Text scopes[STORE_SCOPES_MAX], pattern;
    lua_settop(L, 4);
    if (lua_type(L, 2) != LUA_TSTRING)
        kv_complain(L, 0, "pattern", "a string expected, got %s", luaL_typename(L, 2));
    pattern.data = lua_tolstring(L, 2, &pattern.length);
    kv_check_text(L, 0, "pattern", pattern, KV_PATTERN_MAX);
    int count = kv_read_scopes(L, 0, 3, scopes);
    KvPage page = kv_read_page(L, 4);
    require_scoped(L, kv, 0, "kv", "find", scopes, count);
    return submit_page(L, new_page(kv, STORE_KV_FIND, pattern, scopes, count, page), kv_push_found);
}

static int kv_keys(lua_State *L)
{
    const Holder *kv = holder_check(L, KHRONOS_TAG_KV, "ctx.KV", "keys");
    Text scopes[STORE_SCOPES_MAX];
    lua_settop(L, 3);
    int count = kv_read_scopes(L, 0, 2, scopes);
    KvPage page = kv_read_page(L, 3);
    require_scoped(L, kv, 0, "kv.meta", "keys", scopes, count);
    return submit_page(L, new_page(kv, STORE_KV_KEYS, (Text){0}, scopes, count, page),
                       kv_push_keys);
}

static int kv_list_scopes(lua_State *L)
{
    const Holder *kv = holder_check(L, KHRONOS_TAG_KV, "ctx.KV", "list_scopes");
    lua_settop(L, 2);
    KvPage page = kv_read_page(L, 2);
    require_plain(L, kv, 0, "kv.meta:list_scopes");
    return submit_page(L, new_page(kv, STORE_KV_SCOPES, (Text){0}, NULL, 0, page), kv_push_scopes);
}

/* ---- Opening ----------------------------------------------------------------------------------
 */

int plugin_kv_new(lua_State *L)
{
    holder_push(L, 1, KHRONOS_TAG_KV, "kv");
    return 1;
}

void plugin_kv_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"find", kv_find},     {"keys", kv_keys}, {"list_scopes", kv_list_scopes},
        {"atomic", kv_atomic}, {NULL, NULL},
    };
    lua_newtable(L);
    luaL_register(L, NULL, methods);
    for (size_t i = 0; i < BASE_ARRAY_COUNT(METHODS); i++) {
        lua_pushnumber(L, (double)i);
        lua_pushcclosure(L, kv_operation, METHODS[i].name, 1);
        lua_setfield(L, -2, METHODS[i].name);
    }
    holder_open(L, KHRONOS_TAG_KV, "KV");
    lua_newtable(L);
    lua_pushcfunction(L, plugin_kv_new, "new");
    lua_setfield(L, -2, "new");
}
