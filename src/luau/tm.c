/* tm.c: core strings, metamethod lookup, type names (tm.h). */
#include "luau/tm.h"

#include "luau/charstr.h"
#include "luau/state.h"
#include "luau/str.h"
#include "luau/table.h"
#include "luau/tm_strings.h"

/* The layout of a String, with room for the longest. */
typedef struct CoreString {
    OBJECT_HEADER;
    uint8_t flags;
    uint8_t reserved;
    uint32_t length;
    uint32_t hash;
    char data[28];
} CoreString;
_Static_assert(offsetof(CoreString, hash) == offsetof(String, hash), "layout of String");
_Static_assert(offsetof(CoreString, data) == offsetof(String, data), "layout of String");
_Static_assert(sizeof(CoreString) % 8 == 0, "values point to multiples of 8 at least");

static _Alignas(8) const CoreString core_strings[] = {
#define X(text, hash) {OBJ_STRING, MARK_SHARED, STRING_HASHED, 0, sizeof(text) - 1, hash, text},
    CORE_STRINGS(X)
#undef X
};
_Static_assert(BASE_ARRAY_COUNT(core_strings) == TM_COUNT + LUA_T_COUNT + TEXT_COUNT,
               "run tools/gen_core_strings.py");

static const uint8_t core_index[CORE_INDEX_SIZE] = {CORE_INDEX};

const char *const luTM_typenames[LUA_T_COUNT] = {
#define X(id, name) name,
    LUAU_TYPENAMES(X)
#undef X
};

static String *core_string(int number)
{
    return (String *)(uintptr_t)&core_strings[number];
}

String *luTM_name(TM event)
{
    return core_string((int)event);
}

String *luTM_typename(int type)
{
    return core_string(TM_COUNT + type);
}

String *luTM_text(CoreText text)
{
    return core_string(TM_COUNT + LUA_T_COUNT + (int)text);
}

String *luTM_core(const char *data, size_t length, uint32_t hash)
{
    if (length == 0)
        return luS_empty();
    if (length == 1)
        return luS_char(data[0]);
    if (length >= sizeof(core_strings[0].data))
        return NULL;
    if (hash == 0)
        hash = luS_hash(data, length);
    for (uint32_t i = hash % CORE_INDEX_SIZE; core_index[i]; i = (i + 1) % CORE_INDEX_SIZE) {
        String *s = core_string(core_index[i] - 1);
        if (s->hash == hash && s->length == length && memcmp(s->data, data, length) == 0)
            return s;
    }
    return NULL;
}

Value luTM_lookup(Table *meta, TM event)
{
    Value *slot = luT_findstring(meta, luTM_name(event));
    if (slot)
        return *slot;
    if (event < 8 && !object_isshared(meta))
        meta->tm_absent |= (uint8_t)(1u << event);
    return VAL_NIL;
}

Table *luTM_metatable(lua_State *L, Value v)
{
    if (val_istable(v))
        return val_table(v)->meta;
    Global_ *g = G(L);
    if (val_isuserdata(v)) {
        const Udata *userdata = val_udata(v);
        if (userdata->meta || !g->udata_meta || userdata->tag >= LUA_UTAG_LIMIT)
            return userdata->meta;
        return g->udata_meta[userdata->tag];
    }
    return g->type_meta[val_type(v)];
}

Value luTM_of(lua_State *L, Value v, TM event)
{
    Table *meta = luTM_metatable(L, v);
    if (!meta || (event < 8 && (meta->tm_absent & (1u << event))))
        return VAL_NIL;
    return luTM_lookup(meta, event);
}

const String *luTM_objectname(lua_State *L, Value v)
{
    if (val_isuserdata(v) && val_udata(v)->tag != UDATA_PROXY) {
        Value name = luTM_of(L, v, TM_TYPE);
        if (val_isstring(name))
            return val_string(name);
    }
    return luTM_typename(val_type(v));
}
