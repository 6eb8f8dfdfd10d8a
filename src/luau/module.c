/* module.c: the memory of a module, its strings, shapes of tables, and its life.
 *
 * A module's parts come from blocks that only it owns, bump-allocated, so that freeing it walks a
 * short list. While it is built an intern table (malloc'd, dropped by luM_seal) keeps one String
 * per content, so the compiler may compare string constants by address. */
#include "luau/module.h"

#include <stdio.h>
#include <stdlib.h>

#include "luau/arena.h"
#include "luau/bytes.h"
#include "luau/fiber.h"
#include "luau/image.h"
#include "luau/str.h"

struct ModuleBlock {
    ModuleBlock *next;
    char *free, *end;
};

/* Open addressing; count is at most 3/4 of the slots. */
typedef struct ModuleStrings {
    const String **slots;
    size_t size, count;
} ModuleStrings;

enum {
    FIRST_BLOCK_BYTES = 1024,
    LAST_BLOCK_BYTES = 32 * 1024,
    FIRST_STRING_SLOTS = 32,
    STRINGS_PER_PAUSE = 4096
};

/* ---- Memory ---------------------------------------------------------------------------------- */

static void fail_nomem(luau_Module *module)
{
    longjmp(*module->fail, ARENA_NOMEM);
}

/* Charged to the module; fails over its cap. */
static void *charged_alloc(luau_Module *module, size_t size)
{
    if (module->max_bytes && (size > module->max_bytes || module->bytes > module->max_bytes - size))
        fail_nomem(module);
    void *p = malloc(size);
    if (!p)
        fail_nomem(module);
    module->bytes += size;
    return p;
}

static void add_block(luau_Module *module, size_t need)
{
    size_t size = FIRST_BLOCK_BYTES;
    while (size < module->bytes && size < LAST_BLOCK_BYTES)
        size *= 2;
    bool own = need > size / 4; /* a large part gets a block of its own size */
    if (own)
        size = need;
    ModuleBlock *block = charged_alloc(module, sizeof(ModuleBlock) + size);
    block->free = (char *)(block + 1);
    block->end = block->free + size;
    if (own && module->blocks) { /* the block being filled stays in front */
        block->next = module->blocks->next;
        module->blocks->next = block;
    } else {
        block->next = module->blocks;
        module->blocks = block;
    }
}

void *luM_alloc(luau_Module *module, size_t size)
{
    BASE_ASSERT(!module->sealed);
    if (size > SIZE_MAX / 4)
        fail_nomem(module);
    size = (size + 7) & ~(size_t)7;
    ModuleBlock *block = module->blocks;
    if (!block || (size_t)(block->end - block->free) < size) {
        add_block(module, size);
        block = module->blocks;
        if ((size_t)(block->end - block->free) < size)
            block = block->next; /* it got its own, put second */
    }
    void *p = block->free;
    block->free += size;
    luY_clear(p, size);
    return p;
}

/* ---- Life ------------------------------------------------------------------------------------ */

/* What luM_new allocates besides the module itself; false: no memory. */
static bool fill_new(luau_Module *module, const char *chunkname)
{
    jmp_buf nomem; /* the caller has no module to free yet */
    module->fail = &nomem;
    if (setjmp(nomem))
        return false;
    module->strings = charged_alloc(module, sizeof(ModuleStrings));
    memset(module->strings, 0, sizeof(ModuleStrings));
    size_t length = luY_textlength(chunkname);
    module->chunkname = luM_string(module, chunkname, length);
    char shown[LUA_IDSIZE];
    luM_shownname(shown, chunkname, length);
    size_t shown_size = strlen(shown) + 1;
    module->shown_name = memcpy(luM_alloc(module, shown_size), shown, shown_size);
    return true;
}

