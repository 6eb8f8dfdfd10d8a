/* table.c: tables: making, inserting, resizing (reference 13.2; table_hash.c has the layout).
 *
 * The order of every step matters, because `next` shows it: which node a key gets depends on who
 * came before it. So this file follows the reference to the letter, and the unit test compares it
 * with an implementation of its own.
 *
 * Growing allocates first and changes the table after, so a table is whole at any time. */
#include "luau/table.h"

#include "luau/api.h"
#include "luau/image.h"

enum {
    POLL_SLOTS = 4096, /* slots looked at between two polls */
    BITS_MAX = 26,
    SEED_BYTES = 16
};
_Static_assert(1 << BITS_MAX == LUAU_TABLE_MAX, "ranges of integer keys");

/* In loops over slots: parks when it is time. Never unwinds: a kill waits for a safepoint. */
#define POLL(L, i)                                                                                 \
    do {                                                                                           \
        if (BASE_UNLIKELY((i) % POLL_SLOTS == POLL_SLOTS - 1))                                     \
            luau_pollkill(L);                                                                      \
    } while (0)

/* ---- parts ----------------------------------------------------------------------------------- */

static size_t nodes_size(int lsizenode, bool seeded)
{
    return ((sizeof(Node) + sizeof(int32_t)) << lsizenode) + (seeded ? SEED_BYTES : 0);
}

static size_t node_part_size(const Table *t)
{
    return t->node == luT_dummy ? 0 : nodes_size(t->lsizenode, t->flags & TABLE_SEEDED);
}

size_t luT_partsize(const Table *t)
{
    return (size_t)t->array_size * sizeof(Value) + node_part_size(t);
}

void luT_freeparts(lua_State *L, Table *t)
{
    luH_free(L, t->array, (size_t)t->array_size * sizeof(Value));
    if (t->node != luT_dummy)
        luH_free(L, t->node, node_part_size(t));
}

static void fill_nil(lua_State *L, Value *slots, int from, int to)
{
    for (int i = from; i < to; i++) {
        slots[i] = VAL_NIL;
        POLL(L, i);
    }
}

static void clear_nodes(lua_State *L, Node *nodes, int count)
{
    int32_t *chain = (int32_t *)(nodes + count);
    for (int i = 0; i < count; i++) {
        nodes[i].key = nodes[i].value = VAL_NIL;
        POLL(L, i);
    }
    for (int i = 0; i < count; i++) {
        chain[i] = 0;
        POLL(L, i);
    }
}

/* memcpy that polls. */
static void copy_bytes(lua_State *L, void *to, const void *from, size_t size)
{
    const size_t step = 4 * POLL_SLOTS * sizeof(Value);
    for (size_t at = 0; at < size; at += step) {
        memcpy((char *)to + at, (const char *)from + at, size - at < step ? size - at : step);
        if (size > step)
            luau_pollkill(L);
    }
}

/* Smallest power of two that is not less; for count >= 1. */
static int log2_of(int count)
{
    return count <= 1 ? 0 : 32 - __builtin_clz((unsigned)count - 1);
}

static void set_nodes(Table *t, Node *nodes, int lsizenode)
{
    t->node = nodes;
    t->lsizenode = (uint8_t)lsizenode;
    t->node_mask8 = (uint8_t)((1u << lsizenode) - 1);
    t->last_free = 1 << lsizenode;
}

static void set_dummy(Table *t)
{
    t->node = (Node *)(uintptr_t)luT_dummy;
    t->lsizenode = 0;
    t->node_mask8 = 0;
    t->last_free = 0;
    t->flags &= (uint8_t)~TABLE_SEEDED;
}

static Table *new_table(lua_State *L)
{
    Table *t = luH_object(L, sizeof(Table), OBJ_TABLE);
    t->tm_absent = 0xFF;
    t->flags = 0;
    t->array_size = 0;
    t->memcat = L->memcat;
    t->array = NULL;
    t->meta = NULL;
    set_dummy(t);
    return t;
}

/* ---- placing keys ---------------------------------------------------------------------------- */

static Node *free_node(Table *t)
{
    while (t->last_free > 0) {
        Node *node = t->node + --t->last_free;
        if (val_isnil(node->key))
            return node;
    }
    return NULL;
}

static bool is_crowded(const int32_t *chain, ptrdiff_t at)
{
    int steps = 0;
    while (chain[at] != 0 && steps <= TABLE_CHAIN_MAX) {
        at += chain[at];
        steps++;
    }
    return steps > TABLE_CHAIN_MAX;
}

enum Placing {
    PLACE_TABLE, /* a node is taken if it has a value */
    PLACE_WARY,  /* the same, and crowded chains are refused: *crowded */
    PLACE_SHAPE  /* a node is taken if it has a key */
};

