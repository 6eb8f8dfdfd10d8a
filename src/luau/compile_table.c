/* compile_table.c: constructors.
 *
 * Their sizes at the start decide the order of traversal and the length with holes, so they follow
 * reference 13.2 to the letter: array slots for list items (one less where the last is `...`), hash
 * nodes for the keyed fields, `[1] =, [2] = ...` in order as array slots where there are only those
 * and names, and for an empty one what later stores ask for (compile_fold.c). */
#include "luau/codegen.h"

enum { CHUNK_MAX = 16 /* list items stored at once */, SHAPE_KEYS_MAX = 32 };

typedef struct Sizes {
    int list, names, keyed; /* items of each kind; keyed: with any key */
    int indexed;            /* [1], [2].. that are array slots */
} Sizes;

static Sizes measure(const AstExpr *e)
{
    Sizes s = {0, 0, 0, 0};
    for (int i = 0; i < e->table.count; i++) {
        s.list += e->table.items[i].kind == AST_ITEM_LIST;
        s.names += e->table.items[i].kind == AST_ITEM_NAME;
    }
    s.keyed = e->table.count - s.list;
    if (s.list > 0)
        return s;
    for (int i = 0; i < e->table.count; i++) {
        const AstExpr *key = e->table.items[i].key;
        s.indexed += key->kind == AST_NUMBER && key->number == s.indexed + 1;
    }
    if (s.keyed == s.names + s.indexed)
        s.keyed = s.names;
    else
        s.indexed = 0;
    return s;
}

/* 0, or 1 + log2 of the nodes that hold `count` keys. */
static int encode_hash(int count)
{
    int encoded = 0;
    if (count > 0)
        for (encoded = 1; 1 << (encoded - 1) < count; encoded++)
            ;
    return encoded;
}

static void new_table(Func *f, int reg, int hash_count, int array_count)
{
    luC_abc(f, OP_NEWTABLE, reg, encode_hash(hash_count), 0);
    luC_emit(f, (Instr)array_count);
}

static bool new_shaped(Func *f, const AstExpr *e, int reg)
{
    Value keys[SHAPE_KEYS_MAX];
    int count = 0;
    for (int i = 0; i < e->table.count; i++) {
        Value key = luC_value(f, e->table.items[i].key);
        int j = 0;
        while (j < count && keys[j].u != key.u)
            j++;
        if (j == count)
            keys[count++] = key;
    }
    int shape = luC_shape(f, keys, count, 1 << (encode_hash(e->table.count) - 1));
    if (shape < 0)
        return false;
    luC_ad(f, OP_DUPTABLE, reg, shape);
    return true;
}

static void set_list(Func *f, int reg, int chunk, int count, int first, bool multi)
{
    luC_abc(f, OP_SETLIST, reg, chunk, multi ? 0 : count + 1);
    luC_emit(f, (Instr)first);
}

/* key = value, in the order of evaluation: key first. */
static void keyed_item(Func *f, const AstItem *item, int reg)
{
    int top = f->top;
    AstExpr *key = item->key;
    int small = luC_smallindex(key), index = -1;
    if (small < 0 && key->kind != AST_STRING)
        index = luC_any(f, key);
    int value = luC_any(f, item->value);
    luC_line(f, item->value->location.begin.line);
    if (small >= 0) {
        luC_abc(f, OP_SETTABLEN, value, reg, small);
    } else if (index >= 0) {
        luC_abc(f, OP_SETTABLE, value, reg, index);
    } else {
        int k = luC_stringk(f, key->string.data, key->string.length);
        luC_abc(f, OP_SETTABLEKS, value, reg, luC_hint(f, k));
        luC_emit(f, (Instr)k);
    }
    f->top = top;
}

static void items(Func *f, const AstExpr *e, int reg, int list_count)
{
    int chunk_max = list_count < CHUNK_MAX ? list_count : CHUNK_MAX;
    int chunk = luC_alloc(f, e->location, chunk_max);
    int held = 0, next = 1; /* items in the chunk; index of its first */
    bool multi = false;
    for (int i = 0; i < e->table.count; i++) {
        const AstItem *item = &e->table.items[i];
        luC_line(f, item->value->location.begin.line);
        if (held > 0 && (item->key || held == chunk_max)) { /* keeps the order of stores */
            set_list(f, reg, chunk, held, next, false);
            next += held;
            held = 0;
        }
        if (item->key)
            keyed_item(f, item, reg);
        else if (i + 1 == e->table.count)
            multi = luC_multi(f, item->value, chunk + held++);
        else
            luC_exprtop(f, item->value, chunk + held++);
    }
    if (held > 0)
        set_list(f, reg, chunk, held, next, multi);
}

void luC_table(Func *f, AstExpr *e, int target, bool temp)
{
    int reg = target;
    if (e->table.count == 0) {
        bool sized = f->sized_table == e;
        new_table(f, target, sized ? f->sized_hash : 0, sized ? f->sized_array : 0);
        return;
    }
    if (!temp)
        reg = luC_alloc(f, e->location, 1);
    Sizes s = measure(e);
    bool only_names = s.names == e->table.count && s.names <= SHAPE_KEYS_MAX;
    if (!only_names || !new_shaped(f, e, reg)) {
        const AstItem *last = &e->table.items[e->table.count - 1];
        bool varargs = !last->key && last->value->kind == AST_VARARG;
        new_table(f, reg, s.keyed, s.list - varargs + s.indexed);
    }
    items(f, e, reg, s.list);
    if (reg != target)
        luC_abc(f, OP_MOVE, target, reg, 0);
}