luau_Module *luM_new(const luau_Image *image, const char *chunkname, size_t max_bytes,
                     jmp_buf *fail)
{
    luau_Module *module = calloc(1, sizeof(luau_Module));
    if (!module)
        return NULL;
    atomic_init(&module->refs, 1);
    module->bytes = sizeof(luau_Module);
    module->max_bytes = max_bytes;
    module->image = image ? luau_image_retain((luau_Image *)(uintptr_t)image) : NULL;
    if (!fill_new(module, chunkname)) {
        luau_module_release(module);
        return NULL;
    }
    module->fail = fail;
    return module;
}

static void drop_strings(luau_Module *module)
{
    if (!module->strings)
        return;
    module->bytes -= sizeof(ModuleStrings) + module->strings->size * sizeof(const String *);
    free(module->strings->slots);
    free(module->strings);
    module->strings = NULL;
}

void luM_seal(luau_Module *module)
{
    drop_strings(module);
    module->fail = NULL;
    module->sealed = true;
}

luau_Module *luau_module_retain(luau_Module *module)
{
    atomic_fetch_add_explicit(&module->refs, 1, memory_order_relaxed);
    return module;
}

void luau_module_release(luau_Module *module)
{
    if (!module)
        return;
    /* Release orders this owner's last use before the decrement; acquire makes the one that frees
     * see all of them. */
    int before = atomic_fetch_sub_explicit(&module->refs, 1, memory_order_acq_rel);
    BASE_ASSERT(before >= 1);
    if (before > 1)
        return;
    drop_strings(module);
    for (ModuleBlock *block = module->blocks; block;) {
        ModuleBlock *next = block->next;
        free(block);
        block = next;
    }
    if (module->image)
        luau_image_release((luau_Image *)(uintptr_t)module->image);
    free(module);
}

size_t luau_module_bytes(const luau_Module *module)
{
    return module->bytes;
}

/* ---- Strings --------------------------------------------------------------------------------- */

static void grow_strings(luau_Module *module)
{
    ModuleStrings *strings = module->strings;
    size_t size = strings->size ? strings->size * 2 : FIRST_STRING_SLOTS;
    const String **slots = charged_alloc(module, size * sizeof(const String *));
    luY_clear((char *)slots, size * sizeof(const String *));
    for (size_t i = 0; i < strings->size; i++) {
        const String *s = strings->slots[i];
        if (!s)
            continue;
        size_t at = s->hash & (size - 1);
        while (slots[at])
            at = (at + 1) & (size - 1);
        slots[at] = s;
        if (i % STRINGS_PER_PAUSE == STRINGS_PER_PAUSE - 1)
            luY_pause();
    }
    module->bytes -= strings->size * sizeof(const String *);
    free(strings->slots);
    strings->slots = slots;
    strings->size = size;
}

/* A shared object with room for its owner in the 8 bytes before it (MARK_MODULE). */
static void *new_object(luau_Module *module, size_t size)
{
    luau_Module **p = luM_alloc(module, sizeof(luau_Module *) + size);
    *p = module;
    return p + 1;
}

static const String *new_string(luau_Module *module, const char *data, size_t length, uint32_t hash)
{
    String *s = new_object(module, string_size(length));
    s->type = OBJ_STRING;
    s->mark = MARK_SHARED | MARK_MODULE;
    s->flags = STRING_HASHED;
    s->length = (uint32_t)length;
    s->hash = hash;
    luY_copy(s->data, data, length);
    return s;
}

const String *luM_string(luau_Module *module, const char *data, size_t length)
{
    if (length > LUAU_STRING_MAX)
        fail_nomem(module);
    ModuleStrings *strings = module->strings;
    uint32_t hash = luS_hash(data, length);
    if (strings->count * 4 >= strings->size * 3)
        grow_strings(module);
    size_t at = hash & (strings->size - 1);
    for (const String *s; (s = strings->slots[at]) != NULL; at = (at + 1) & (strings->size - 1))
        if (s->hash == hash && s->length == length && luY_compare(s->data, data, length) == 0)
            return s;
    const String *s = luI_string(module->image, data, length, hash);
    if (!s)
        s = new_string(module, data, length, hash);
    strings->slots[at] = s;
    strings->count++;
    return s;
}

