/* image.c: frozen libraries shared by VMs.
 *
 * Making one: `open` fills the globals of a fresh VM. A full collection drops what it left behind;
 * then everything reachable from the globals, the type metatables and the metatables of userdata
 * tags is walked breadth first and frozen: tables read-only, strings hashed and each content kept
 * once (or replaced by the program's core string), absent metamethods noted in advance, so that
 * no reader ever has a reason to write. Each object gets MARK_SHARED and loses its colour: no
 * collector touches it. The VM itself stays as the owner of the memory and closes with the image.
 *
 * Ids are paths, the shortest and among those the first in the order of bytes, so they are the same
 * in every process that opens the same libraries: `_G`, `string.format`, `a[1]`, `a["b c"]`,
 * `getmetatable(string)` of a type, `getmetatable(a)` of a table, `upvalue(f, 1)`. */
#include "luau/image.h"

#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "luau/api.h"

typedef struct ImageObject {
    GCObject *object;
    char *id; /* malloc'd */
} ImageObject;

struct luau_Image {
    atomic_int refs;
    lua_State *L; /* owner of the memory; NULL until it is there */
    Table *base, *basemeta;
    Table *type_meta[LUA_T_COUNT];
    Table **udata_meta;   /* in L's heap, or NULL */
    ImageObject *objects; /* in the order they were found; frozen: by address */
    ImageObject *by_id;
    int object_count, object_room;
    String **strings; /* open addressing by hash; at most half full */
    uint32_t string_count, string_room;
    size_t id_bytes;
};

/* ---- strings --------------------------------------------------------------------------------- */

static String **string_slot(const luau_Image *image, const char *data, size_t length, uint32_t hash)
{
    uint32_t mask = image->string_room - 1;
    for (uint32_t i = hash & mask;; i = (i + 1) & mask) {
        String *s = image->strings[i];
        if (!s || (s->hash == hash && s->length == length && memcmp(s->data, data, length) == 0))
            return &image->strings[i];
    }
}

const String *luI_string(const luau_Image *image, const char *data, size_t length, uint32_t hash)
{
    const String *core = luTM_core(data, length, hash);
    if (core || !image || !image->string_room)
        return core;
    return *string_slot(image, data, length, hash);
}

static void *grow(lua_State *L, void *block, size_t count, size_t size)
{
    void *grown = reallocarray(block, count, size);
    if (!grown)
        luD_throw(L, LUA_ERRMEM);
    return grown;
}

static void grow_strings(luau_Image *image)
{
    String **old = image->strings;
    uint32_t old_room = image->string_room;
    uint32_t room = old_room ? old_room * 2 : 256;
    String **strings = grow(image->L, NULL, room, sizeof(String *));
    memset(strings, 0, room * sizeof(String *));
    image->strings = strings;
    image->string_room = room;
    for (uint32_t i = 0; i < old_room; i++) {
        if (old[i])
            *string_slot(image, old[i]->data, old[i]->length, old[i]->hash) = old[i];
    }
    free(old);
}

/* The one object for these bytes that lives as long as the image. */
static String *canonical_string(luau_Image *image, String *s)
{
    uint32_t hash = luS_hashof(s);
    String *core = luTM_core(s->data, s->length, hash);
    if (core)
        return core;
    if (image->string_count * 2 >= image->string_room)
        grow_strings(image);
    String **slot = string_slot(image, s->data, s->length, hash);
    if (!*slot) {
        if (object_isshared(s)) { /* a module's: it may go before the image does */
            s = luS_new(image->L, s->data, s->length);
            luS_hashof(s);
        }
        s->mark = MARK_SHARED;
        *slot = s;
        image->string_count++;
    }
    return *slot;
}

/* ---- finding objects ------------------------------------------------------------------------- */

/* What an object refers to, with the id it would get. */
typedef struct Found {
    GCObject *object;
    char *id;
} Found;
typedef struct Finds {
    Found *items;
    int count, room;
} Finds;

/* The walk, in one place so that an error loses none of its memory. */
typedef struct Walk {
    luau_Image *image;
    Finds finds;
    luau_OpenFunction open;
    void *userdata;
} Walk;

static BASE_NORETURN void refuse(lua_State *L, const char *what, const char *id)
{
    luaL_error(L, "an image cannot hold a %s: %s", what, id);
}

