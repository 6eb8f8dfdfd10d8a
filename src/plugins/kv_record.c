/* What the store answers, as Luau values. Runs on the VM's fiber, polls, may be killed; the request
 * is the call's, which outlives that. */
#include <stdio.h>

#include "base/num.h"
#include "khronos/datetime.h"
#include "khronos/interop.h"
#include "plugins/kv.h"

void kv_push_id(lua_State *L, int64_t id)
{
    char text[NUM_TEXT_MAX];
    int length = num_format_i64(id, text);
    lua_pushlstring(L, text, (size_t)length);
}

void kv_push_value(lua_State *L, Text json)
{
    InteropReader reader = {.text = json.data, .length = json.length, .stored = true};
    InteropError error;
    if (!interop_decode(L, &reader, &error))
        luaL_error(L, "the stored value cannot be read: %s", error.text);
}

static void push_text(lua_State *L, Text text)
{
    lua_pushlstring(L, text.data, text.length);
}

/* ---- Records ----------------------------------------------------------------------------------
 */

static void push_list(lua_State *L, const Text *texts, int count)
{
    lua_createtable(L, count, 0);
    for (int i = 0; i < count; i++) {
        push_text(L, texts[i]);
        lua_rawseti(L, -2, i + 1);
    }
}

static void set_time(lua_State *L, const char *field, int64_t ms)
{
    if (ms == STORE_NO_TIME)
        return;
    datetime_push_ms(L, ms);
    lua_rawsetfield(L, -2, field);
}

static void set_flag(lua_State *L, const char *field, bool flag)
{
    lua_pushboolean(L, flag);
    lua_rawsetfield(L, -2, field);
}

static void push_record(lua_State *L, const StoreRecord *record)
{
    lua_createtable(L, 0, 10);
    kv_push_id(L, record->id);
    lua_rawsetfield(L, -2, "id");
    push_text(L, record->key);
    lua_rawsetfield(L, -2, "key");
    push_list(L, record->scopes, record->scope_count);
    lua_rawsetfield(L, -2, "scopes");
    if (record->value.data) {
        kv_push_value(L, record->value);
        lua_rawsetfield(L, -2, "value");
    }
    set_flag(L, "exists", true);
    set_time(L, "created_at", record->created_ms);
    set_time(L, "last_updated_at", record->updated_ms);
    set_time(L, "expires_at", record->expires_ms);
    set_flag(L, "resume", record->resume);
    set_flag(L, "expiry_failed", record->has_failed);
}

/* What there is to say of a record that is not there: what was asked for. */
static void push_absent(lua_State *L, const StoreSelector *which)
{
    lua_createtable(L, 0, 4);
    if (which->id != 0) {
        kv_push_id(L, which->id);
        lua_rawsetfield(L, -2, "id");
    } else {
        push_text(L, which->key);
        lua_rawsetfield(L, -2, "key");
        push_list(L, which->scopes, which->scope_count);
        lua_rawsetfield(L, -2, "scopes");
    }
    set_flag(L, "exists", false);
    set_flag(L, "resume", false);
}

/* ---- Operations -------------------------------------------------------------------------------
 */

/* Is, or was, there such a record? */
static bool existed(const StoreRequest *request, const StoreKvOp *op)
{
    if (request->status == STORE_NOT_FOUND)
        return false;
    return op->kind == STORE_KV_SET ? op->existed : op->record.id != 0;
}

int kv_push_get(lua_State *L, StoreRequest *request)
{
    const StoreKvOp *op = &request->ops[0];
    bool found = existed(request, op);
    if (found)
        kv_push_value(L, op->record.value);
    else
        lua_pushnil(L);
    lua_pushboolean(L, found);
    return 2;
}

int kv_push_existed(lua_State *L, StoreRequest *request)
{
    lua_pushboolean(L, existed(request, &request->ops[0]));
    return 1;
}

int kv_push_getrecord(lua_State *L, StoreRequest *request)
{
    const StoreKvOp *op = &request->ops[0];
    if (existed(request, op))
        push_record(L, &op->record);
    else
        push_absent(L, &op->which);
    return 1;
}

/* {exists, id, value}: the id and value of what is there. */
static void push_outcome(lua_State *L, const StoreRequest *request, const StoreKvOp *op)
{
    bool exists = existed(request, op);
    lua_createtable(L, 0, 3);
    set_flag(L, "exists", exists);
    if (request->status == STORE_OK && op->record.id != 0) {
        kv_push_id(L, op->record.id);
        lua_rawsetfield(L, -2, "id");
    }
    if (exists && op->kind == STORE_KV_GET) {
        kv_push_value(L, op->record.value);
        lua_rawsetfield(L, -2, "value");
    }
}

int kv_push_set(lua_State *L, StoreRequest *request)
{
    push_outcome(L, request, &request->ops[0]);
    return 1;
}

int kv_push_atomic(lua_State *L, StoreRequest *request)
{
    if (request->status == STORE_NOT_FOUND)
        luaL_error(L, "there is no record with the id that one of the operations sets; nothing was "
                      "done");
    lua_createtable(L, request->op_count, 0);
    for (int i = 0; i < request->op_count; i++) {
        push_outcome(L, request, &request->ops[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

/* ---- Pages ------------------------------------------------------------------------------------
 */

/* Under it the page; the start of the next one, or nil. */
static int push_next(lua_State *L, const StoreRequest *request)
{
    if (request->next.data)
        push_text(L, request->next);
    else
        lua_pushnil(L);
    return 2;
}

static void mark_array(lua_State *L)
{
    interop_pusharraymeta(L);
    lua_setmetatable(L, -2);
}

int kv_push_found(lua_State *L, StoreRequest *request)
{
    lua_createtable(L, request->record_count, 0);
    mark_array(L);
    for (int i = 0; i < request->record_count; i++) {
        push_record(L, &request->records[i]);
        lua_rawseti(L, -2, i + 1);
        luau_poll(L);
    }
    return push_next(L, request);
}

int kv_push_keys(lua_State *L, StoreRequest *request)
{
    lua_createtable(L, request->record_count, 0);
    mark_array(L);
    for (int i = 0; i < request->record_count; i++) {
        push_text(L, request->records[i].key);
        lua_rawseti(L, -2, i + 1);
    }
    return push_next(L, request);
}

int kv_push_scopes(lua_State *L, StoreRequest *request)
{
    lua_createtable(L, request->text_count, 0);
    mark_array(L);
    for (int i = 0; i < request->text_count; i++) {
        push_text(L, request->texts[i]);
        lua_rawseti(L, -2, i + 1);
    }
    return push_next(L, request);
}
