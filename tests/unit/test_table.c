/* test_table.c: tables against a model of their own: reference section 13, written naively, with
 * tagged keys, absolute links and no sharing of code with the engine. Programs of random insertions
 * and removals run on both; layout, order and length must agree after every step. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "luau/api.h"

/* ---- the model ------------------------------------------------------------------------------- */

typedef struct Key {
    char kind; /* 'n' number, 's' string, 'b' boolean, 'v' vector; 0: none */
    double n;
    char s[48];
    float v[3];
} Key;

typedef struct ModelNode {
    Key key;
    int value; /* 0: nil */
    int next;  /* absolute; -1: end */
} ModelNode;

enum { ARRAY_MAX = 4096, NODES_MAX = 4096 };

typedef struct Model {
    int array[ARRAY_MAX + 1]; /* from 1 */
    int array_size;
    ModelNode *nodes;
    int node_count; /* 0: no hash part */
    int free;       /* F */
    int border;     /* 0: none remembered */
} Model;

static uint32_t word_of_float(float f)
{
    uint32_t w;
    if (f == 0)
        return 0;
    memcpy(&w, &f, 4);
    return w;
}

static uint32_t model_hash(const Key *k)
{
    if (k->kind == 's') {
        uint32_t h = (uint32_t)strlen(k->s);
        for (size_t i = strlen(k->s); i > 0; i--)
            h ^= (h << 5) + (h >> 2) + (unsigned char)k->s[i - 1];
        return h;
    }
    if (k->kind == 'b')
        return k->n != 0;
    if (k->kind == 'v') {
        uint32_t w[3];
        for (int i = 0; i < 3; i++) {
            w[i] = word_of_float(k->v[i]);
            w[i] ^= w[i] >> 17;
        }
        return w[0] * 73856093u ^ w[1] * 19349663u ^ w[2] * 83492791u;
    }
    uint64_t bits;
    memcpy(&bits, &k->n, 8);
    uint32_t lo = (uint32_t)bits, hi = (uint32_t)(bits >> 32) & 0x7FFFFFFFu, m = 0x5bd1e995u;
    lo ^= hi >> 18, lo *= m;
    hi ^= lo >> 22, hi *= m;
    lo ^= hi >> 17, lo *= m;
    hi ^= lo >> 19, hi *= m;
    return hi;
}

static bool same_key(const Key *a, const Key *b)
{
    if (a->kind != b->kind)
        return false;
    if (a->kind == 's')
        return strcmp(a->s, b->s) == 0;
    if (a->kind == 'v')
        return a->v[0] == b->v[0] && a->v[1] == b->v[1] && a->v[2] == b->v[2];
    return a->n == b->n;
}

/* 1.. for an integer key, else 0. */
static int index_of(const Key *k)
{
    return k->kind == 'n' && k->n >= 1 && k->n <= 1e9 && k->n == floor(k->n) ? (int)k->n : 0;
}

static int main_of(const Model *m, const Key *k)
{
    return (int)(model_hash(k) % (uint32_t)m->node_count);
}

static int *model_find(Model *m, const Key *k)
{
    int i = index_of(k);
    if (i >= 1 && i <= m->array_size)
        return &m->array[i];
    if (m->node_count == 0)
        return NULL;
    for (int n = main_of(m, k); n >= 0; n = m->nodes[n].next) {
        if (same_key(&m->nodes[n].key, k))
            return &m->nodes[n].value;
    }
    return NULL;
}

static int *model_place(Model *m, const Key *k)
{
    if (m->node_count == 0)
        return NULL;
    int mp = main_of(m, k);
    if (m->nodes[mp].value == 0) {
        m->nodes[mp].key = *k;
        return &m->nodes[mp].value;
    }
    int f = -1;
    while (m->free > 0 && f < 0) {
        m->free--;
        if (m->nodes[m->free].key.kind == 0)
            f = m->free;
    }
    if (f < 0)
        return NULL;
    int other = main_of(m, &m->nodes[mp].key);
    if (other != mp) {
        m->nodes[f] = m->nodes[mp];
        while (m->nodes[other].next != mp)
            other = m->nodes[other].next;
        m->nodes[other].next = f;
        m->nodes[mp] = (ModelNode){.key = *k, .next = -1};
        return &m->nodes[mp].value;
    }
    m->nodes[f].key = *k;
    m->nodes[f].next = m->nodes[mp].next;
    m->nodes[mp].next = f;
    return &m->nodes[f].value;
}