/* Takes the id. */
static void note(Walk *walk, GCObject *object, char *id)
{
    lua_State *L = walk->image->L;
    if (!id)
        luD_throw(L, LUA_ERRMEM);
    Finds *finds = &walk->finds;
    if (finds->count == finds->room) {
        int room = finds->room ? finds->room * 2 : 64;
        Found *items = reallocarray(finds->items, (size_t)room, sizeof(Found));
        if (!items) {
            free(id);
            luD_throw(L, LUA_ERRMEM);
        }
        finds->items = items;
        finds->room = room;
    }
    finds->items[finds->count++] = (Found){object, id};
}

static char *format_id(const char *format, ...) BASE_PRINTF(1, 2);
static char *format_id(const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    return length < 0 ? NULL : text;
}

static bool is_name(const String *s)
{
    for (uint32_t i = 0; i < s->length; i++) {
        char c = s->data[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
              (i > 0 && c >= '0' && c <= '9')))
            return false;
    }
    return s->length > 0;
}

/* Id of the field `key` of the table with that id; the base table adds no prefix. */
static char *field_id(const luau_Image *image, const Table *t, const char *id, Value key)
{
    if (val_isstring(key)) {
        const char *name = val_string(key)->data;
        if (!is_name(val_string(key)))
            return format_id("%s[\"%s\"]", id, name);
        return t == image->base ? format_id("%s", name) : format_id("%s.%s", id, name);
    }
    if (val_isnumber(key))
        return format_id("%s[%.17g]", id, key.n);
    if (val_isinteger(key))
        return format_id("%s[%" PRId64 "i]", id, val_integer(key)->n);
    if (val_isboolean(key))
        return format_id("%s[%s]", id, val_istrue(key) ? "true" : "false");
    return format_id("%s[?]", id);
}

/* Makes a string canonical in place; notes an object. Takes the id. */
static void visit_value(Walk *walk, Value *v, char *id)
{
    lua_State *L = walk->image->L;
    if (!id)
        luD_throw(L, LUA_ERRMEM);
    switch (val_type(*v)) {
    case LUA_TTABLE:
    case LUA_TFUNCTION:
    case LUA_TINTEGER:
    case LUA_TVECTOR:
    case LUA_TUSERDATA:
    case LUA_TTHREAD:
    case LUA_TBUFFER: note(walk, val_object(*v), id); return;
    case LUA_TSTRING:
        free(id);
        *v = val_fromstring(canonical_string(walk->image, val_string(*v)));
        return;
    default: free(id); return;
    }
}

static void visit_meta(Walk *walk, Table *meta, const char *of)
{
    if (meta)
        note(walk, (GCObject *)meta, format_id("getmetatable(%s)", of));
}

static void visit_table(Walk *walk, Table *t, const char *id)
{
    visit_meta(walk, t->meta, id);
    for (int i = 0; i < t->array_size; i++)
        visit_value(walk, &t->array[i], field_id(walk->image, t, id, val_number(i + 1)));
    if (t->node == luT_dummy)
        return;
    for (int i = 0; i < table_nodecount(t); i++) {
        Node *node = &t->node[i];
        if (val_isnil(node->value)) {
            node->key = VAL_NIL; /* removed; it may refer to what is no more */
            continue;
        }
        visit_value(walk, &node->value, field_id(walk->image, t, id, node->key));
        visit_value(walk, &node->key, format_id("key(%s)", id));
    }
}

static void visit_function(Walk *walk, Closure *f, const char *id)
{
    if (f->kind == CLOSURE_LUA)
        refuse(walk->image->L, "function written in Luau", id);
    for (int i = 0; i < f->nup; i++)
        visit_value(walk, &f->c.up[i], format_id("upvalue(%s, %d)", id, i + 1));
}

static int compare_found(const void *a, const void *b)
{
    return strcmp(((const Found *)a)->id, ((const Found *)b)->id);
}

/* Gives the noted objects their place in the image, in the order of their ids. */
static void enlist_finds(Walk *walk)
{
    luau_Image *image = walk->image;
    Finds *finds = &walk->finds;
    if (finds->count > 1)
        qsort(finds->items, (size_t)finds->count, sizeof(Found), compare_found);
    if (image->object_room - image->object_count < finds->count) {
        int room = (image->object_count + finds->count) * 2;
        image->objects = grow(image->L, image->objects, (size_t)room, sizeof(ImageObject));
        image->object_room = room;
    }
    for (int i = 0; i < finds->count; i++) {
        Found *found = &finds->items[i];
        if (object_isshared(found->object)) {
            free(found->id);
        } else {
            found->object->mark = MARK_SHARED;
            image->objects[image->object_count++] = (ImageObject){found->object, found->id};
            image->id_bytes += strlen(found->id) + 1;
        }
    }
    finds->count = 0;
}

