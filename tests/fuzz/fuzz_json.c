/* fuzz_json.c: any bytes as JSON text. The reader and the decoder must take exactly what a small
 * validator of RFC 8259 takes, written here independently of them; what was decoded encodes to text
 * that is valid and decodes to the same; a pull reader that walks skips the same way. */
#include <math.h>

#include "base/jsontext.h"
#include "bytes.h"
#include "khronos/interop.h"
#include "khronos/sandbox.h"
#include "luau/luau.h"

enum { NUMBER_TEXT_MAX = JSON_NUMBER_TEXT_MAX, DEPTH_MAX = JSON_DEPTH_MAX };

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static KhronosSandbox *sandbox;
static luau_Fibers *fibers;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    char error[256];
    sandbox = sandbox_new(NULL, 0, error, sizeof(error));
    fibers = luau_fibers_new(1);
    return sandbox && fibers ? 0 : 1;
}

/* ---- the validator --------------------------------------------------------------------------- */

typedef struct Validator {
    const unsigned char *p, *end;
} Validator;

static void blanks(Validator *v)
{
    while (v->p < v->end && (*v->p == ' ' || *v->p == '\t' || *v->p == '\n' || *v->p == '\r'))
        v->p++;
}

static bool word(Validator *v, const char *text)
{
    for (; *text; text++, v->p++)
        if (v->p == v->end || *v->p != (unsigned char)*text)
            return false;
    return true;
}

static bool digits(Validator *v)
{
    const unsigned char *start = v->p;
    while (v->p < v->end && *v->p >= '0' && *v->p <= '9')
        v->p++;
    return v->p > start;
}

static bool number(Validator *v)
{
    const unsigned char *start = v->p;
    if (v->p < v->end && *v->p == '-')
        v->p++;
    const unsigned char *integer = v->p;
    if (!digits(v) || (*integer == '0' && v->p - integer > 1))
        return false;
    if (v->p < v->end && *v->p == '.') {
        v->p++;
        if (!digits(v))
            return false;
    }
    if (v->p < v->end && (*v->p | 0x20) == 'e') {
        v->p++;
        if (v->p < v->end && (*v->p == '+' || *v->p == '-'))
            v->p++;
        if (!digits(v))
            return false;
    }
    if (v->p - start > NUMBER_TEXT_MAX)
        return false; /* longer than we take */
    char text[512];
    size_t length = (size_t)(v->p - start);
    if (length >= sizeof(text))
        return true; /* its size is not checked here */
    memcpy(text, start, length);
    text[length] = '\0';
    return isfinite(strtod(text, NULL)); /* one that is too large is no number of ours */
}

static int hex(Validator *v)
{
    int value = 0;
    for (int i = 0; i < 4; i++, v->p++) {
        if (v->p == v->end)
            return -1;
        const char *all = "0123456789abcdefABCDEF", *at = strchr(all, (char)*v->p);
        if (!at || !*at)
            return -1;
        int digit = (int)(at - all);
        value = value * 16 + (digit > 15 ? digit - 6 : digit);
    }
    return value;
}

static bool escape(Validator *v)
{
    if (v->p == v->end)
        return false;
    unsigned char c = *v->p++;
    if (c != 'u')
        return c && strchr("\"\\/bfnrt", (char)c);
    int unit = hex(v);
    if (unit < 0 || (unit >= 0xDC00 && unit <= 0xDFFF))
        return false;
    if (unit < 0xD800 || unit > 0xDFFF)
        return true;
    if (!word(v, "\\u"))
        return false;
    unit = hex(v);
    return unit >= 0xDC00 && unit <= 0xDFFF;
}

static bool utf8(Validator *v, unsigned char first)
{
    unsigned code = first, more = first >= 0xF0 ? 3 : first >= 0xE0 ? 2 : 1;
    static const unsigned least[] = {0, 0x80, 0x800, 0x10000};
    if (first < 0xC0 || first > 0xF7)
        return false;
    code &= 0x3Fu >> more;
    for (unsigned i = 0; i < more; i++) {
        if (v->p == v->end || (*v->p & 0xC0) != 0x80)
            return false;
        code = code << 6 | (*v->p++ & 0x3F);
    }
    return code >= least[more] && code <= 0x10FFFF && !(code >= 0xD800 && code <= 0xDFFF);
}

