/* table.h: tables: an array part and a hash part (chained scatter), laid out as reference section 13
 * says to the letter, because `next` and `#` show it.
 *
 * Nodes hold key and value; chain offsets stand behind them (object.h). Node and array pointers are
 * invalid after any luT_set*, luT_newkey, luT_resize. Absence is a NULL result of the luT_find*
 * functions. Keys are unified: where a lookup finds an equal string under another pointer and the
 * table is this VM's, the more shared of the two pointers stays in the node, so that the next lookup meets the pointer at once. */
#ifndef LUAU_TABLE_H
#define LUAU_TABLE_H

#include "luau/object.h"

#define LUAU_TABLE_MAX (1 << 26)

extern const Node luT_dummy[]; /* node part of tables without one: one empty node and its chain */

Table *luT_new(lua_State *L, int array_size, int hash_count); /* sized as a constructor; raises */
Table *luT_fromshape(lua_State *L, const Shape *shape);
Table *luT_clone(lua_State *L, const Table *t);   /* layout and metatable; not frozen */
void luT_resizearray(lua_State *L, Table *t, int array_size);
void luT_resize(lua_State *L, Table *t, int array_size, int hash_count);
void luT_clear(lua_State *L, Table *t);           /* keeps the room */

/* Slot of a present key (its value may be nil), or NULL. */
Value *luT_findstring(Table *t, String *key);
Value *luT_findint(Table *t, int key);            /* array or hash */
Value *luT_find(Table *t, Value key);             /* any key; nil, NaN: NULL */
/* Node index of a string key, or -1; for hints. */
int luT_nodeofstring(Table *t, String *key);

/* Value or nil. */
Value luT_get(Table *t, Value key);
Value luT_getint(Table *t, int key);
Value luT_getstring(Table *t, String *key);

/* Slot to store into; adds the key if it is absent (tm_absent of t is cleared then). Raises
 * `table index is nil`, `table index is NaN`, `table index contains NaN`, `table overflow`. The
 * caller checks TABLE_READONLY before and does luG_barriertable after the store. A new key in an
 * environment table that hides a library name clears TABLE_SAFEENV. */
Value *luT_set(lua_State *L, Table *t, Value key);
Value *luT_setint(lua_State *L, Table *t, int key);
Value *luT_setstring(lua_State *L, Table *t, String *key);

int luT_length(Table *t); /* reference 13.3 */
/* Traversal: *index from 0; stores the next entry with a non-nil value and true, or false at the
 * end; index then is the position to go on from. Scans at most `steps_max` slots: when they are
 * used up with none found it returns false with *more = true. */
bool luT_iterate(Table *t, uint32_t *index, Value *key, Value *value, int steps_max, bool *more);
/* Position after `key` (nil: 0) for luT_iterate; raises `invalid key to 'next'`. */
uint32_t luT_position(lua_State *L, Table *t, Value key);
/* Bytes of the parts, for the collector. */
size_t luT_partsize(const Table *t);
void luT_freeparts(lua_State *L, Table *t);
/* Raw equality of values (luV_rawequal too). */
bool luT_samekey(Value a, Value b);

/* Places `key` (absent, not nil) in a hash part under construction, by the same rules, without a VM
 * (for shapes): false when there is no free node. */
bool luT_shapeinsert(Node *nodes, int lsizenode, int32_t *last_free, Value key);

#endif
