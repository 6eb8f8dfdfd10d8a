/* Requests and answers as bytes, for children that hold no store (worker/process_pool.c).
 *
 * Numbers are base-128, low bits first, those with a sign folded (0, -1, 1, -2, ...); a text is its
 * length + 1 and its bytes, 0 when it is absent; a list is its count and its items. Both ends are
 * the same program, so there is no version in it.
 *
 * Who reads believes nothing. A list is made only when the rest of the message has room for its
 * shortest items, so a message costs at most MEMORY_A_BYTE bytes of memory for each of its own.
 * Whether there are too many scopes, or a key is too long, is left to the store, which can say so
 * to whoever asked; what would do harm unseen (a value that is no JSON) makes the message bad. */
#include <limits.h>

#include "base/jsontext.h"
#include "store/store.h"

/* Bytes that the shortest of each kind takes, for the bound on lists. */
enum { TEXT_MIN = 1, FILE_MIN = 2, OP_MIN = 8, RECORD_MIN = 9, TEMPLATE_MIN = 10 };
enum { MEMORY_A_BYTE = 32 };
_Static_assert(sizeof(Text) <= MEMORY_A_BYTE * TEXT_MIN, "lists of texts");
_Static_assert(sizeof(StoreFile) <= MEMORY_A_BYTE * FILE_MIN, "lists of files");
_Static_assert(sizeof(StoreKvOp) <= MEMORY_A_BYTE * OP_MIN, "lists of operations");
_Static_assert(sizeof(StoreRecord) <= MEMORY_A_BYTE * RECORD_MIN, "lists of records");
_Static_assert(sizeof(StoreTemplate) <= MEMORY_A_BYTE * TEMPLATE_MIN, "lists of templates");

/* ---- Writing ---------------------------------------------------------------------------------
 */

static void put_u64(Strbuf *out, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        strbuf_putc(out, (char)(value | 0x80));
    strbuf_putc(out, (char)value);
}

static void put_i64(Strbuf *out, int64_t value)
{
    put_u64(out, ((uint64_t)value << 1) ^ (value < 0 ? UINT64_MAX : 0));
}

static void put_text(Strbuf *out, Text text)
{
    if (!text.data) {
        put_u64(out, 0);
        return;
    }
    put_u64(out, (uint64_t)text.length + 1);
    strbuf_put(out, text.data, text.length);
}

static void put_texts(Strbuf *out, const Text *texts, int count)
{
    put_u64(out, (uint64_t)count);
    for (int i = 0; i < count; i++)
        put_text(out, texts[i]);
}

static void put_op(Strbuf *out, const StoreKvOp *op)
{
    put_u64(out, op->kind);
    put_i64(out, op->which.id);
    put_text(out, op->which.key);
    put_texts(out, op->which.scopes, op->which.scope_count);
    put_text(out, op->value);
    put_u64(out, op->expires);
    put_i64(out, op->expires_ms);
    put_u64(out, op->resume);
}

static void put_record(Strbuf *out, const StoreRecord *record)
{
    put_i64(out, record->id);
    put_text(out, record->key);
    put_texts(out, record->scopes, record->scope_count);
    put_text(out, record->value);
    put_i64(out, record->created_ms);
    put_i64(out, record->updated_ms);
    put_i64(out, record->expires_ms);
    put_u64(out, (uint64_t)record->resume | (uint64_t)record->has_failed << 1);
    put_u64(out, (uint64_t)record->attempts);
}

static void put_template(Strbuf *out, const StoreTemplate *t)
{
    put_text(out, t->name);
    put_u64(out, t->version);
    put_u64(out, (uint64_t)t->current | (uint64_t)t->enabled << 1);
    put_text(out, t->description);
    put_texts(out, t->events, t->event_count);
    put_texts(out, t->capabilities, t->capability_count);
    put_u64(out, (uint64_t)t->file_count);
    for (int i = 0; i < t->file_count; i++) {
        put_text(out, t->files[i].path);
        put_text(out, t->files[i].source);
    }
    put_u64(out, t->source_bytes);
    put_i64(out, t->created_ms);
    put_i64(out, t->updated_ms);
}

