/* fuzz_store_codec.c: any bytes from a child that wants something of the store, or from the parent
 * that answers it. The first byte says which. They are refused, or the message makes bytes again
 * which read as the same message, and it took no more memory than its length allows. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "store/store.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A request's own block, what lists may take for each byte of the message, and what blocks of
 * memory leave unused. */
static size_t memory_allowed(size_t size)
{
    return 8192 + 64 * size;
}

static void again_request(const char *bytes, size_t size)
{
    StoreRequest *first = store_read_request(bytes, size);
    if (!first)
        return;
    FUZZ_CHECK(first->bytes <= memory_allowed(size), "%zu for %zu", first->bytes, size);
    Strbuf once = STRBUF_INIT, twice = STRBUF_INIT;
    store_put_request(&once, first);
    FUZZ_CHECK(once.length <= size, "longer than it was"); /* numbers may come with spare zeros */
    StoreRequest *second = store_read_request(once.data, once.length);
    FUZZ_CHECK(second, "refused its own bytes");
    store_put_request(&twice, second);
    FUZZ_CHECK(once.length == twice.length && memcmp(once.data, twice.data, once.length) == 0,
               "another message");
    store_request_free(first);
    store_request_free(second);
    strbuf_free(&once);
    strbuf_free(&twice);
}

static StoreRequest *asked(int op_count)
{
    StoreRequest *request = store_request_new(STORE_KV, 1);
    if (request)
        request->ops = store_request_alloc(request, (size_t)op_count * sizeof(StoreKvOp));
    if (!request || !request->ops)
        abort();
    request->op_count = op_count;
    return request;
}

static void again_answer(const char *bytes, size_t size, int op_count)
{
    StoreRequest *first = asked(op_count), *second = asked(op_count);
    size_t before = first->bytes;
    Strbuf once = STRBUF_INIT, twice = STRBUF_INIT;
    bool fine = store_read_answer(first, bytes, size);
    FUZZ_CHECK(first->bytes - before <= memory_allowed(size), "%zu for %zu", first->bytes, size);
    if (fine) {
        store_put_answer(&once, first);
        FUZZ_CHECK(store_read_answer(second, once.data, once.length), "refused its own bytes");
        store_put_answer(&twice, second);
        FUZZ_CHECK(once.length == twice.length && memcmp(once.data, twice.data, once.length) == 0,
                   "another message");
    } else {
        FUZZ_CHECK(first->status != STORE_OK && first->record_count == 0 &&
                       first->template_count == 0 && first->text_count == 0,
                   "something came out of a bad answer");
    }
    store_request_free(first);
    store_request_free(second);
    strbuf_free(&once);
    strbuf_free(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzBytes b = bytes_of(data, size);
    unsigned kind = bytes_below(&b, 4);
    /* A copy of just its size, so that a byte too far is seen. */
    size_t length = (size_t)(b.end - b.p);
    char *bytes = malloc(length);
    if (length > 0 && !bytes)
        abort();
    if (length > 0)
        memcpy(bytes, b.p, length);
    if (kind == 0)
        again_request(bytes, length);
    else
        again_answer(bytes, length, (int)kind - 1);
    free(bytes);
    return 0;
}