static void visit_roots(Walk *walk)
{
    luau_Image *image = walk->image;
    note(walk, (GCObject *)image->base, format_id("_G"));
    note(walk, (GCObject *)image->basemeta, format_id("getmetatable(globals)"));
    for (int t = 0; t < LUA_T_COUNT; t++)
        visit_meta(walk, image->type_meta[t], luTM_typenames[t]);
    for (int tag = 0; image->udata_meta && tag < LUA_UTAG_LIMIT; tag++) {
        char name[24];
        snprintf(name, sizeof(name), "userdata %d", tag);
        visit_meta(walk, image->udata_meta[tag], name);
    }
    enlist_finds(walk);
}

static void walk_all(Walk *walk)
{
    luau_Image *image = walk->image;
    visit_roots(walk);
    for (int i = 0; i < image->object_count; i++) {
        ImageObject at = image->objects[i];
        switch (at.object->type) {
        case OBJ_TABLE: visit_table(walk, (Table *)at.object, at.id); break;
        case OBJ_FUNCTION: visit_function(walk, (Closure *)at.object, at.id); break;
        case OBJ_INTEGER:
        case OBJ_VECTOR: break;
        default: refuse(image->L, luTM_typenames[at.object->type], at.id);
        }
        enlist_finds(walk);
    }
}

/* ---- freezing -------------------------------------------------------------------------------- */

static void freeze_table(Table *t)
{
    (void)luT_length(t); /* remembers the border while it may */
    for (int e = 0; e < 8; e++) {
        Value *slot = luT_findstring(t, luTM_name((TM)e));
        if (!slot || val_isnil(*slot))
            t->tm_absent |= (uint8_t)(1u << e);
        else
            t->tm_absent &= (uint8_t) ~(1u << e);
    }
    t->flags = (uint8_t)((t->flags & TABLE_SEEDED) | TABLE_READONLY);
}

static int compare_address(const void *a, const void *b)
{
    uintptr_t x = (uintptr_t)((const ImageObject *)a)->object;
    uintptr_t y = (uintptr_t)((const ImageObject *)b)->object;
    return x < y ? -1 : x > y;
}

static int compare_id(const void *a, const void *b)
{
    return strcmp(((const ImageObject *)a)->id, ((const ImageObject *)b)->id);
}

/* Ids that came out alike (two keys that are objects, a key with a dot) are told apart. */
static void make_ids_unique(luau_Image *image)
{
    ImageObject *ids = image->by_id;
    bool again;
    do {
        again = false;
        qsort(ids, (size_t)image->object_count, sizeof(ImageObject), compare_id);
        for (int i = 1; i < image->object_count; i++) {
            if (strcmp(ids[i].id, ids[i - 1].id) == 0) {
                size_t length = strlen(ids[i].id);
                char *id = grow(image->L, ids[i].id, length + 2, 1);
                memcpy(id + length, "'", 2);
                for (int k = 0; k < image->object_count; k++) {
                    if (image->objects[k].object == ids[i].object)
                        image->objects[k].id = id;
                }
                ids[i].id = id;
                again = true;
            }
        }
    } while (again);
}

static void freeze(luau_Image *image)
{
    for (int i = 0; i < image->object_count; i++) {
        if (image->objects[i].object->type == OBJ_TABLE)
            freeze_table((Table *)image->objects[i].object);
    }
    size_t count = (size_t)image->object_count;
    image->by_id = grow(image->L, NULL, count, sizeof(ImageObject));
    memcpy(image->by_id, image->objects, count * sizeof(ImageObject));
    make_ids_unique(image);
    qsort(image->objects, count, sizeof(ImageObject), compare_address);
}

/* ---- making and dropping --------------------------------------------------------------------- */

static void set_base(lua_State *L, luau_Image *image)
{
    lua_pushvalue(L, LUA_GLOBALSINDEX);
    image->base = val_table(L->top[-1]);
    if (lua_rawgetfield(L, -1, "_G") == LUA_TNIL) {
        lua_pushvalue(L, -2);
        lua_rawsetfield(L, -3, "_G");
    }
    lua_settop(L, 0);
    lua_createtable(L, 0, 1);
    lua_pushvalue(L, LUA_GLOBALSINDEX);
    lua_rawsetfield(L, -2, "__index");
    image->basemeta = val_table(L->top[-1]); /* stays on the stack of the owner */
}