static bool slot_used(Model *m, int i, const Key *new_key)
{
    Key k = {.kind = 'n', .n = i};
    int *slot = model_find(m, &k);
    return index_of(new_key) == i || (slot && *slot);
}

static void model_resize(Model *m, int array_size, int node_count)
{
    Model old = *m;
    m->array_size = array_size;
    for (int i = old.array_size + 1; i <= array_size; i++)
        m->array[i] = 0;
    int count = node_count > 0 ? 1 : 0;
    while (count < node_count)
        count *= 2;
    m->nodes = calloc((size_t)count + 1, sizeof(ModelNode));
    for (int i = 0; i < count; i++)
        m->nodes[i].next = -1;
    m->node_count = m->free = count;
    m->border = 0;
    for (int i = array_size + 1; i <= old.array_size; i++) {
        if (old.array[i])
            *model_place(m, &(Key){.kind = 'n', .n = i}) = old.array[i];
    }
    for (int i = old.node_count - 1; i >= 0; i--) {
        if (old.nodes[i].value == 0)
            continue;
        int index = index_of(&old.nodes[i].key);
        if (index >= 1 && index <= array_size)
            m->array[index] = old.nodes[i].value;
        else
            *model_place(m, &old.nodes[i].key) = old.nodes[i].value;
    }
    free(old.nodes);
}

static void model_rehash(Model *m, const Key *new_key)
{
    int total = 1, best = 0, inside = 0;
    for (int i = 1; i <= m->array_size; i++)
        total += m->array[i] != 0;
    for (int i = 0; i < m->node_count; i++)
        total += m->nodes[i].value != 0;
    for (int n = 1; n <= ARRAY_MAX / 2; n *= 2) {
        int used = 0;
        for (int i = 1; i <= n; i++)
            used += slot_used(m, i, new_key);
        if (used > n / 2) {
            best = n;
            inside = used;
        }
    }
    int hash = total - inside, size = best;
    while (slot_used(m, size + 1, new_key))
        size++;
    int extra = size - best;
    if (extra > 0) {
        hash -= extra;
        size += extra;
        while (slot_used(m, size + 1, new_key))
            size++;
    }
    model_resize(m, size, hash);
}

static void model_set(Model *m, const Key *k, int value)
{
    int *slot = model_find(m, k);
    if (!slot && index_of(k) == m->array_size + 1) {
        model_rehash(m, k);
        slot = model_find(m, k);
    }
    while (!slot) {
        slot = model_place(m, k);
        if (!slot) {
            model_rehash(m, k);
            slot = model_find(m, k);
        }
    }
    *slot = value;
}

static int model_length(Model *m)
{
    int size = m->array_size, b = m->border ? m->border : size;
    bool may_keep = m->node_count == 0 || m->free == 0;
    const int *a = m->array;
    if (b > 0) {
        if (a[size] && m->node_count == 0)
            return size;
        if (b < size && a[b] && !a[b + 1])
            return b;
        if (b < size && !a[b]) {
            if (b >= 2 && a[b - 1]) {
                if (may_keep)
                    m->border = b - 1;
                return b - 1;
            }
        } else if (b + 1 < size && a[b + 1] && !a[b + 2]) {
            if (may_keep)
                m->border = b + 1;
            return b + 1;
        }
    }
    if (size == 0 || a[size])
        return size;
    int base = 1, rest = size;
    while (rest / 2 > 0) {
        int half = rest / 2;
        if (a[base + half])
            base += half;
        rest -= half;
    }
    int result = a[base] ? base : base - 1;
    if (may_keep)
        m->border = result;
    return result;
}

/* ---- comparing ------------------------------------------------------------------------------- */

static lua_State *L;

static Value value_of(const Key *k)
{
    switch (k->kind) {
    case 'n': return val_number(k->n);
    case 's': return val_fromstring(luS_new(L, k->s, strlen(k->s)));
    case 'b': return val_boolean(k->n != 0);
    case 'v': {
        Vector *v = luH_object(L, sizeof(Vector), OBJ_VECTOR);
        memcpy(v->v, k->v, sizeof(v->v));
        return val_fromobject(v);
    }
    default: return VAL_NIL;
    }
}

