/* store.h: what lasts: templates and their versions, guilds' key-value data, and what falls due.
 *
 * One function table (StoreOps); behind it a database. The embedded one is SQLite (sqlite.h).
 *
 * Calls are asynchronous. Whoever wants something fills a StoreRequest and submits it; the store's
 * own threads do the work and give the request back through `complete`, exactly once, whatever
 * happens. A write that comes back as STORE_OK is on disk: it survives kill -9 and loss of power. A
 * read sees every write that came back before it was submitted. Writes of one guild take effect in
 * the order in which they were submitted.
 *
 * The queue is bounded; what does not fit comes back as STORE_QUEUE_FULL. A disk that is full, a
 * file that is locked, read-only, damaged or gone: each has a status of its own, the request it met
 * fails whole, and the store goes on serving what it can. What the texts of these failures say is
 * for operators and never shown to tenants.
 *
 * Times are milliseconds since 1970 (UTC), of the wall clock. Texts are UTF-8. */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "base/text.h"

typedef enum StoreStatus {
    STORE_OK,
    STORE_NOT_FOUND,
    STORE_CONFLICT,      /* not the version that was expected; or the id is taken */
    STORE_INVALID,       /* the request breaks a rule of its kind: message says which */
    STORE_TOO_MANY,      /* a limit of the guild would be passed: message names it */
    STORE_QUEUE_FULL,    /* too much waits already; nothing was done */
    STORE_DISK_FULL,     /* nothing was done; reads go on */
    STORE_LOCKED,        /* another process holds the file for too long; nothing was done */
    STORE_READ_ONLY,     /* the file cannot be written; reads go on */
    STORE_CORRUPT,       /* the file is damaged where this request looked */
    STORE_GONE,          /* the file or its disk fails (input/output error), or was replaced */
    STORE_SHUTTING_DOWN, /* submitted after store_stop began */
    STORE_NO_MEMORY,
    STORE_INTERNAL
} StoreStatus;
enum { STORE_STATUSES = STORE_INTERNAL + 1 };
const char *store_status_name(StoreStatus status); /* "disk_full" */
/* A sentence for whoever asked (a tenant too): `the store's disk is full`. */
const char *store_status_text(StoreStatus status);

enum {
    STORE_KEY_MAX = 512, /* bytes */
    STORE_SCOPES_MAX = 32,
    STORE_SCOPE_MAX = 64,        /* bytes */
    STORE_VALUE_MAX = 256 << 10, /* bytes of JSON */
    STORE_PAGE_MAX = 100,        /* records a page */
    STORE_PAGE_BYTES_MAX = 512 << 10,
    STORE_ATOMIC_MAX = 64,            /* operations */
    STORE_ATOMIC_BYTES_MAX = 4 << 20, /* of the values that they get */
    STORE_EXPIRY_ATTEMPTS_MAX = 12,
    STORE_TEMPLATES_MAX = 64, /* a guild */
    STORE_VERSIONS_MAX = 100, /* a template */
    STORE_NAME_MAX = 64
};
#define STORE_TEMPLATES_BYTES_MAX ((int64_t)64 << 20) /* a guild, all versions */
#define STORE_NO_TIME INT64_MIN                       /* none */

/* ---- Key-value data ---------------------------------------------------------------------------
 *
 * A record is identified by its key and its set of scopes (not empty; order and repetition do not
 * matter). Scopes that are given match a record that has all of them: the one with exactly these,
 * else the oldest. An id names a record for ever and is never used again.
 *
 * Keys, scopes, values and patterns are UTF-8 without NULs (STORE_INVALID; not every database can
 * keep a NUL in a text) and come back byte for byte: nothing is trimmed, folded or normalised.
 *
 * What is not there is deleted or given an expiry without error (existed is false). A SET by an id
 * that is not there is STORE_NOT_FOUND. An operation that fails in a list of several is named by
 * the message: `operation 3: ...`. Where very many records have one key, and scopes are given that
 * none of them has exactly, the search may be given up (STORE_TOO_MANY).
 *
 * A guild's records are limited by their number and their bytes: a record counts for its value and,
 * for each of its scopes, for the scope and the key. What makes neither larger is always allowed.
 *
 * Every change of an expiry arms it anew: attempts and the mark of failure are forgotten, and who
 * has taken the old one (StoreDue) has nothing to be done with any more. A time that is past is due
 * at once. */