void store_put_request(Strbuf *out, const StoreRequest *request)
{
    put_u64(out, request->op);
    put_u64(out, request->guild_id);
    put_u64(out, (uint64_t)request->op_count);
    for (int i = 0; i < request->op_count; i++)
        put_op(out, &request->ops[i]);
    put_text(out, request->pattern);
    put_texts(out, request->scopes, request->scope_count);
    put_text(out, request->after);
    put_i64(out, request->after_id);
    put_u64(out, (uint64_t)request->count_max);
    put_text(out, request->name);
    put_u64(out, request->version);
    put_i64(out, request->if_version);
    put_u64(out, request->or_common);
    put_u64(out, request->save != NULL);
    if (request->save)
        put_template(out, request->save);
}

void store_put_answer(Strbuf *out, const StoreRequest *request)
{
    put_u64(out, request->status);
    put_text(out, request->message);
    put_u64(out, (uint64_t)request->op_count);
    for (int i = 0; i < request->op_count; i++) {
        put_record(out, &request->ops[i].record);
        put_u64(out, request->ops[i].existed);
    }
    put_u64(out, (uint64_t)request->record_count);
    for (int i = 0; i < request->record_count; i++)
        put_record(out, &request->records[i]);
    put_texts(out, request->texts, request->text_count);
    put_u64(out, (uint64_t)request->template_count);
    for (int i = 0; i < request->template_count; i++)
        put_template(out, &request->templates[i]);
    put_text(out, request->next);
    put_i64(out, request->next_id);
}

/* ---- Reading ---------------------------------------------------------------------------------
 *
 * After the first failure every function returns nothing at all: 0, no text, no list.
 */

typedef struct Reader {
    const unsigned char *p, *end;
    StoreRequest *request; /* whose memory it all goes to */
    bool failed;
    bool no_memory; /* that is why */
} Reader;

static uint64_t fail(Reader *r)
{
    r->failed = true;
    return 0;
}

static uint64_t get_u64(Reader *r)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (r->failed || r->p == r->end)
            return fail(r);
        unsigned char byte = *r->p++;
        if (shift == 63 && byte > 1)
            return fail(r);
        value |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80)
            return value;
    }
    return fail(r);
}

/* A number that is not above the bound. */
static uint64_t get_to(Reader *r, uint64_t bound)
{
    uint64_t value = get_u64(r);
    return value <= bound ? value : fail(r);
}

static int64_t get_i64(Reader *r)
{
    uint64_t folded = get_u64(r);
    return (int64_t)(folded >> 1) ^ -(int64_t)(folded & 1);
}

static void *get_memory(Reader *r, size_t size)
{
    void *memory = r->failed ? NULL : store_request_alloc(r->request, size);
    if (!memory && !r->failed)
        r->failed = r->no_memory = true;
    return memory;
}

static Text get_text(Reader *r)
{
    uint64_t length = get_u64(r);
    if (length == 0)
        return (Text){0};
    if (length - 1 > (size_t)(r->end - r->p)) {
        fail(r);
        return (Text){0};
    }
    Text text = store_request_text(r->request, (Text){(const char *)r->p, (size_t)length - 1});
    if (!text.data)
        r->failed = r->no_memory = true;
    r->p += length - 1;
    return text;
}

/* The count of a list whose items take `least` bytes of the message, and its place; NULL: the list
 * is empty, or the reading failed (the count is then 0). */
static void *get_list(Reader *r, size_t least, size_t size, int *count)
{
    uint64_t wanted = get_to(r, (size_t)(r->end - r->p) / least);
    void *items = NULL;
    if (wanted > INT_MAX)
        fail(r);
    else if (wanted > 0)
        items = get_memory(r, (size_t)wanted * size);
    *count = items ? (int)wanted : 0;
    return items;
}

static Text *get_texts(Reader *r, int *count)
{
    Text *texts = get_list(r, TEXT_MIN, sizeof(Text), count);
    for (int i = 0; i < *count; i++) {
        texts[i] = get_text(r);
        if (!texts[i].data)
            fail(r);
    }
    return texts;
}

static Text get_json(Reader *r)
{
    Text text = get_text(r);
    if (text.data) {
        JsonReader json;
        json_open(&json, text.data, text.length);
        if (!json_skip(&json) || !json_end(&json))
            fail(r);
    }
    return text;
}

static void get_op(Reader *r, StoreKvOp *op)
{
    op->kind = (StoreKvKind)get_to(r, STORE_KV_SETEXPIRY);
    op->which.id = get_i64(r);
    op->which.key = get_text(r);
    op->which.scopes = get_texts(r, &op->which.scope_count);
    op->value = get_json(r);
    op->expires = (StoreChange)get_to(r, STORE_SET);
    op->expires_ms = get_i64(r);
    op->resume = (StoreChange)get_to(r, STORE_SET);
}