const Integer *luM_integer(luau_Module *module, int64_t n)
{
    Integer *integer = new_object(module, sizeof(Integer));
    integer->type = OBJ_INTEGER;
    integer->mark = MARK_SHARED | MARK_MODULE;
    integer->n = n;
    return integer;
}

const Vector *luM_vector(luau_Module *module, float x, float y, float z)
{
    Vector *v = new_object(module, sizeof(Vector));
    v->type = OBJ_VECTOR;
    v->mark = MARK_SHARED | MARK_MODULE;
    v->v[0] = x;
    v->v[1] = y;
    v->v[2] = z;
    return v;
}

/* ---- Shapes ---------------------------------------------------------------------------------- */

static void shape_insert(Node *node, int32_t *chain, int count, int32_t *last_free, Value key)
{
    int main = (int)(val_string(key)->hash & (uint32_t)(count - 1));
    if (val_isnil(node[main].key)) {
        node[main].key = key;
        return;
    }
    int spare = *last_free - 1; /* exists: a shape never has more keys than nodes */
    while (!val_isnil(node[spare].key))
        spare--;
    *last_free = spare;
    int other = (int)(val_string(node[main].key)->hash & (uint32_t)(count - 1));
    if (other == main) { /* the new key goes right behind the main node */
        chain[spare] = chain[main] ? main + chain[main] - spare : 0;
        chain[main] = spare - main;
        node[spare].key = key;
        return;
    }
    while (other + chain[other] != main)
        other += chain[other];
    chain[other] = spare - other;
    chain[spare] = chain[main] ? main + chain[main] - spare : 0;
    node[spare].key = node[main].key;
    chain[main] = 0;
    node[main].key = key;
}

void luM_shape(luau_Module *module, Shape *shape, const Value *keys, int key_count, int node_count,
               int array_size)
{
    memset(shape, 0, sizeof(*shape));
    shape->array_size = array_size;
    if (node_count == 0)
        return;
    BASE_ASSERT(key_count <= node_count && (node_count & (node_count - 1)) == 0);
    Node *node = luM_alloc(module, (size_t)node_count * (sizeof(Node) + sizeof(int32_t)));
    int32_t *chain = (int32_t *)(node + node_count);
    for (int i = 0; i < node_count; i++)
        node[i].key = node[i].value = VAL_NIL;
    int32_t last_free = node_count;
    for (int i = 0; i < key_count; i++)
        shape_insert(node, chain, node_count, &last_free, keys[i]);
    while (1 << shape->lsizenode < node_count)
        shape->lsizenode++;
    shape->last_free = last_free;
    shape->node = node;
}

/* ---- Chunk names ----------------------------------------------------------------------------- */

void luM_shownname(char *out, const char *chunkname, size_t length)
{
    const size_t room = LUA_IDSIZE - 1;
    if (*chunkname == '=') {
        size_t n = length - 1 < room ? length - 1 : room;
        memcpy(out, chunkname + 1, n);
        out[n] = '\0';
    } else if (*chunkname == '@') {
        if (length - 1 <= room)
            memcpy(out, chunkname + 1, length);
        else
            snprintf(out, LUA_IDSIZE, "...%s", chunkname + length - (room - 3));
    } else {
        char start[LUA_IDSIZE]; /* what can be shown, and a byte more */
        size_t known = length < room ? length : room;
        memcpy(start, chunkname, known);
        start[known] = '\0';
        size_t line = strcspn(start, "\r\n");
        size_t most = room - (sizeof("[string \"...\"]") - 1);
        size_t n = line < most ? line : most;
        snprintf(out, LUA_IDSIZE, "[string \"%.*s%s\"]", (int)n, chunkname,
                 chunkname[n] ? "..." : "");
    }
}
