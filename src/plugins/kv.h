/* kv.h: ctx.KV (@antiraid/kv): a guild's data that lasts.
 *
 *     arguments -> KvDraft, checked and borrowed  (kv_args.c)
 *               -> may the holder do this?        (kv.c)
 *               -> values as JSON, in the scratch buffer
 *               -> one copy of it all into a StoreRequest, which goes off as a call
 *     answer    -> Lua values                     (kv_record.c)
 *
 * Whatever may raise, poll or be killed comes before the copy: from there to the call nothing can
 * lose the request. Tables are read raw: no metamethod runs, so nothing changes meanwhile.
 *
 * A scoped capability, `kv[SCOPE]:get`, is matched only by a scope without brackets, colons, stars
 * and control characters (caps.h tells why); scopes with such characters can be used by holders of
 * the capability without a scope. */
#ifndef PLUGINS_KV_H
#define PLUGINS_KV_H

#include "plugins/holder.h"
#include "store/store.h"

enum {
    KV_PATTERN_MAX = 2 * STORE_KEY_MAX, /* bytes: every byte of a key may be escaped */
    KV_AFTER_MAX = 1024
};

/* One operation as it was asked for. Its texts are those of the native's arguments, which keep
 * their place; its scopes are in the draft itself. */
typedef struct KvDraft {
    StoreKvOp op;
    Text scopes[STORE_SCOPES_MAX];
    size_t value_start, value_length; /* SET: in the scratch buffer */
} KvDraft;

/* ---- Arguments (kv_args.c). Each raises a complaint that names the argument. ----
 * number: of the operation in a list, from 1; 0: there is no list. index: absolute. */
void kv_complain(lua_State *L, int number, const char *argument, const char *format, ...)
    __attribute__((noreturn, format(printf, 4, 5)));
void kv_read_key(lua_State *L, int number, int index, KvDraft *draft);
void kv_read_id(lua_State *L, int number, int index, KvDraft *draft);
/* Writes at most STORE_SCOPES_MAX; returns how many. */
int kv_read_scopes(lua_State *L, int number, int index, Text *scopes);
void kv_read_expires(lua_State *L, int number, int index, KvDraft *draft);
void kv_read_resume(lua_State *L, int number, int index, KvDraft *draft);
/* The value as JSON, appended to the scratch buffer. May park, may be killed. */
void kv_read_value(lua_State *L, int number, int index, Strbuf *scratch, KvDraft *draft);
void kv_check_text(lua_State *L, int number, const char *argument, Text text, size_t length_max);

typedef struct KvPage {
    Text after; /* absent: from the start */
    int limit;  /* 0: none given */
} KvPage;
/* {after = string, limit = number}, or nothing. */
KvPage kv_read_page(lua_State *L, int index);

/* ---- What the holder may do (kv.c). Each raises. ---- */
/* The draft's operation. */
void kv_require(lua_State *L, const Holder *kv, int number, const KvDraft *draft);

/* ---- Requests ---- */
/* Ends the native: the drafts, with their values (scratch is NULL if there are none), as one call.
 */
int kv_submit(lua_State *L, const Holder *kv, const KvDraft *drafts, int count,
              const Strbuf *scratch, int (*results)(lua_State *L, StoreRequest *request));
int kv_atomic(lua_State *L); /* the method (kv_atomic.c) */

/* ---- Results (kv_record.c): `results` of calls, and their parts ----
 * They take requests that are STORE_NOT_FOUND, too. */
void kv_push_id(lua_State *L, int64_t id);
void kv_push_value(lua_State *L, Text json);
int kv_push_get(lua_State *L, StoreRequest *request);       /* value, found */
int kv_push_existed(lua_State *L, StoreRequest *request);   /* boolean */
int kv_push_set(lua_State *L, StoreRequest *request);       /* {exists, id} */
int kv_push_getrecord(lua_State *L, StoreRequest *request); /* a KVRecord */
int kv_push_found(lua_State *L, StoreRequest *request);     /* a list of KVRecords, next */
int kv_push_keys(lua_State *L, StoreRequest *request);      /* a list of strings, next */
int kv_push_scopes(lua_State *L, StoreRequest *request);    /* likewise */
int kv_push_atomic(lua_State *L, StoreRequest *request);

#endif