typedef struct StoreSelector {
    int64_t id; /* not 0: the record of that id; else by key and scopes */
    Text key;
    const Text *scopes;
    int scope_count;
} StoreSelector;

typedef enum StoreKvKind {
    STORE_KV_GET,
    STORE_KV_EXISTS, /* a GET without the value */
    STORE_KV_SET,    /* the record with exactly these scopes, made if it is not there; or by id */
    STORE_KV_DELETE,
    STORE_KV_SETEXPIRY /* expires: STORE_SET or STORE_CLEAR */
} StoreKvKind;

typedef enum StoreChange { STORE_KEEP, STORE_CLEAR, STORE_SET } StoreChange;

typedef struct StoreRecord {
    int64_t id; /* 0: there is no such record; the rest is then absent */
    Text key;
    Text *scopes; /* sorted by their bytes */
    int scope_count;
    Text value; /* JSON; absent if it was not asked for */
    int64_t created_ms, updated_ms;
    int64_t expires_ms; /* STORE_NO_TIME: never */
    bool resume;
    int attempts;    /* at telling its expiry that failed */
    bool has_failed; /* for ever: it will not be told again until its expiry is set anew */
} StoreRecord;

typedef struct StoreKvOp {
    StoreKvKind kind;
    StoreSelector which;
    Text value;          /* SET: JSON, checked by who sends it */
    StoreChange expires; /* SET, SETEXPIRY */
    int64_t expires_ms;
    StoreChange resume; /* SET: KEEP, CLEAR or SET */
    /* -- out -- */
    StoreRecord record; /* GET, EXISTS: what there is. The others: what there was before, without
                           its value. SET that made it: nothing but its id */
    bool existed;
} StoreKvOp;

/* ---- Templates --------------------------------------------------------------------------------
 *
 * Guild 0 holds those that every guild has, unless it has one of that name itself. A save makes a
 * version, with the number after the highest there ever was of that name; versions never change.
 * Who saves has checked everything that needs a compiler. A save that changes nothing makes no
 * version and comes back with the current one.
 *
 * Old versions are dropped, the oldest first and never a current one, when a template has more than
 * STORE_VERSIONS_MAX, or when those of a guild take more than STORE_TEMPLATES_BYTES_MAX together (a
 * file that several versions have counts once). When the current ones alone take more, a save is
 * STORE_TOO_MANY; not for guild 0. */

typedef struct StoreFile {
    Text path, source;
} StoreFile;

typedef struct StoreTemplate {
    Text name;
    uint32_t version;
    bool current;
    bool enabled;
    Text description; /* absent: none */
    Text *events;
    int event_count;
    Text *capabilities;
    int capability_count;
    StoreFile *files; /* absent (count 0) in lists */
    int file_count;
    uint64_t source_bytes; /* of all files */
    int64_t created_ms;    /* of the first version */
    int64_t updated_ms;    /* of this one */
} StoreTemplate;

/* ---- What falls due ---------------------------------------------------------------------------
 */

typedef enum StoreDueKind { STORE_DUE_EXPIRY, STORE_DUE_SCHEDULE } StoreDueKind;

/* Taken: it is not given out again until it is done or failed, or until the store is opened anew
 * (whoever had it died). */
typedef struct StoreDue {
    StoreDueKind kind;
    uint64_t guild_id;
    int64_t id;       /* of the record or the schedule */
    int64_t sequence; /* goes up each time it is armed: with the id, it names this occasion */
    int64_t due_ms;
    int attempts; /* that failed so far */
} StoreDue;

/* An event at a time, or every so often (expiry tasks of the HTTP API). */
typedef struct StoreSchedule {
    int64_t id;
    Text name;        /* 1 to STORE_NAME_MAX bytes */
    int64_t due_ms;   /* the next time; STORE_NO_TIME: over */
    int64_t every_ms; /* 0: once */
    int attempts;
    bool has_failed;
    int64_t created_ms;
} StoreSchedule;
enum { STORE_SCHEDULES_MAX = 1000 /* a guild */ };

/* ---- Requests ---------------------------------------------------------------------------------
 */