/* A node for a key that is not there; NULL: none is free. There is a hash part. */
BASE_INLINE Node *place(Table *t, Value key, enum Placing how, bool *crowded)
{
    Node *main = luT_mainnode(t, key);
    if (val_isnil(how == PLACE_SHAPE ? main->key : main->value)) {
        main->key = key;
        return main;
    }
    int32_t *chain = table_chain(t);
    ptrdiff_t m = main - t->node;
    ptrdiff_t other = luT_mainnode(t, main->key) - t->node;
    if (how == PLACE_WARY && other == m && BASE_UNLIKELY(is_crowded(chain, m))) {
        *crowded = true;
        return NULL;
    }
    Node *node = free_node(t);
    if (!node)
        return NULL;
    ptrdiff_t n = node - t->node;
    chain[n] = chain[m] ? (int32_t)(m + chain[m] - n) : 0;
    if (other == m) { /* the new one goes behind the one whose place this is */
        chain[m] = (int32_t)(n - m);
        node->key = key;
        return node;
    }
    while (other + chain[other] != m) /* the other one has no business here: it moves */
        other += chain[other];
    chain[other] = (int32_t)(n - other);
    *node = *main;
    chain[m] = 0;
    main->key = key;
    main->value = VAL_NIL;
    return main;
}

bool luT_shapeinsert(Node *nodes, int lsizenode, int32_t *last_free, Value key)
{
    Table t = {.node = nodes, .lsizenode = (uint8_t)lsizenode, .last_free = *last_free};
    Node *node = place(&t, key, PLACE_SHAPE, NULL);
    *last_free = t.last_free;
    return node != NULL;
}

/* ---- resizing -------------------------------------------------------------------------------- */

/* Position in the array part that a key may have, from 1; 0: none. */
static int array_index(Value key)
{
    if (!val_isnumber(key))
        return 0;
    int i = val_toint(key.n);
    return i >= 1 && (double)i == key.n ? i : 0;
}

/* A safepoint, if the new parts are big. */
static void reserve_parts(lua_State *L, const Table *t, Value key, int array_size, int hash_count)
{
    size_t bytes = hash_count > 0 ? nodes_size(log2_of(hash_count), true) : 0;
    if (array_size > t->array_size) /* what it grows by: big ones grow in place */
        bytes += (size_t)(array_size - t->array_size) * sizeof(Value);
    bool always = false;
#ifdef LUAU_DEBUG
    always = (G(L)->test_modes & LUAU_TEST_GC_ALWAYS) != 0;
#endif
    if (BASE_LIKELY(bytes < TABLE_BIG && !always))
        return;
    luD_push(L, val_fromtable(t));
    luD_push(L, key);
    if (always)
        luG_full(L);
    luH_reserve(L, bytes);
    L->top -= 2;
}

/* A new hash part, empty; the dummy for 0. */
static Node *new_nodes(lua_State *L, const Table *t, int hash_count, bool seeded)
{
    if (hash_count == 0)
        return (Node *)(uintptr_t)luT_dummy;
    int lsizenode = log2_of(hash_count);
    Node *nodes = luH_alloc(L, nodes_size(lsizenode, seeded));
    clear_nodes(L, nodes, 1 << lsizenode);
    if (seeded) {
        char *place = (char *)nodes + nodes_size(lsizenode, false);
        uint64_t seed[2] = {luE_seed(t), luE_seed(place)};
        memcpy(place, seed, SEED_BYTES);
    }
    return nodes;
}

/* Array slots that fall away, in order, then the old nodes from the last to the first. */
static void move_entries(lua_State *L, Table *t, const Table *old)
{
    for (int i = t->array_size; i < old->array_size; i++) {
        if (!val_isnil(old->array[i]))
            place(t, val_number(i + 1), PLACE_TABLE, NULL)->value = old->array[i];
        POLL(L, i);
    }
    for (int i = old->node == luT_dummy ? 0 : table_nodecount(old); i-- > 0;) {
        const Node *node = old->node + i;
        POLL(L, i);
        if (val_isnil(node->value))
            continue;
        int index = array_index(node->key);
        if (index != 0 && index <= t->array_size)
            t->array[index - 1] = node->value;
        else
            place(t, node->key, PLACE_TABLE, NULL)->value = node->value;
    }
}