static void must_be_key(Value v, const Key *k)
{
    if (k->kind == 0)
        assert_true(val_isnil(v));
    else
        assert_true(luT_samekey(v, value_of(k)));
    if (k->kind == 'n') /* the sign of zero, too */
        assert_int_equal(signbit(v.n) != 0, signbit(k->n) != 0);
}

static void must_be(Value v, int value)
{
    if (value == 0)
        assert_true(val_isnil(v));
    else
        assert_true(val_isnumber(v) && v.n == value);
}

static void compare(Table *t, Model *m)
{
    assert_int_equal(t->array_size, m->array_size);
    for (int i = 1; i <= m->array_size; i++)
        must_be(t->array[i - 1], m->array[i]);
    int count = t->node == luT_dummy ? 0 : table_nodecount(t);
    assert_int_equal(count, m->node_count);
    for (int i = 0; i < count; i++) {
        must_be_key(t->node[i].key, &m->nodes[i].key);
        must_be(t->node[i].value, m->nodes[i].value);
        int next = table_chain(t)[i] ? i + table_chain(t)[i] : -1;
        assert_int_equal(next, m->nodes[i].next);
    }
}

static void set(Table *t, Value key, int value)
{
    *luT_set(L, t, key) = value ? val_number(value) : VAL_NIL;
    luG_barriertable(L, t);
}

static Key number_key(double n)
{
    return (Key){.kind = 'n', .n = n};
}

static uint32_t random_state = 12345;
static int random_below(int n)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (int)((random_state >> 8) % (uint32_t)n);
}

static Key random_key(int spread)
{
    Key k = {.kind = 'n'};
    switch (random_below(9)) {
    case 0: k.n = random_below(2) ? random_below(spread) + 0.5 : -random_below(spread); break;
    case 1: k.n = random_below(2) ? 0.0 : -0.0; break;
    case 2:
    case 3:
        k.kind = 's';
        snprintf(k.s, sizeof(k.s), "%s%d", random_below(2) ? "key" : "", random_below(spread));
        break;
    case 4:
        if (random_below(4) == 0) {
            k.kind = 'b';
            k.n = random_below(2);
        } else {
            k.kind = 'v';
            for (int i = 0; i < 3; i++)
                k.v[i] = (float)random_below(3) - 1;
        }
        break;
    default: k.n = random_below(spread) + 1; break;
    }
    return k;
}

static void random_programs(void **state)
{
    (void)state;
    for (int program = 0; program < 1500; program++) {
        Model m = {.array_size = 0};
        int array_size = program % 3 ? 0 : random_below(10);
        int hash_count = program % 4 ? 0 : random_below(10);
        model_resize(&m, array_size, hash_count);
        Table *t = luT_new(L, array_size, hash_count);
        luD_push(L, val_fromtable(t));
        int spread = 2 + random_below(60), removals = 1 + random_below(6);
        for (int step = 0; step < 120; step++) {
            Key k = random_key(spread);
            int value = random_below(removals) == 0 ? 0 : step + 1;
            model_set(&m, &k, value);
            set(t, value_of(&k), value);
            if (random_below(4) == 0)
                assert_int_equal(luT_length(t), model_length(&m));
            if (step % 8 == 0)
                compare(t, &m);
            if (program % 16 == 0 && step == 100) {
                Table *copy = luT_clone(L, t);
                compare(copy, &m);
                assert_int_equal(luT_length(copy), luT_length(t));
                model_length(&m);
            }
            if (program % 32 == 0 && random_below(50) == 0) {
                int size = random_below(40);
                luT_resizearray(L, t, size);
                while (slot_used(&m, size + 1, &(Key){.kind = 0}))
                    size++;
                int nodes = m.node_count + (size < m.array_size ? m.array_size - size : 0);
                model_resize(&m, size, nodes);
            }
        }
        compare(t, &m);
        free(m.nodes);
        if (program % 100 == 0)
            assert_null(luau_checkheap(L));
        lua_settop(L, 0);
        luG_check(L);
    }
    assert_null(luau_checkheap(L));
}