typedef enum StoreOp {
    STORE_KV,         /* ops, all or none; with reads only, no write */
    STORE_KV_FIND,    /* pattern, scopes, after -> records, next; count_max. In the order of
                         their keys' bytes, then of their ids. A page may hold less than could be,
                         even nothing, and be followed by another: only an absent `next` is the
                         end */
    STORE_KV_KEYS,    /* scopes, after -> records without values, next; likewise */
    STORE_KV_SCOPES,  /* after -> texts, next: every scope in use */
    STORE_KV_RESUMES, /* after_id -> records without values, next_id: those with `resume` */
    STORE_RESUMERS,   /* after_id -> guild_ids, next_id: guilds that have such */
    STORE_LOAD,       /* guild -> templates: the current versions, whole */
    STORE_LIST,       /* guild -> templates: the current versions, without files */
    STORE_GET,        /* name, version (0: the current one) -> templates[0], whole */
    STORE_VERSIONS,   /* name -> templates: all versions, newest first, without files; or_common: if
                         the guild has none of that name, the current one of guild 0, as version 0
                       */
    STORE_SAVE,       /* save, if_version -> templates[0], without files */
    STORE_DELETE,     /* name, if_version: with all its versions */
    STORE_ACTIVATE,   /* name, version, if_version -> templates[0], without files */
    STORE_DUE_NEXT,   /* -> next_ms: when something is due that nobody has taken */
    STORE_DUE_TAKE,   /* now_ms, count_max -> dues: in the order of their times */
    STORE_DUE_DONE,   /* due: a record is deleted unless it was armed again since; a schedule goes
                         on to its next time after now_ms, or is over */
    STORE_DUE_RETRY,  /* due, retry_ms, failed: due again then. failed: one attempt more; after
                         STORE_EXPIRY_ATTEMPTS_MAX it stays, with an error mark, and is not due */
    STORE_SCHEDULE_NEW,    /* schedule (name, due_ms, every_ms) -> schedules[0] */
    STORE_SCHEDULES,       /* after_id -> schedules, next_id */
    STORE_SCHEDULE_GET,    /* id -> schedules[0] */
    STORE_SCHEDULE_DELETE, /* id */
    STORE_SYNC             /* nothing; comes back when all writes submitted before have */
} StoreOp;
enum { STORE_OPS = STORE_SYNC + 1 };

/* Made by store_request_new; freed by its owner with store_request_free when it came back. What
 * goes in is copied with the store_request_text family, or borrowed from what outlives it. What
 * comes out lives in the request's memory. */
typedef struct StoreRequest StoreRequest;
struct StoreRequest {
    StoreOp op;
    uint64_t guild_id;
    void (*complete)(StoreRequest *request); /* any thread, also inside store_submit; must not
                                                block; may submit and free */
    void *userdata;

    StoreKvOp *ops;
    int op_count;
    Text pattern; /* `%` any run, `_` one character, `\` takes the next one literally */
    const Text *scopes;
    int scope_count;
    Text after; /* where the last page ended (`next`); absent: from the start */
    int64_t after_id;
    int count_max; /* at most STORE_PAGE_MAX (DUE_TAKE: any); 0: as many as may be */
    Text name;
    uint32_t version;
    bool or_common;
    int64_t if_version; /* the version that must be current; 0: there must be none; below 0: any */
    const StoreTemplate *save; /* name, enabled, description, events, capabilities, files */
    const StoreSchedule *schedule;
    int64_t id;
    int64_t now_ms;
    int64_t retry_ms;
    StoreDue due;
    bool failed;

    /* -- out -- */
    StoreStatus status;
    Text message; /* for INVALID, TOO_MANY and CONFLICT: a sentence for whoever asked; else for the
                     operator's log */
    StoreRecord *records;
    int record_count;
    Text *texts;
    int text_count;
    uint64_t *guild_ids;
    int guild_count;
    StoreTemplate *templates;
    int template_count;
    StoreSchedule *schedules;
    int schedule_count;
    StoreDue *dues;
    int due_count;
    Text next;       /* absent: that was the last page */
    int64_t next_id; /* 0: likewise */
    int64_t next_ms; /* STORE_NO_TIME: nothing is to come */

    StoreRequest *queue_next; /* the store's */
    uint64_t submitted_ns;    /* likewise: of the monotonic clock */
    void *blocks;             /* its memory */
    size_t bytes;             /* of it */
};

