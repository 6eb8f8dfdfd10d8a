/* table_iter.c: traversal and length (reference 13.1, 13.3). Positions count array slots, then
 * nodes. */
#include "luau/call.h"
#include "luau/str.h"
#include "luau/table.h"

/* ---- traversal ------------------------------------------------------------------------------- */

bool luT_iterate(Table *t, uint32_t *index, Value *key, Value *value, int steps_max, bool *more)
{
    uint32_t i = *index, array_size = (uint32_t)t->array_size;
    uint32_t count = array_size + (t->node == luT_dummy ? 0 : (uint32_t)table_nodecount(t));
    uint32_t end = count < i || count - i <= (uint32_t)steps_max ? count : i + (uint32_t)steps_max;
    for (; i < end && i < array_size; i++) {
        if (!val_isnil(t->array[i])) {
            *key = val_number((double)i + 1);
            *value = t->array[i];
            *index = i + 1;
            return true;
        }
    }
    for (; i < end; i++) {
        const Node *node = &t->node[i - array_size];
        if (!val_isnil(node->value)) {
            *key = node->key;
            *value = node->value;
            *index = i + 1;
            return true;
        }
    }
    *index = i;
    *more = i < count;
    return false;
}

/* Node of a dead key (its object is gone for the table, but the caller still has it). */
static const Node *find_dead(const Table *t, Value key)
{
    if (!val_isheap(key) || t->node == luT_dummy)
        return NULL;
    const Node *node = luT_mainnode(t, key);
    for (;;) {
        if (val_isdeadkey(node->key) && node->key.u << 16 == key.u << 16)
            return node;
        int32_t next = table_chain(t)[node - t->node];
        if (next == 0)
            return NULL;
        node += next;
    }
}

uint32_t luT_position(lua_State *L, Table *t, Value key)
{
    if (val_isnil(key))
        return 0;
    const Value *slot = luT_find(t, key);
    const Node *node;
    if (!slot) {
        node = find_dead(t, key);
        if (!node)
            luD_error(L, "invalid key to 'next'");
    } else {
        if (t->array_size > 0 && slot >= t->array && slot < t->array + t->array_size)
            return (uint32_t)(slot - t->array) + 1;
        node = (const Node *)((const char *)slot - offsetof(Node, value));
    }
    return (uint32_t)t->array_size + (uint32_t)(node - t->node) + 1;
}

/* ---- length ---------------------------------------------------------------------------------- */

/* It can be kept only where last_free is not needed: no hash part, or no free nodes left. */
static int remember(Table *t, int border)
{
    if (t->last_free <= 0 && !object_isshared(t))
        t->last_free = -border;
    return border;
}

/* In an array whose last slot is nil. */
static int search_border(const Table *t)
{
    const Value *base = t->array;
    for (int rest = t->array_size, half; (half = rest / 2) > 0; rest -= half) {
        if (!val_isnil(base[half]))
            base += half;
    }
    return (int)(base - t->array) + !val_isnil(*base);
}

int luT_length(Table *t)
{
    int size = t->array_size;
    const Value *array = t->array;
    int border = t->last_free < 0 ? -t->last_free : size;
    if (border > 0 && size > 0) {
        if (!val_isnil(array[size - 1]) && t->node == luT_dummy)
            return size;
        if (border < size) {
            bool used = !val_isnil(array[border - 1]);
            if (used && val_isnil(array[border]))
                return border;
            if (!used && border >= 2 && !val_isnil(array[border - 2]))
                return remember(t, border - 1);
            if (used && border + 1 < size && val_isnil(array[border + 1]))
                return remember(t, border + 1);
        }
    }
    if (size > 0 && val_isnil(array[size - 1]))
        return remember(t, search_border(t));
    return size;
}
