/* table_hash.c: where keys belong in a hash part, and equality of keys (reference 13.1).
 *
 * A part of 1 << lsizenode nodes:
 *
 *     | node 0 | node 1 | ... |     key and value each
 *     | offset of the chain's next node, for each: int32_t |
 *     | 16 secret bytes |           only if TABLE_SEEDED
 *
 * Chains are coalesced: a node that is taken by a key for which it is the main node keeps its place
 * in the chain that ran through it (see place in table.c). */
#include "luau/table.h"

#include "luau/bytes.h"
#include "luau/str.h"

enum { KEYED_MAX = 4096 /* longer strings: their ends and their common hash decide */ };

_Alignas(16) const Node luT_dummy[2] = {{VAL_NIL, VAL_NIL}, {{.u = 0}, {.u = 0}}};

/* ---- the reference's hashes ------------------------------------------------------------------ */

BASE_INLINE uint32_t hash_number(Value v)
{
    const uint32_t m = 0x5bd1e995;
    uint32_t lo = v.w.lo, hi = v.w.hi & 0x7FFFFFFF;
    lo = (lo ^ hi >> 18) * m;
    hi = (hi ^ lo >> 22) * m;
    lo = (lo ^ hi >> 17) * m;
    return (hi ^ lo >> 19) * m;
}

static uint32_t component_bits(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    return bits == 0x80000000u ? 0 : bits;
}

static uint32_t hash_vector(const Vector *v)
{
    uint32_t x = component_bits(v->v[0]), y = component_bits(v->v[1]), z = component_bits(v->v[2]);
    x ^= x >> 17;
    y ^= y >> 17;
    z ^= z >> 17;
    return x * 73856093u ^ y * 19349663u ^ z * 83492791u;
}

static uint32_t hash_bits(uint64_t x) /* addresses and integers: the reference tells nothing */
{
    x *= 0x9E3779B97F4A7C15ull;
    return (uint32_t)(x >> 32) ^ (uint32_t)(x >> 47);
}

BASE_INLINE uint32_t plain_hash(Value key)
{
    if (val_isnumber(key))
        return hash_number(key);
    switch (val_tag(key)) {
    case TAG_STRING: return luS_hashof(val_string(key));
    case TAG_SPECIAL: return val_istrue(key);
    case TAG_OBJECT:
        if (val_object(key)->type == OBJ_VECTOR)
            return hash_vector(val_vector(key));
        if (val_object(key)->type == OBJ_INTEGER)
            return hash_bits((uint64_t)val_integer(key)->n);
        return hash_bits(key.u);
    default: return hash_bits(key.u);
    }
}

/* ---- under a secret -------------------------------------------------------------------------- */

static uint32_t seeded_string(const uint64_t seed[2], const String *s)
{
    if (s->length <= KEYED_MAX)
        return (uint32_t)luS_keyedhash(seed, s->data, s->length);
    uint64_t parts[4] = {
        luS_keyedhash(seed, s->data, KEYED_MAX / 2),
        luS_keyedhash(seed, s->data + s->length - KEYED_MAX / 2, KEYED_MAX / 2),
        s->length,
        luS_hashof((String *)(uintptr_t)s),
    };
    return (uint32_t)luS_keyedhash(seed, parts, sizeof(parts));
}

static uint32_t seeded_hash(const Table *t, Value key)
{
    uint64_t seed[2];
    memcpy(seed, table_chain(t) + table_nodecount(t), sizeof(seed));
    if (val_isstring(key))
        return seeded_string(seed, val_string(key));
    if (val_isvector(key)) {
        uint32_t bits[3];
        for (int i = 0; i < 3; i++)
            bits[i] = component_bits(val_vector(key)->v[i]);
        return (uint32_t)luS_keyedhash(seed, bits, sizeof(bits));
    }
    if (val_isinteger(key))
        key.u = (uint64_t)val_integer(key)->n;
    else if (val_isnumber(key) && key.n == 0)
        key.u = 0; /* -0 too */
    return (uint32_t)luS_keyedhash(seed, &key.u, sizeof(key.u));
}