/* Both sizes must be enough for what is in the table. */
static void resize(lua_State *L, Table *t, int array_size, int hash_count, bool seeded)
{
    if (array_size > LUAU_TABLE_MAX || hash_count > LUAU_TABLE_MAX)
        luD_error(L, "table overflow");
    Table old = *t;
    Node *nodes = new_nodes(L, t, hash_count, seeded);
    Value *array = old.array;
    if (array_size > old.array_size) {
        array = luH_tryrealloc(G(L), array, (size_t)old.array_size * sizeof(Value),
                               (size_t)array_size * sizeof(Value));
        if (!array) {
            if (nodes != luT_dummy)
                luH_free(L, nodes, 0);
            luH_nomemory(L);
        }
        t->array = old.array = array;
        fill_nil(L, array, old.array_size, array_size);
    }
    t->array_size = array_size;
    if (nodes == luT_dummy) {
        set_dummy(t);
    } else {
        set_nodes(t, nodes, log2_of(hash_count));
        if (seeded)
            t->flags |= TABLE_SEEDED;
    }
    move_entries(L, t, &old);
    if (old.node != luT_dummy)
        luH_free(L, old.node, node_part_size(&old));
    if (array_size == 0 && old.array_size > 0) {
        luH_free(L, old.array, (size_t)old.array_size * sizeof(Value));
        t->array = NULL;
    } else if (array_size < old.array_size) { /* a shorter one is not vital */
        array = luH_tryrealloc(G(L), array, (size_t)old.array_size * sizeof(Value),
                               (size_t)array_size * sizeof(Value));
        t->array = array ? array : old.array;
    }
    luG_barriertable(L, t); /* a piecewise scan under way would miss what moved */
}

/* The border must lie in the array: the least size from `size` on whose next slot is neither used
 * nor the one of the new key. */
static int adjust_size(Table *t, int size, int key_index)
{
    while (size + 1 == key_index || !val_isnil(luT_getint(t, size + 1)))
        size++;
    return size;
}

typedef struct KeyCount {
    int ranges[BITS_MAX + 1]; /* integer keys in (2^(i-1), 2^i] */
    int integers;             /* sum of those */
    int all;
} KeyCount;

static void count_key(KeyCount *count, int index)
{
    if (index >= 1 && index <= LUAU_TABLE_MAX) {
        count->ranges[log2_of(index)]++;
        count->integers++;
    }
    count->all++;
}

static void count_keys(lua_State *L, const Table *t, KeyCount *count)
{
    int i = 0;
    for (int range = 0; range <= BITS_MAX && i < t->array_size; range++) {
        int end = 1 << range < t->array_size ? 1 << range : t->array_size;
        int used = 0;
        for (; i < end; i++) {
            used += !val_isnil(t->array[i]);
            POLL(L, i);
        }
        count->ranges[range] += used;
        count->integers += used;
        count->all += used;
    }
    if (t->node == luT_dummy)
        return;
    for (i = 0; i < table_nodecount(t); i++) {
        if (!val_isnil(t->node[i].value))
            count_key(count, array_index(t->node[i].key));
        POLL(L, i);
    }
}

/* The greatest power of two of which more than half would be used; *inside: keys it would take. */
static int best_array_size(const KeyCount *count, int *inside)
{
    int size = 0, seen = 0;
    *inside = 0;
    for (int i = 0; i <= BITS_MAX && (1 << i) / 2 < count->integers; i++) {
        seen += count->ranges[i];
        if (count->ranges[i] > 0 && seen > (1 << i) / 2) {
            size = 1 << i;
            *inside = seen;
        }
    }
    return size;
}

static void rehash(lua_State *L, Table *t, Value key)
{
    KeyCount count = {.all = 0};
    int index = array_index(key), inside;
    count_keys(L, t, &count);
    count_key(&count, index);
    if (count.integers == 0) { /* objects with named fields */
        reserve_parts(L, t, key, 0, count.all);
        resize(L, t, 0, count.all, t->flags & TABLE_SEEDED);
        return;
    }
    int array_size = best_array_size(&count, &inside);
    int hash_count = count.all - inside;
    int adjusted = adjust_size(t, array_size, index);
    int extra = adjusted - array_size;
    if (extra > 0) { /* the nodes saved pay for as many slots more */
        hash_count -= extra;
        array_size = adjust_size(t, adjusted + extra, index);
    }
    reserve_parts(L, t, key, array_size, hash_count);
    resize(L, t, array_size, hash_count, t->flags & TABLE_SEEDED);
}

void luT_resizearray(lua_State *L, Table *t, int array_size)
{
    luT_resize(L, t, array_size, 0);
}

void luT_resize(lua_State *L, Table *t, int array_size, int hash_count)
{
    if (array_size > LUAU_TABLE_MAX || hash_count > LUAU_TABLE_MAX)
        luD_error(L, "table overflow");
    array_size = adjust_size(t, array_size, 0);
    int present = t->node == luT_dummy ? 0 : table_nodecount(t);
    if (array_size < t->array_size)
        present += t->array_size - array_size;
    hash_count = hash_count > present ? hash_count : present;
    reserve_parts(L, t, VAL_NIL, array_size, hash_count);
    resize(L, t, array_size, hash_count, t->flags & TABLE_SEEDED);
}