static bool string(Validator *v)
{
    if (v->p == v->end || *v->p++ != '"')
        return false;
    while (v->p < v->end) {
        unsigned char c = *v->p++;
        if (c == '"')
            return true;
        if (c < 0x20 || (c == '\\' && !escape(v)) || (c >= 0x80 && !utf8(v, c)))
            return false;
    }
    return false;
}

static bool value(Validator *v, int depth);

static bool container(Validator *v, int depth)
{
    bool object = *v->p++ == '{';
    unsigned char close = object ? '}' : ']';
    if (depth > DEPTH_MAX)
        return false;
    blanks(v);
    if (v->p < v->end && *v->p == close) {
        v->p++;
        return true;
    }
    for (;;) {
        blanks(v);
        if (object) {
            if (!string(v))
                return false;
            blanks(v);
            if (v->p == v->end || *v->p++ != ':')
                return false;
        }
        if (!value(v, depth))
            return false;
        blanks(v);
        if (v->p == v->end)
            return false;
        unsigned char c = *v->p++;
        if (c == close)
            return true;
        if (c != ',')
            return false;
    }
}

static bool value(Validator *v, int depth)
{
    blanks(v);
    if (v->p == v->end)
        return false;
    switch (*v->p) {
    case '"': return string(v);
    case '{':
    case '[': return container(v, depth + 1);
    case 't': return word(v, "true");
    case 'f': return word(v, "false");
    case 'n': return word(v, "null");
    default: return number(v);
    }
}

static bool is_valid(const char *text, size_t length)
{
    const unsigned char *p = (const unsigned char *)text;
    Validator v = {p, p + length};
    if (!value(&v, 0))
        return false;
    blanks(&v);
    return v.p == v.end;
}

/* ---- the reader ------------------------------------------------------------------------------ */

static bool skip_all(const char *text, size_t length)
{
    JsonReader r;
    json_open(&r, text, length);
    bool ok = json_skip(&r) && json_end(&r);
    char place[64];
    json_describe(&r, place, sizeof(place));
    FUZZ_CHECK(ok == !r.error, "%s", place);
    return ok;
}

/* Strings unescape to as many bytes of UTF-8 as announced, and escape to what reads the same. */
static void check_string(const JsonString *string)
{
    size_t length = json_unescaped_length(string);
    char *plain = malloc(string->length + 1);
    FUZZ_CHECK(json_unescape(string, plain) == length && length <= string->length, "length");
    FUZZ_CHECK(json_utf8_valid(plain, length) == length, "not UTF-8");
    Strbuf out = STRBUF_INIT;
    size_t bad;
    FUZZ_CHECK(json_put_string(&out, plain, length, &bad), "refused at %zu", bad);
    JsonReader r;
    JsonString again;
    json_open(&r, out.data, out.length);
    FUZZ_CHECK(json_string(&r, &again) && json_end(&r), "%.*s", (int)out.length, out.data);
    char *back = malloc(again.length + 1);
    FUZZ_CHECK(json_unescape(&again, back) == length && memcmp(back, plain, length) == 0, "other");
    free(back);
    free(plain);
    strbuf_free(&out);
}

static bool walk(JsonReader *r)
{
    JsonString string;
    JsonNumber n;
    switch (json_peek(r)) {
    case JSON_NONE: return false;
    case JSON_NUMBER: return json_number(r, &n);
    case JSON_STRING:
        if (!json_string(r, &string))
            return false;
        check_string(&string);
        return true;
    case JSON_ARRAY:
        if (!json_enter(r))
            return false;
        while (json_element(r))
            if (!walk(r))
                return false;
        return !r->error;
    case JSON_OBJECT:
        if (!json_enter(r))
            return false;
        while (json_member(r, &string)) {
            check_string(&string);
            if (!walk(r))
                return false;
        }
        return !r->error;
    default: return json_literal(r);
    }
}