/* ---- lookup ---------------------------------------------------------------------------------- */

BASE_INLINE uint32_t main_index(const Table *t, Value key)
{
    uint32_t hash = BASE_UNLIKELY(t->flags & TABLE_SEEDED) ? seeded_hash(t, key) : plain_hash(key);
    return hash & (uint32_t)(table_nodecount(t) - 1);
}

Node *luT_mainnode(const Table *t, Value key)
{
    return t->node + main_index(t, key);
}

static bool same_vector(const Vector *a, const Vector *b)
{
    return a->v[0] == b->v[0] && a->v[1] == b->v[1] && a->v[2] == b->v[2];
}

bool luT_samekey(Value a, Value b)
{
    if (val_isnumber(a))
        return a.n == b.n; /* everything else is a NaN as a double */
    if (val_isvector(a))
        return val_isvector(b) && same_vector(val_vector(a), val_vector(b));
    if (val_isinteger(a))
        return val_isinteger(b) && val_integer(a)->n == val_integer(b)->n;
    if (a.u == b.u)
        return true;
    return val_isstring(a) && val_isstring(b) && luS_equal(val_string(a), val_string(b));
}

/* How many look at the same pointer for these bytes: all VMs, those of a module, nobody else. */
static int string_rank(const String *s)
{
    return !object_isshared(s) ? 0 : s->mark & MARK_MODULE ? 1 : 2;
}

/* Puts the more shared of two equal strings into the node. Not into a shared table; nor a black
 * one, because a module that only this key refers to would not be marked in this cycle. */
static void unify_key(const Table *t, Node *node, String *key)
{
    if (!(t->mark & (MARK_SHARED | MARK_BLACK)) &&
        string_rank(key) > string_rank(val_string(node->key)))
        node->key = val_fromstring(key);
}

/* String keys in nodes have their hash. */
Value *luT_findstring_(Table *t, String *key)
{
    uint32_t hash = luS_hashof(key);
    Value wanted = val_fromstring(key);
    uint32_t at = BASE_LIKELY(!(t->flags & TABLE_SEEDED))
                      ? hash & (uint32_t)(table_nodecount(t) - 1)
                      : main_index(t, wanted);
    for (;;) {
        Node *node = t->node + at;
        if (node->key.u == wanted.u)
            return &node->value;
        if (val_isnil(node->key)) /* never used, so in no chain */
            return NULL;
        if (val_isstring(node->key)) {
            const String *s = val_string(node->key);
            if (s->hash == hash && s->length == key->length &&
                luY_compare(s->data, key->data, s->length) == 0) {
                unify_key(t, node, key);
                return &node->value;
            }
        }
        int32_t next = table_chain(t)[at];
        if (next == 0)
            return NULL;
        at += (uint32_t)next;
    }
}

static Value *find_number(Table *t, Value key)
{
    uint32_t at = main_index(t, key);
    for (;;) {
        Node *node = t->node + at;
        if (node->key.n == key.n)
            return &node->value;
        if (val_isnil(node->key))
            return NULL;
        int32_t next = table_chain(t)[at];
        if (next == 0)
            return NULL;
        at += (uint32_t)next;
    }
}

Value *luT_findint_(Table *t, int key)
{
    if (t->node == luT_dummy)
        return NULL;
    return find_number(t, val_number(key));
}

Value *luT_find(Table *t, Value key)
{
    if (val_isstring(key))
        return luT_findstring(t, val_string(key));
    if (val_isnumber(key)) {
        int i = val_toint(key.n);
        if ((double)i == key.n && (uint32_t)i - 1u < (uint32_t)t->array_size)
            return &t->array[i - 1];
        return t->node == luT_dummy ? NULL : find_number(t, key);
    }
    if (val_isnil(key))
        return NULL;
    uint32_t at = main_index(t, key);
    for (;;) {
        Node *node = t->node + at;
        if (luT_samekey(node->key, key))
            return &node->value;
        int32_t next = table_chain(t)[at];
        if (next == 0)
            return NULL;
        at += (uint32_t)next;
    }
}
