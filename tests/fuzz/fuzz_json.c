/* fuzz_json.c: any bytes as JSON into a VM and out again. What was written is JSON, reads back and
 * writes the same but for the order of members, which tables do not keep; skipping and reading
 * agree on what is JSON. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/jsontext.h"
#include "base/strbuf.h"
#include "khronos/interop.h"
#include "luau/luau.h"

enum { QUOTA_BYTES = 16 << 20, OUTPUT_MAX_BYTES = 8 << 20 };

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static luau_Image *image;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    image = luau_image_standard();
    return image ? 0 : 1;
}

typedef struct Pass {
    const char *text;
    size_t length;
    Strbuf out;
    bool read, written;
} Pass;

static int decode_and_encode(lua_State *L)
{
    Pass *pass = lua_tolightuserdata(L, 1);
    InteropError error;
    InteropReader reader = {.text = pass->text, .length = pass->length};
    pass->read = interop_decode(L, &reader, &error);
    if (!pass->read)
        return 0;
    InteropWriter writer = {.out = &pass->out, .root = "$"};
    pass->written = interop_encode(L, -1, &writer, &error);
    return 0;
}

static int run(lua_State *L, Pass *pass)
{
    pass->out = (Strbuf){.max = OUTPUT_MAX_BYTES};
    lua_pushcfunction(L, decode_and_encode, "decode_and_encode");
    lua_pushlightuserdata(L, pass);
    int status = lua_pcall(L, 1, 0, 0);
    if (status != LUA_OK && status != LUA_KILLED)
        lua_settop(L, 0);
    return status;
}

static bool is_json(const char *text, size_t length)
{
    JsonReader reader;
    json_open(&reader, text, length);
    return json_skip(&reader) && json_end(&reader);
}

/* As many of each byte: the same text but for order. */
static bool same_bytes(const Strbuf *a, const Strbuf *b)
{
    size_t counts[256] = {0};
    for (size_t i = 0; i < a->length; i++)
        counts[(uint8_t)a->data[i]]++;
    for (size_t i = 0; i < b->length; i++)
        if (counts[(uint8_t)b->data[i]]-- == 0)
            return false;
    return a->length == b->length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    luau_VmOptions options = {.image = image, .memory_max_bytes = QUOTA_BYTES};
    lua_State *L = luau_newvm(&options);
    if (!L)
        abort();
    Pass first = {.text = (const char *)data, .length = size};
    int status = run(L, &first);
    if (first.read && !is_json((const char *)data, size))
        abort();
    if (status == LUA_OK && first.written) {
        if (!first.read || !is_json(first.out.data, first.out.length))
            abort();
        Pass second = {.text = first.out.data, .length = first.out.length};
        status = run(L, &second);
        if (status == LUA_OK && (!second.written || !same_bytes(&first.out, &second.out))) {
            fprintf(stderr, "first:  %.*s\nsecond: %.*s\n", (int)first.out.length, first.out.data,
                    (int)second.out.length, second.out.data ? second.out.data : "");
            abort();
        }
        strbuf_free(&second.out);
    }
    strbuf_free(&first.out);
    lua_close(L);
    return 0;
}