static bool walk_all(const char *text, size_t length)
{
    JsonReader r;
    json_open(&r, text, length);
    return walk(&r) && json_end(&r);
}

/* ---- values ---------------------------------------------------------------------------------- */

typedef struct Case {
    const char *text;
    size_t length;
    bool valid, freeze, pretty, small;
    Strbuf out, again;
} Case;

static bool decode(lua_State *L, const char *text, size_t length, bool freeze)
{
    InteropReader reader = {.text = text, .length = length, .freeze = freeze};
    InteropError error = {.text = ""};
    int top = lua_gettop(L);
    bool ok = interop_decode(L, &reader, &error);
    FUZZ_CHECK(lua_gettop(L) == top + ok, "top %d, was %d", lua_gettop(L), top);
    FUZZ_CHECK(ok == !error.text[0], "%s", error.text);
    return ok;
}

static void encode(lua_State *L, Strbuf *out, bool pretty)
{
    InteropWriter writer = {.out = out, .pretty = pretty, .root = "$"};
    InteropError error = {.text = ""};
    FUZZ_CHECK(interop_encode(L, -1, &writer, &error), "%s", error.text);
    FUZZ_CHECK(is_valid(out->data, out->length), "wrote %.*s", (int)out->length, out->data);
}

static int round_trip(lua_State *L)
{
    Case *c = lua_tolightuserdata(L, 1);
    lua_settop(L, 0);
    bool ok = decode(L, c->text, c->length, c->freeze);
    FUZZ_CHECK(ok == c->valid, "decoder says %d", ok);
    if (!ok)
        return 0;
    encode(L, &c->out, c->pretty);
    FUZZ_CHECK(decode(L, c->out.data, c->out.length, false), "its own text");
    encode(L, &c->again, c->pretty);
    /* The order of members is that of the tables, which hold the same keys put in another order. */
    FUZZ_CHECK(c->out.length == c->again.length, "%.*s\nthen %.*s", (int)c->out.length, c->out.data,
               (int)c->again.length, c->again.data);
    return 0;
}

static void work(lua_State *L, void *arg)
{
    const Case *c = arg;
    lua_pushcfunction(L, round_trip, "round_trip");
    lua_pushlightuserdata(L, arg);
    int status = lua_pcall(L, 1, 0, 0);
    FUZZ_CHECK(status == LUA_OK || (status == LUA_KILLED && c->small), "status %d", status);
    lua_settop(L, 0);
}

static void run(Case *c, bool stressed)
{
    luau_VmOptions options = {.image = sandbox_image(sandbox),
                              .memory_max_bytes = c->small ? 24 << 10 : 16 << 20};
    lua_State *L = luau_newvm(&options);
    FUZZ_CHECK(L, "no VM");
    if (stressed)
        luau_testmode(L, LUAU_TEST_GC_ALWAYS | LUAU_TEST_STACK_MOVES);
    FUZZ_CHECK(luau_run(fibers, L, work, c) == LUAU_DONE, "parked");
    const char *fault = luau_checkheap(L);
    FUZZ_CHECK(!fault, "%s", fault);
    lua_close(L);
    strbuf_free(&c->out);
    strbuf_free(&c->again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzBytes input = bytes_of(data, size);
    unsigned flags = bytes_u8(&input);
    Case c = {.length = (size_t)(input.end - input.p),
              .freeze = flags & 1,
              .pretty = flags & 2,
              .small = (flags & 12) == 12};
    char *text = malloc(c.length + 1); /* of its very size, so that nothing reads past it */
    memcpy(text, input.p, c.length);
    text = realloc(text, c.length ? c.length : 1);
    c.text = text;
    c.valid = is_valid(c.text, c.length);
    FUZZ_CHECK(skip_all(c.text, c.length) == c.valid, "json_skip says %d", !c.valid);
    FUZZ_CHECK(walk_all(c.text, c.length) == c.valid, "a walk says %d", !c.valid);
    run(&c, (flags & 0x30) == 0x30);
    free(text);
    return 0;
}