/* The same with arrays that grow at the end and lose what they like. */
static void arrays(void **state)
{
    (void)state;
    for (int program = 0; program < 300; program++) {
        Model m = {.array_size = 0};
        model_resize(&m, 0, 0);
        Table *t = luT_new(L, 0, 0);
        luD_push(L, val_fromtable(t));
        for (int step = 0; step < 300; step++) {
            int n = model_length(&m);
            assert_int_equal(luT_length(t), n);
            Key k = number_key(random_below(3) ? n + 1 : 1 + random_below(n + 2));
            int value = random_below(4) ? step + 1 : 0;
            model_set(&m, &k, value);
            set(t, value_of(&k), value);
        }
        compare(t, &m);
        free(m.nodes);
        lua_settop(L, 0);
        luG_check(L);
    }
}

/* ---- by hand --------------------------------------------------------------------------------- */

static Table *list(int n, const int *values)
{
    Table *t = luT_new(L, n, 0);
    for (int i = 0; i < n; i++)
        t->array[i] = values[i] ? val_number(values[i]) : VAL_NIL;
    return t;
}

static void lengths(void **state)
{
    (void)state;
    assert_int_equal(luT_length(list(5, (int[]){1, 2, 3, 0, 5})), 5);
    assert_int_equal(luT_length(list(6, (int[]){1, 2, 3, 0, 5, 0})), 3);
    assert_int_equal(luT_length(list(2, (int[]){0, 2})), 2);
    assert_int_equal(luT_length(list(1, (int[]){0})), 0);
    assert_int_equal(luT_length(luT_new(L, 3, 0)), 0);
    Table *t = luT_new(L, 0, 0);
    set(t, val_number(1), 1);
    set(t, val_number(2), 2);
    set(t, val_number(4), 4);
    assert_int_equal(luT_length(t), 4);
    t = list(8, (int[]){1, 2, 3, 4, 5, 6, 7, 8});
    set(t, val_number(8), 0);
    set(t, val_number(7), 0);
    assert_int_equal(luT_length(t), 6);
    t = list(8, (int[]){1, 2, 3, 4, 5, 6, 7, 8});
    set(t, val_number(4), 0);
    assert_int_equal(luT_length(t), 8);
    t = luT_new(L, 10, 0); /* as the compiler sizes `local t = {}` before such a loop */
    for (int i = 1; i <= 10; i++)
        set(t, val_number(i), i);
    for (int i = 1; i <= 9; i++)
        set(t, val_number(i), 0);
    assert_int_equal(luT_length(t), 10);
    t = luT_new(L, 0, 0);
    set(t, val_number(0.5), 1);
    set(t, val_number(-1), 2);
    set(t, val_number(0), 3);
    set(t, val_number(9007199254740992.0), 4);
    assert_int_equal(luT_length(t), 0);
    assert_true(luT_get(t, val_number(0.5)).n == 1 && luT_get(t, val_number(0)).n == 3);
}

static void minus_zero_keeps_its_sign(void **state)
{
    (void)state;
    Table *t = luT_new(L, 0, 0);
    set(t, val_number(-0.0), 1);
    set(t, val_number(0.0), 2);
    uint32_t index = 0;
    Value key, value;
    bool more;
    assert_true(luT_iterate(t, &index, &key, &value, 100, &more));
    assert_true(key.n == 0 && signbit(key.n));
    assert_true(value.n == 2);
    assert_false(luT_iterate(t, &index, &key, &value, 100, &more));
    assert_false(more);
    assert_true(luT_getint(t, 0).n == 2);
}

static int set_bad_key(lua_State *state)
{
    lua_settable(state, 1);
    return 0;
}

static void bad_keys(void **state)
{
    (void)state;
    const char *texts[] = {"table index is nil", "table index is NaN", "table index contains NaN"};
    for (int i = 0; i < 3; i++) {
        lua_pushcfunction(L, set_bad_key, "set");
        lua_newtable(L);
        if (i == 0)
            lua_pushnil(L);
        else if (i == 1)
            lua_pushnumber(L, NAN);
        else
            lua_pushvector(L, 1, NAN, 2);
        lua_pushnumber(L, 1);
        assert_int_equal(lua_pcall(L, 3, 0, 0), LUA_ERRRUN);
        assert_string_equal(lua_tostring(L, -1), texts[i]);
        lua_settop(L, 0);
    }
    Table *t = luT_new(L, 1, 4);
    set(t, val_boolean(true), 1);
    assert_true(val_isnil(luT_get(t, VAL_NIL)));
    assert_true(val_isnil(luT_get(t, val_number(NAN))));
}

