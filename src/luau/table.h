/* table.h: tables: an array part and a hash part (chained scatter), laid out as reference section
 * 13 says to the letter, because `next` and `#` show it.
 *
 * Nodes hold key and value; chain offsets stand behind them (object.h). Node and array pointers are
 * invalid after any luT_set*, luT_newkey, luT_resize. Absence is a NULL result of the luT_find*
 * functions. Keys are unified: where a lookup finds an equal string under another pointer and the
 * table is this VM's, the more shared of the two pointers stays in the node (core and image before
 * module before own), so that the next lookup meets the pointer at once.
 *
 * Hashes are fixed by the reference, so anyone can make keys that collide. When a new key finds a
 * chain of more than TABLE_CHAIN_MAX nodes, which honest keys never make, the table becomes
 * TABLE_SEEDED: its keys are placed by SipHash under a secret of its own, which stands behind the
 * chain offsets. Only its order of traversal shows it. */
#ifndef LUAU_TABLE_H
#define LUAU_TABLE_H

#include "luau/object.h"

#define LUAU_TABLE_MAX (1 << 26)

extern const Node luT_dummy[2]; /* node part of tables without one: one empty node and its chain */

Table *luT_new(lua_State *L, int array_size, int hash_count); /* sized as a constructor; raises */
Table *luT_fromshape(lua_State *L, const Shape *shape);
Table *luT_clone(lua_State *L, const Table *t);   /* layout and metatable; not frozen */
void luT_resizearray(lua_State *L, Table *t, int array_size);
void luT_resize(lua_State *L, Table *t, int array_size, int hash_count);
void luT_clear(lua_State *L, Table *t);           /* keeps the room */

/* Slot of a present key (its value may be nil), or NULL. luT_findstring and luT_findint have their
 * quick halves here: the key's own pointer in its main node, and the array part. */
Value *luT_find(Table *t, Value key);             /* any key; nil, NaN: NULL */
Value *luT_findstring_(Table *t, String *key);
Value *luT_findint_(Table *t, int key);           /* not in the array part */

/* Where a string stands if it is in its main node, by the hash that it has (or will get: until then
 * the field is 0, and the guess fails). */
#define luT_guessnode(t, s) (&(t)->node[(s)->hash & (uint32_t)(table_nodecount(t) - 1)])

BASE_INLINE Value *luT_findstring(Table *t, String *key)
{
    Node *node = luT_guessnode(t, key);
    if (BASE_LIKELY(node->key.u == val_fromstring(key).u))
        return &node->value;
    return luT_findstring_(t, key);
}
BASE_INLINE Value *luT_findint(Table *t, int key)
{
    if (BASE_LIKELY((uint32_t)key - 1u < (uint32_t)t->array_size))
        return &t->array[key - 1];
    return luT_findint_(t, key);
}
/* Node index of a string key, or -1; for hints. */
BASE_INLINE int luT_nodeofstring(Table *t, String *key)
{
    Value *slot = luT_findstring(t, key);
    return slot ? (int)((Node *)((char *)slot - offsetof(Node, value)) - t->node) : -1;
}

/* Value or nil. */
BASE_INLINE Value luT_get(Table *t, Value key)
{
    Value *slot = luT_find(t, key);
    return slot ? *slot : VAL_NIL;
}
BASE_INLINE Value luT_getint(Table *t, int key)
{
    Value *slot = luT_findint(t, key);
    return slot ? *slot : VAL_NIL;
}
BASE_INLINE Value luT_getstring(Table *t, String *key)
{
    Value *slot = luT_findstring(t, key);
    return slot ? *slot : VAL_NIL;
}

/* Slot to store into; adds the key if it is absent (tm_absent of t is cleared then). Raises
 * `table index is nil`, `table index is NaN`, `table index contains NaN`, `table overflow`. The
 * caller checks TABLE_READONLY before and does luG_barriertable after the store. A new key in an
 * environment table that hides a library name clears TABLE_SAFEENV.
 *
 * Where that makes a part grow to TABLE_BIG bytes and more, it is a safepoint like luG_check, so
 * that garbage goes before the quota is passed (in test builds with LUAU_TEST_GC_ALWAYS any growth
 * is): t and key are anchored by the function, the value to be stored must be by the caller. Long
 * rearrangements poll; they may park, but never unwind. The same holds for luT_resize*. */
enum { TABLE_BIG = 64 << 10, TABLE_CHAIN_MAX = 64 };
Value *luT_set(lua_State *L, Table *t, Value key);
Value *luT_add(lua_State *L, Table *t, Value key); /* the same for a key known to be absent */
Value *luT_setstring(lua_State *L, Table *t, String *key);
Value *luT_setint_(lua_State *L, Table *t, int key); /* not in the array part */
BASE_INLINE Value *luT_setint(lua_State *L, Table *t, int key)
{
    if (BASE_LIKELY((uint32_t)key - 1u < (uint32_t)t->array_size))
        return &t->array[key - 1];
    return luT_setint_(L, t, key);
}

int luT_length(Table *t); /* reference 13.3 */
/* Traversal: *index from 0; stores the next entry with a non-nil value and true, or false at the
 * end; index then is the position to go on from. Scans at most `steps_max` slots: when they are
 * used up with none found it returns false with *more = true. */
bool luT_iterate(Table *t, uint32_t *index, Value *key, Value *value, int steps_max, bool *more);
/* Position after `key` (nil: 0) for luT_iterate; raises `invalid key to 'next'`. */
uint32_t luT_position(lua_State *L, Table *t, Value key);
/* Bytes of the parts, for the collector. */
size_t luT_partsize(const Table *t);
/* Main node of a key (not nil), for `next` and the heap checker. */
Node *luT_mainnode(const Table *t, Value key);
void luT_freeparts(lua_State *L, Table *t);
/* Raw equality of values (luV_rawequal too). */
bool luT_samekey(Value a, Value b);

/* Places `key` (absent, not nil) in a hash part under construction, by the same rules, without a VM
 * (for shapes): false when there is no free node. */
bool luT_shapeinsert(Node *nodes, int lsizenode, int32_t *last_free, Value key);

#endif