static void get_record(Reader *r, StoreRecord *record)
{
    record->id = get_i64(r);
    record->key = get_text(r);
    record->scopes = get_texts(r, &record->scope_count);
    record->value = get_json(r);
    record->created_ms = get_i64(r);
    record->updated_ms = get_i64(r);
    record->expires_ms = get_i64(r);
    uint64_t flags = get_to(r, 3);
    record->resume = (flags & 1) != 0;
    record->has_failed = (flags & 2) != 0;
    record->attempts = (int)get_to(r, INT_MAX);
}

static void get_template(Reader *r, StoreTemplate *t)
{
    t->name = get_text(r);
    t->version = (uint32_t)get_to(r, UINT32_MAX);
    uint64_t flags = get_to(r, 3);
    t->current = (flags & 1) != 0;
    t->enabled = (flags & 2) != 0;
    t->description = get_text(r);
    t->events = get_texts(r, &t->event_count);
    t->capabilities = get_texts(r, &t->capability_count);
    t->files = get_list(r, FILE_MIN, sizeof(StoreFile), &t->file_count);
    for (int i = 0; i < t->file_count; i++) {
        t->files[i].path = get_text(r);
        t->files[i].source = get_text(r);
        if (!t->files[i].path.data || !t->files[i].source.data)
            fail(r);
    }
    t->source_bytes = get_u64(r);
    t->created_ms = get_i64(r);
    t->updated_ms = get_i64(r);
}

/* bytes may be NULL when there are none. */
static Reader read_from(const char *bytes, size_t length)
{
    const unsigned char *p = (const unsigned char *)(bytes ? bytes : "");
    return (Reader){.p = p, .end = p + length};
}

StoreRequest *store_read_request(const char *bytes, size_t length)
{
    Reader r = read_from(bytes, length);
    uint64_t op = get_u64(&r);
    uint64_t guild_id = get_u64(&r);
    if (r.failed || !store_op_is_tenants(op))
        return NULL;
    StoreRequest *request = r.request = store_request_new((StoreOp)op, guild_id);
    if (!request)
        return NULL;
    request->ops = get_list(&r, OP_MIN, sizeof(StoreKvOp), &request->op_count);
    for (int i = 0; i < request->op_count; i++)
        get_op(&r, &request->ops[i]);
    request->pattern = get_text(&r);
    request->scopes = get_texts(&r, &request->scope_count);
    request->after = get_text(&r);
    request->after_id = get_i64(&r);
    request->count_max = (int)get_to(&r, INT_MAX);
    request->name = get_text(&r);
    request->version = (uint32_t)get_to(&r, UINT32_MAX);
    request->if_version = get_i64(&r);
    request->or_common = get_to(&r, 1) != 0;
    if (get_to(&r, 1)) {
        StoreTemplate *save = get_memory(&r, sizeof(*save));
        if (save)
            get_template(&r, save);
        request->save = save;
    }
    if (r.failed || r.p != r.end) {
        store_request_free(request);
        return NULL;
    }
    return request;
}

bool store_read_answer(StoreRequest *request, const char *bytes, size_t length)
{
    Reader r = read_from(bytes, length);
    r.request = request;
    store_request_reset(request);
    request->status = (StoreStatus)get_to(&r, STORE_STATUSES - 1);
    request->message = get_text(&r);
    if (get_u64(&r) != (uint64_t)request->op_count)
        fail(&r);
    for (int i = 0; i < request->op_count; i++) {
        get_record(&r, &request->ops[i].record);
        request->ops[i].existed = get_to(&r, 1) != 0;
    }
    request->records = get_list(&r, RECORD_MIN, sizeof(StoreRecord), &request->record_count);
    for (int i = 0; i < request->record_count; i++)
        get_record(&r, &request->records[i]);
    request->texts = get_texts(&r, &request->text_count);
    request->templates = get_list(&r, TEMPLATE_MIN, sizeof(StoreTemplate),
                                  &request->template_count);
    for (int i = 0; i < request->template_count; i++)
        get_template(&r, &request->templates[i]);
    request->next = get_text(&r);
    request->next_id = get_i64(&r);
    if (r.failed || r.p != r.end) {
        store_request_fail(request, r.no_memory ? STORE_NO_MEMORY : STORE_INTERNAL,
                           "the answer of the store cannot be read");
        return false;
    }
    return true;
}