static void build(lua_State *L, void *arg)
{
    Walk *walk = arg;
    luau_Image *image = walk->image;
    Global_ *g = G(L);
    walk->open(L, walk->userdata);
    lua_settop(L, 0);
    set_base(L, image);
    g->registry = NULL;
    g->ref_free = 0;
    lua_gc(L, LUA_GCCOLLECT, 0);
    g->gc.stopped = true;
    memcpy(image->type_meta, g->type_meta, sizeof(image->type_meta));
    image->udata_meta = g->udata_meta;
    walk_all(walk);
    freeze(image);
    luH_trim(g);
}

static void free_image(luau_Image *image)
{
    for (int i = 0; i < image->object_count; i++)
        free(image->objects[i].id);
    free(image->objects);
    free(image->by_id);
    free(image->strings);
    if (image->L)
        lua_close(image->L);
    free(image);
}

static void give_error(char *error, size_t error_size, const char *text)
{
    if (error && error_size > 0)
        snprintf(error, error_size, "%s", text);
}

luau_Image *luau_image_new(luau_OpenFunction open, void *userdata, char *error, size_t error_size)
{
    luau_Image *image = calloc(1, sizeof(*image));
    lua_State *L = image ? luaL_newstate() : NULL;
    if (!L) {
        free(image);
        give_error(error, error_size, "not enough memory");
        return NULL;
    }
    atomic_init(&image->refs, 1);
    image->L = L;
    Walk walk = {.image = image, .open = open, .userdata = userdata};
    int status = luD_pcall(L, build, &walk, luD_savestack(L, L->top));
    for (int i = 0; i < walk.finds.count; i++)
        free(walk.finds.items[i].id);
    free(walk.finds.items);
    if (status != LUA_OK) {
        Value v = L->top[-1];
        give_error(error, error_size, val_isstring(v) ? val_string(v)->data : "error in open");
        free_image(image);
        return NULL;
    }
    return image;
}

luau_Image *luau_image_retain(luau_Image *image)
{
    if (image)
        atomic_fetch_add_explicit(&image->refs, 1, memory_order_relaxed);
    return image;
}

void luau_image_release(luau_Image *image)
{
    /* The last one must see what all others did with it before it frees it. */
    if (image && atomic_fetch_sub_explicit(&image->refs, 1, memory_order_acq_rel) == 1)
        free_image(image);
}

size_t luau_image_bytes(const luau_Image *image)
{
    return sizeof(*image) + G(image->L)->heap.reserved_bytes + image->id_bytes +
           (size_t)(image->object_room + image->object_count) * sizeof(ImageObject) +
           image->string_room * sizeof(String *);
}

/* ---- looking things up ----------------------------------------------------------------------- */

Table *luI_base(const luau_Image *image)
{
    return image->base;
}

Table *luI_basemeta(const luau_Image *image)
{
    return image->basemeta;
}

Table *luI_typemeta(const luau_Image *image, int type)
{
    return image->type_meta[type];
}

Table **luI_udatameta(const luau_Image *image)
{
    return image->udata_meta;
}

Value luI_lookup(const luau_Image *image, const char *const *names, int count)
{
    Value v = val_fromtable(image->base);
    for (int i = 0; i < count; i++) {
        size_t length = strlen(names[i]);
        const String *name = luI_string(image, names[i], length, luS_hash(names[i], length));
        if (!name || !val_istable(v))
            return VAL_NIL;
        v = luT_getstring(val_table(v), (String *)name);
    }
    return v;
}

const char *luau_image_id(lua_State *L, int index)
{
    const luau_Image *image = G(L)->image;
    Value v = luE_value(L, index);
    if (!image || !val_isheap(v) || !object_isshared(val_object(v)))
        return NULL;
    ImageObject key = {.object = val_object(v)};
    const ImageObject *found = bsearch(&key, image->objects, (size_t)image->object_count,
                                       sizeof(ImageObject), compare_address);
    return found ? found->id : NULL;
}

int luau_image_push(lua_State *L, const char *id)
{
    const luau_Image *image = G(L)->image;
    ImageObject key = {.id = (char *)id};
    const ImageObject *found = image ? bsearch(&key, image->by_id, (size_t)image->object_count,
                                               sizeof(ImageObject), compare_id)
                                     : NULL;
    Value v = VAL_NIL;
    if (found) {
        switch (found->object->type) {
        case OBJ_TABLE: v = val_fromtable(found->object); break;
        case OBJ_FUNCTION: v = val_fromclosure(found->object); break;
        default: v = val_fromobject(found->object); break;
        }
    }
    api_push(L, v);
    return val_type(v);
}
