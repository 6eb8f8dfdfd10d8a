/* Threads that read, each on a snapshot of its own connection: writes neither wait for them nor are
 * waited for. What fails, fails one request; the next finds a connection that works again. */
#include "base/clock.h"
#include "store/sqlite_parts.h"

enum { LOOK_MS = 100 /* between two looks whether the file is still there */ };

static bool is_lost(SqliteReader *reader)
{
    uint64_t now_ns = clock_monotonic_ns();
    if (reader->looked_ns != 0 && now_ns - reader->looked_ns < LOOK_MS * CLOCK_NS_PER_MS)
        return false;
    if (!sqlite_file_same(reader->store->path, &reader->store->file)) {
        reader->looked_ns = 0; /* the next request looks again */
        return true;
    }
    reader->looked_ns = now_ns;
    return false;
}

static bool be_ready(SqliteReader *reader, StoreRequest *request)
{
    SqliteConnection *c = &reader->connection;
    bool broken = !c->db || c->broken;
    if (broken)
        reader->looked_ns = 0;
    if (is_lost(reader)) {
        sqlite_fail_gone(reader->store->path, request);
        return false;
    }
    if (!broken)
        return true;
    sqlite_disconnect(c);
    char error[SQLITE_ERROR_MAX];
    StoreStatus status;
    if (sqlite_connect(c, &reader->store->options, SQLITE_ROLE_READER, &status, error,
                       sizeof(error)))
        return true;
    store_request_fail(request, status, error);
    return false;
}

/* One snapshot for all of the request's queries. */
static void read_one(SqliteReader *reader, StoreRequest *request)
{
    SqliteConnection *c = &reader->connection;
    if (!be_ready(reader, request))
        return;
    int code = sqlite_control(c, "BEGIN", NULL);
    if (code != SQLITE_OK) {
        sqlite_fail(c, request, code);
        return;
    }
    sqlite_perform(c, request);
    if (!sqlite3_get_autocommit(c->db) && sqlite_control(c, "ROLLBACK", NULL) != SQLITE_OK)
        c->broken = true; /* else it would hold its snapshot, and later reads see old data */
}

/* ---- Lanes ------------------------------------------------------------------------------------
 */

static SqliteLane *lane_of(SqliteLanes *lanes, uint64_t guild_id)
{
    return &lanes->lanes[guild_id * 0x9E3779B97F4A7C15u >> 56];
}
_Static_assert(SQLITE_LANES == 1 << 8, "lane_of");

static void append_lane(SqliteLanes *lanes, SqliteLane *lane)
{
    lane->next = NULL;
    *(lanes->first ? &lanes->last->next : &lanes->first) = lane;
    lanes->last = lane;
}

void sqlite_lanes_put(SqliteLanes *lanes, StoreRequest *request)
{
    SqliteLane *lane = lane_of(lanes, request->guild_id);
    if (!lane->queue.first)
        append_lane(lanes, lane);
    sqlite_queue_put(&lane->queue, request);
}

/* The first of the lane whose turn it is; there is one. */
static StoreRequest *lanes_take(SqliteLanes *lanes)
{
    SqliteLane *lane = lanes->first;
    StoreRequest *request = lane->queue.first;
    lanes->first = lane->next;
    lane->queue.first = request->queue_next;
    if (lane->queue.first)
        append_lane(lanes, lane);
    else
        lane->queue.last = NULL;
    request->queue_next = NULL;
    return request;
}

/* ---- The thread -------------------------------------------------------------------------------
 */

static void *reader_main(void *argument)
{
    SqliteReader *reader = argument;
    SqliteStore *store = reader->store;
    pthread_mutex_lock(&store->lock);
    for (;;) {
        while (!store->reads.first && !store->stopping)
            pthread_cond_wait(&store->readers_wake, &store->lock);
        if (!store->reads.first)
            break;
        StoreRequest *request = lanes_take(&store->reads);
        store->queued--;
        store->queued_bytes -= request->bytes;
        pthread_mutex_unlock(&store->lock);
        read_one(reader, request);
        sqlite_complete(store, request, false);
        pthread_mutex_lock(&store->lock);
    }
    pthread_mutex_unlock(&store->lock);
    return NULL;
}

bool sqlite_start_reader(SqliteReader *reader)
{
    reader->started = sqlite_start_thread(&reader->thread, reader_main, reader);
    return reader->started;
}
