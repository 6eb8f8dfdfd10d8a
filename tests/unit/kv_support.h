/* kv_support.h: a store in a folder of its own, with a clock that stands still, and requests to it
 * in few words. Scopes are written `a|b`. What a request holds lives until it is freed. */
#ifndef TESTS_UNIT_KV_SUPPORT_H
#define TESTS_UNIT_KV_SUPPORT_H

#include "store/sqlite.h"

typedef struct KvStore {
    char folder[64], path[96];
    StoreOptions options;
    Store *store;
    int64_t now_ms; /* what the store's clock says */
} KvStore;

#define KV_GUILD UINT64_C(4242)

/* 0: the defaults. */
void kv_open(KvStore *kv, int64_t records_max, int64_t bytes_max);
void kv_reopen(KvStore *kv); /* what was taken is taken back */
void kv_close(KvStore *kv);  /* and removes the folder; the store must have been sound */

Text kv_text(const char *string);
Text *kv_scopes(StoreRequest *request, const char *scopes, int *count);
/* Appends an operation; which.key and which.scopes are copied. */
StoreKvOp *kv_op(StoreRequest *request, StoreKvKind kind, const char *key, const char *scopes);
StoreKvOp *kv_op_id(StoreRequest *request, StoreKvKind kind, int64_t id);
StoreRequest *kv_request(StoreOp op);
/* Waits and checks the status. */
StoreRequest *kv_run(KvStore *kv, StoreRequest *request, StoreStatus expected);

/* One operation each. set: returns the id. get: the request; its first operation has the record. */
int64_t kv_set(KvStore *kv, const char *key, const char *scopes, const char *value);
int64_t kv_set_expiry(KvStore *kv, const char *key, const char *scopes, int64_t expires_ms);
StoreRequest *kv_get(KvStore *kv, const char *key, const char *scopes);
int64_t kv_id(KvStore *kv, const char *key, const char *scopes); /* 0: none */
void kv_assert_value(KvStore *kv, const char *key, const char *scopes, const char *value);
void kv_assert_text(Text got, const char *expected);
/* What a query of the file gives; one number. */
int64_t kv_number(KvStore *kv, const char *sql);

#endif