static void traversal(void **state)
{
    (void)state;
    Table *t = luT_new(L, 4, 8);
    luD_push(L, val_fromtable(t));
    for (int i = 1; i <= 4; i++)
        set(t, val_number(i), i);
    set(t, val_number(2), 0);
    for (int i = 0; i < 5; i++) {
        char name[16];
        snprintf(name, sizeof(name), "k%d", i);
        set(t, val_fromstring(luS_new(L, name, strlen(name))), 10 + i);
    }
    Value key = VAL_NIL, value;
    bool more = true;
    int seen = 0, sum = 0;
    while (more) { /* as next() does, a slot at a time */
        uint32_t at = luT_position(L, t, key), from = at;
        bool found = false;
        while (!found && more) {
            found = luT_iterate(t, &at, &key, &value, 1, &more);
            assert_true(at > from || at == 12);
            more |= found;
        }
        if (!found)
            break;
        seen++;
        sum += (int)value.n;
        set(t, key, 0); /* clearing fields while traversing is allowed */
    }
    assert_int_equal(seen, 8);
    assert_int_equal(sum, 1 + 3 + 4 + 10 + 11 + 12 + 13 + 14);
    lua_settop(L, 0);
}

static void shapes(void **state)
{
    (void)state;
    const char *names[] = {"x", "y", "width", "height", "__index", "on_click", "z"};
    for (int count = 1; count <= 7; count++) {
        int lsize = 0;
        while (1 << lsize < count)
            lsize++;
        size_t size = (sizeof(Node) + sizeof(int32_t)) << lsize;
        Node *nodes = calloc(1, size);
        for (int i = 0; i < 1 << lsize; i++)
            nodes[i].key = nodes[i].value = VAL_NIL;
        int32_t last_free = 1 << lsize;
        Table *expected = luT_new(L, 0, count);
        for (int i = 0; i < count; i++) {
            Value key = val_fromstring(luS_new(L, names[i], strlen(names[i])));
            luS_hashof(val_string(key));
            assert_true(luT_shapeinsert(nodes, lsize, &last_free, key));
            set(expected, key, i + 1);
        }
        Shape shape = {.lsizenode = (uint8_t)lsize, .last_free = last_free, .node = nodes};
        Table *t = luT_fromshape(L, &shape);
        for (int i = 0; i < count; i++)
            set(t, val_fromstring(luS_new(L, names[i], strlen(names[i]))), i + 1);
        assert_int_equal(t->last_free, expected->last_free);
        for (int i = 0; i < 1 << lsize; i++) {
            assert_int_equal(t->node[i].key.u, expected->node[i].key.u);
            assert_int_equal(t->node[i].value.u, expected->node[i].value.u);
            assert_int_equal(table_chain(t)[i], table_chain(expected)[i]);
        }
        free(nodes);
    }
}

static void keys_are_unified(void **state)
{
    (void)state;
    Table *t = luT_new(L, 0, 0);
    luD_push(L, val_fromtable(t));
    String *own = luS_new(L, "__index", 7), *other = luS_new(L, "__index", 7);
    set(t, val_fromstring(own), 1);
    assert_ptr_equal(val_ptr(t->node[0].key), own);
    assert_non_null(luT_findstring(t, other));
    assert_ptr_equal(val_ptr(t->node[0].key), own);
    assert_non_null(luT_findstring(t, luTM_name(TM_INDEX)));
    assert_ptr_equal(val_ptr(t->node[0].key), luTM_name(TM_INDEX));
    assert_non_null(luT_findstring(t, own));
    assert_ptr_equal(val_ptr(t->node[0].key), luTM_name(TM_INDEX));
    assert_int_equal(luT_nodeofstring(t, own), 0);
    assert_int_equal(luT_nodeofstring(t, luTM_name(TM_CALL)), -1);
    lua_settop(L, 0);
}

static void absent_metamethods(void **state)
{
    (void)state;
    Table *meta = luT_new(L, 0, 2);
    luD_push(L, val_fromtable(meta));
    assert_true(val_isnil(luTM_fast(meta, TM_INDEX)));
    assert_true(meta->tm_absent & 1u << TM_INDEX);
    set(meta, val_fromstring(luS_literal(L, "__index")), 5);
    assert_true(luTM_fast(meta, TM_INDEX).n == 5);
    set(meta, val_fromstring(luTM_name(TM_INDEX)), 0);
    assert_true(val_isnil(luTM_fast(meta, TM_INDEX)));
    *luT_findstring(meta, luTM_name(TM_INDEX)) = val_number(6); /* a store into the slot */
    assert_true(luTM_fast(meta, TM_INDEX).n == 6);
    luT_clear(L, meta);
    assert_true(val_isnil(luTM_fast(meta, TM_INDEX)));
    lua_settop(L, 0);
}