/* ---- inserting ------------------------------------------------------------------------------- */

static Value *new_key(lua_State *L, Table *t, Value key)
{
    int index = array_index(key);
    luG_barriertable(L, t); /* for the key */
    if (val_isstring(key))
        luS_hashof(val_string(key));
    if (index != 0 && index == t->array_size + 1)
        rehash(L, t, key);
    for (;;) {
        if ((uint32_t)index - 1u < (uint32_t)t->array_size)
            return &t->array[index - 1];
        bool crowded = false;
        if (t->node != luT_dummy) {
            Node *node = t->flags & TABLE_SEEDED ? place(t, key, PLACE_TABLE, NULL)
                                                 : place(t, key, PLACE_WARY, &crowded);
            if (node)
                return &node->value;
        }
        if (crowded)
            resize(L, t, t->array_size, table_nodecount(t), true);
        else
            rehash(L, t, key);
    }
}

/* True if a global of that name would hide one that the library has. */
static bool hides_library(lua_State *L, String *key)
{
    const luau_Image *image = G(L)->image;
    return image && !val_isnil(luT_getstring(luI_base(image), key));
}

Value *luT_add(lua_State *L, Table *t, Value key)
{
    if (val_isstring(key)) {
        t->tm_absent = 0;
        if (BASE_UNLIKELY(t->flags & TABLE_SAFEENV) && hides_library(L, val_string(key)))
            t->flags &= (uint8_t)~TABLE_SAFEENV;
    } else if (val_isnumber(key)) {
        if (key.n != key.n)
            luD_error(L, "table index is NaN");
    } else if (val_isnil(key)) {
        luD_error(L, "table index is nil");
    } else if (val_isvector(key) && !luT_samekey(key, key)) {
        luD_error(L, "table index contains NaN");
    }
    return new_key(L, t, key);
}

Value *luT_setstring(lua_State *L, Table *t, String *key)
{
    Value *slot = luT_findstring(t, key);
    return slot ? slot : luT_add(L, t, val_fromstring(key));
}

Value *luT_setint_(lua_State *L, Table *t, int key)
{
    Value *slot = luT_findint_(t, key);
    return slot ? slot : new_key(L, t, val_number(key));
}

Value *luT_set(lua_State *L, Table *t, Value key)
{
    Value *slot = luT_find(t, key);
    return slot ? slot : luT_add(L, t, key);
}

/* ---- whole tables ---------------------------------------------------------------------------- */

Table *luT_new(lua_State *L, int array_size, int hash_count)
{
    Table *t = new_table(L);
    if (array_size > LUAU_TABLE_MAX || hash_count > LUAU_TABLE_MAX)
        luD_error(L, "table overflow");
    if (hash_count > 0)
        set_nodes(t, new_nodes(L, t, hash_count, false), log2_of(hash_count));
    if (array_size > 0) {
        Value *array = luH_alloc(L, (size_t)array_size * sizeof(Value));
        fill_nil(L, array, 0, array_size);
        t->array = array;
        t->array_size = array_size;
    }
    return t;
}

Table *luT_fromshape(lua_State *L, const Shape *shape)
{
    Table *t = luT_new(L, shape->array_size, 0);
    if (shape->node) {
        size_t size = nodes_size(shape->lsizenode, false);
        Node *nodes = luH_alloc(L, size);
        memcpy(nodes, shape->node, size);
        set_nodes(t, nodes, shape->lsizenode);
        t->last_free = shape->last_free;
        t->tm_absent = 0;
    }
    return t;
}

Table *luT_clone(lua_State *L, const Table *from)
{
    Table *t = new_table(L);
    if (from->array_size > 0) {
        size_t size = (size_t)from->array_size * sizeof(Value);
        Value *array = luH_alloc(L, size);
        copy_bytes(L, array, from->array, size);
        t->array = array;
        t->array_size = from->array_size;
        t->last_free = from->last_free < 0 ? from->last_free : -from->array_size;
    }
    if (from->node != luT_dummy) {
        size_t size = node_part_size(from);
        Node *nodes = luH_alloc(L, size);
        copy_bytes(L, nodes, from->node, size);
        set_nodes(t, nodes, from->lsizenode);
        t->last_free = from->last_free;
        t->flags |= from->flags & TABLE_SEEDED;
    }
    t->tm_absent = from->tm_absent;
    t->meta = from->meta;
    return t;
}

void luT_clear(lua_State *L, Table *t)
{
    fill_nil(L, t->array, 0, t->array_size);
    if (t->node == luT_dummy) {
        t->last_free = 0;
    } else {
        clear_nodes(L, t->node, table_nodecount(t));
        t->last_free = table_nodecount(t);
    }
    t->tm_absent = 0xFF;
}
