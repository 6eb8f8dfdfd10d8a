/* What was taken, and nobody knows.
 *
 * A transaction that is reported as failed may be in the file all the same: it was moved away while
 * the commit was on its way, and moved back later. For what guilds write that is as good as any
 * answer to a failing disk. But what fell due would be marked as taken (STORE_DUE_TAKE) while
 * nobody had it, and would wait for the next start of the server. So the store remembers what such
 * a transaction took, and gives it back in the next one. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "store/sqlite_parts.h"

static bool add(SqliteStore *store, const StoreRequest *take)
{
    size_t count = store->astray_count + (size_t)take->due_count;
    StoreDue *astray = realloc(store->astray, count * sizeof(*astray));
    if (!astray)
        return false;
    memcpy(astray + store->astray_count, take->dues, (size_t)take->due_count * sizeof(*astray));
    store->astray = astray;
    store->astray_count = count;
    return true;
}

void sqlite_note_astray(SqliteStore *store, const StoreRequest *first, const StoreRequest *end)
{
    for (const StoreRequest *r = first; r != end; r = r->queue_next) {
        if (r->op == STORE_DUE_TAKE && r->status == STORE_OK && r->due_count > 0 && !add(store, r))
            log_message(LOG_ERROR,
                        "store %s: no memory to remember %d occasions that were perhaps taken; "
                        "they may be told after the next start only",
                        store->path, r->due_count);
    }
}

bool sqlite_give_back_astray(SqliteStore *store)
{
    if (store->astray_count == 0)
        return true;
    StoreRequest *request = store_request_new(STORE_DUE_RETRY, 0);
    bool good = request != NULL;
    for (size_t i = 0; i < store->astray_count && good; i++) {
        request->due = store->astray[i];
        request->retry_ms = request->due.due_ms;
        sqlite_perform(&store->writer, request);
        good = request->status == STORE_OK;
    }
    store_request_free(request);
    return good;
}

void sqlite_forget_astray(SqliteStore *store)
{
    free(store->astray);
    store->astray = NULL;
    store->astray_count = 0;
}