static void must_hold(double n, Table *t)
{
    assert_true(luT_get(t, val_number(n)).n == n);
}

/* Keys that all fall on one chain: found by search, as an attacker would. */
static void floods_are_met(void **state)
{
    (void)state;
    Table *t = luT_new(L, 0, 0);
    luD_push(L, val_fromtable(t));
    int count = 0;
    double keys[600];
    for (uint32_t i = 1; count < 600; i++) {
        Key k = {.kind = 'n', .n = i + 0.5};
        if ((model_hash(&k) & 0xFFF) != 7)
            continue;
        keys[count++] = k.n;
        *luT_set(L, t, val_number(k.n)) = val_number(k.n);
    }
    assert_true(t->flags & TABLE_SEEDED);
    for (int i = 0; i < count; i++)
        must_hold(keys[i], t);
    int longest = 0;
    for (int i = 0; i < table_nodecount(t); i++) {
        int steps = 0;
        for (int at = i; table_chain(t)[at]; at += table_chain(t)[at])
            steps++;
        longest = steps > longest ? steps : longest;
    }
    assert_in_range(longest, 0, 20);
    assert_null(luau_checkheap(L));
    Table *copy = luT_clone(L, t);
    luD_push(L, val_fromtable(copy));
    for (int i = 0; i < count; i++)
        must_hold(keys[i], copy);
    char text[32];
    for (int i = 0; i < 2000; i++) { /* strings, objects, zero and resizing in a seeded table */
        snprintf(text, sizeof(text), "name %d", i);
        set(t, val_fromstring(luS_new(L, text, strlen(text))), i + 1);
    }
    set(t, val_number(-0.0), 7);
    set(t, val_fromtable(t), 8);
    assert_true(luT_getint(t, 0).n == 7 && luT_get(t, val_fromtable(t)).n == 8);
    for (int i = 0; i < 2000; i++) {
        snprintf(text, sizeof(text), "name %d", i);
        String *s = luS_new(L, text, strlen(text));
        assert_true(luT_getstring(t, s).n == i + 1);
        *luT_setstring(L, t, s) = VAL_NIL;
    }
    assert_null(luau_checkheap(L));
    lua_settop(L, 0);
    luG_full(L);
}

static void honest_keys_stay(void **state)
{
    (void)state;
    Table *t = luT_new(L, 0, 0);
    luD_push(L, val_fromtable(t));
    char text[32];
    for (int i = 0; i < 200000; i++) {
        switch (i % 4) {
        case 0: snprintf(text, sizeof(text), "user:%d", i); break;
        case 1: snprintf(text, sizeof(text), "%08x", i); break;
        case 2: snprintf(text, sizeof(text), "%d", 100000000 + i * 16); break;
        default: set(t, val_number(i * 4096.0), i); continue;
        }
        set(t, val_fromstring(luS_new(L, text, strlen(text))), i);
        if (i >= 1000) { /* a window that moves on */
            set(t, val_number((i - 1000) * 4096.0), 0);
        }
        luG_check(L);
    }
    assert_false(t->flags & TABLE_SEEDED);
    lua_settop(L, 0);
    luG_full(L);
}

static int setup(void **state)
{
    (void)state;
    L = luaL_newstate();
    return L == NULL;
}

static int teardown(void **state)
{
    (void)state;
    const char *fault = luau_checkheap(L);
    if (fault)
        print_error("%s\n", fault);
    lua_close(L);
    return fault != NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_programs),
        cmocka_unit_test(arrays),
        cmocka_unit_test(lengths),
        cmocka_unit_test(minus_zero_keeps_its_sign),
        cmocka_unit_test(bad_keys),
        cmocka_unit_test(traversal),
        cmocka_unit_test(shapes),
        cmocka_unit_test(keys_are_unified),
        cmocka_unit_test(absent_metamethods),
        cmocka_unit_test(floods_are_met),
        cmocka_unit_test(honest_keys_stay),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