/* All zero, but any version will do (if_version). NULL: no memory. */
StoreRequest *store_request_new(StoreOp op, uint64_t guild_id);
void store_request_free(StoreRequest *request); /* NULL is fine */
/* Memory that lives with the request, zeroed; NULL: none. */
void *store_request_alloc(StoreRequest *request, size_t size);
/* A copy with a NUL behind it; data NULL: none was to be had (unless source was absent). */
Text store_request_text(StoreRequest *request, Text source);
Text *store_request_texts(StoreRequest *request, const Text *sources, int count);
/* Forgets what came out; store_submit does it, too. What came out keeps its memory. */
void store_request_reset(StoreRequest *request);
/* The same, and has it fail. The message (NULL: none) is copied. */
void store_request_fail(StoreRequest *request, StoreStatus status, const char *message);
/* Goes to the writer. */
bool store_op_writes(const StoreRequest *request);
/* May templates ask for it? The other operations are the server's own. */
bool store_op_is_tenants(uint64_t op);

/* As bytes, for a way over a process boundary: what goes in, and what came out. put: appends. read:
 * checks every bound, and that values are JSON; NULL or false: bad, or no memory (the request that
 * the answer was for has then failed). Texts are copied. Only STORE_KV to STORE_KV_SCOPES and
 * STORE_LIST to STORE_ACTIVATE (what templates may ask for). (store_codec.c) */
void store_put_request(Strbuf *out, const StoreRequest *request);
StoreRequest *store_read_request(const char *bytes, size_t length);
void store_put_answer(Strbuf *out, const StoreRequest *request);
bool store_read_answer(StoreRequest *request, const char *bytes, size_t length);

/* ---- The store --------------------------------------------------------------------------------
 */

typedef struct StoreStats {
    uint64_t reads, writes; /* requests that came back as STORE_OK */
    uint64_t failures[STORE_STATUSES];
    uint64_t commits;           /* transactions that were made durable: one fsync each */
    uint64_t waiting;           /* requests submitted and not back */
    uint64_t read_ns, write_ns; /* time they took together, from submit to complete */
} StoreStats;

/* Called on a store thread, never under a lock of the store; must not block. */
typedef struct StoreObserver {
    /* The templates of that guild are others now (0: those of every guild). Also when another
     * process changed them; then within a second. all: any guild's may be. */
    void (*templates_changed)(void *userdata, uint64_t guild_id, bool all);
    /* Something may be due at that time, or sooner than was last said by STORE_DUE_NEXT. */
    void (*due_changed)(void *userdata, int64_t due_ms);
    void *userdata;
} StoreObserver;

typedef struct StoreOptions {
    const char *path;       /* SQLite: the file; made if it is not there */
    bool exclusive;         /* a server: no second one may open it; takes back what was taken and
                               not done (StoreDue) */
    int readers;            /* threads; 0: as many as processors, at least 2 */
    int queue_max;          /* requests waiting; 0: 65,536 */
    size_t queue_bytes_max; /* of their memory; 0: 256 MiB */
    int lock_wait_ms;       /* for other processes; 0: 5,000 */
    int64_t records_max;    /* KV records a guild; 0: 100,000 */
    int64_t bytes_max;      /* keys, scopes and values of a guild; 0: 64 MiB */
    StoreObserver observer; /* members may be NULL */
    int64_t (*clock_ms)(void *userdata); /* NULL: CLOCK_REALTIME */
    void *clock_userdata;
} StoreOptions;

typedef struct Store Store;

typedef struct StoreOps {
    void (*submit)(Store *store, StoreRequest *request);
    void (*stop)(Store *store);
    void (*free)(Store *store);
    void (*stats)(Store *store, StoreStats *stats);
    /* Appends what is wrong, a line each; true: nothing is. Blocks. */
    bool (*check)(Store *store, Strbuf *report);
    /* A copy, as of one moment, while the store goes on; replaces no file. Blocks. False: text in
     * error. */
    bool (*backup)(Store *store, const char *path, char *error, size_t error_size);
} StoreOps;

/* Implementations embed it as their first member. */
struct Store {
    const StoreOps *ops;
};

/* Any thread. */
void store_submit(Store *store, StoreRequest *request);
/* From now on requests come back as STORE_SHUTTING_DOWN. Those taken before are finished: returns
 * when they have come back. */
void store_stop(Store *store);
void store_free(Store *store); /* stopped; NULL is fine */
void store_stats(Store *store, StoreStats *stats);
bool store_check(Store *store, Strbuf *report);
bool store_backup(Store *store, const char *path, char *error, size_t error_size);
/* Submits and waits: for the command line, tests and threads that may block. */
void store_wait(Store *store, StoreRequest *request);

#endif
