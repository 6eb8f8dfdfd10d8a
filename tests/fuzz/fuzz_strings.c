/* fuzz_strings.c: the string library on any bytes: patterns, format, pack, utf8, numbers. What has
 * an independent answer (the C library's, or another function of ours that must agree) is compared
 * with it; the rest must not harm the heap, nor take long. */
#include <math.h>

#include "bytes.h"
#include "luau/luau.h"

enum { SUBJECT_MAX = 300, PATTERN_MAX = 40, POLLS_MAX = 100 };

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static luau_Image *image;
static luau_Fibers *fibers;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    image = luau_image_standard();
    fibers = luau_fibers_new(1);
    return image && fibers ? 0 : 1;
}

typedef struct Case {
    FuzzBytes input;
    unsigned polls;
    bool killed;
} Case;

typedef struct Text {
    const char *data;
    size_t length;
} Text;

static Text text_of(Case *c, size_t max)
{
    Text text;
    text.data = bytes_text(&c->input, max, &text.length);
    return text;
}

static void push(lua_State *L, Text text)
{
    lua_pushlstring(L, text.data, text.length);
}

static Text text_at(lua_State *L, int index)
{
    Text text;
    FUZZ_CHECK(lua_type(L, index) == LUA_TSTRING, "%s", luaL_typename(L, index));
    text.data = lua_tolstring(L, index, &text.length);
    return text;
}

static bool is_equal(Text a, Text b)
{
    return a.length == b.length && memcmp(a.data, b.data, a.length) == 0;
}

static void push_function(lua_State *L, const char *library, const char *name)
{
    if (!library) {
        lua_getglobal(L, name);
        return;
    }
    lua_getglobal(L, library);
    lua_getfield(L, -1, name);
    lua_remove(L, -2);
}

/* Calls with the values above `base`: how many results there are on top, or -1 for an error
 * (nothing is left). */
static int call(lua_State *L, Case *c, int base)
{
    int status = lua_pcall(L, lua_gettop(L) - base - 1, LUA_MULTRET, 0);
    if (status == LUA_OK)
        return lua_gettop(L) - base;
    c->killed |= status == LUA_KILLED;
    FUZZ_CHECK(status == LUA_KILLED || lua_type(L, -1) == LUA_TSTRING, "status %d", status);
    lua_settop(L, base);
    return -1;
}

/* ---- patterns -------------------------------------------------------------------------------- */

static bool has_specials(Text pattern)
{
    for (size_t i = 0; i < pattern.length; i++)
        if (strchr("^$*+?.([%-", pattern.data[i]) && pattern.data[i])
            return true;
    return false;
}

static size_t find_plain(Text subject, Text piece)
{
    if (piece.length == 0)
        return 0;
    const char *found = memmem(subject.data, subject.length, piece.data, piece.length);
    return found ? (size_t)(found - subject.data) : SIZE_MAX;
}

/* find and match must tell the same story. */
static void check_find(lua_State *L, Case *c, Text subject, Text pattern)
{
    int base = lua_gettop(L);
    push_function(L, "string", "find");
    push(L, subject);
    push(L, pattern);
    int found = call(L, c, base);
    push_function(L, "string", "match");
    push(L, subject);
    push(L, pattern);
    int matched = call(L, c, base + (found > 0 ? found : 0));
    if (c->killed)
        return;
    if (!has_specials(pattern)) {
        size_t at = find_plain(subject, pattern);
        FUZZ_CHECK(found > 0 && lua_isnil(L, base + 1) == (at == SIZE_MAX), "plain find");
        FUZZ_CHECK(at == SIZE_MAX || lua_tonumber(L, base + 1) == (double)at + 1, "plain place");
    }
    if (found < 0 || matched < 0) {
        FUZZ_CHECK(found < 0 || !has_specials(pattern), "only match fails");
        return;
    }
    int first = base + found + 1;
    FUZZ_CHECK(lua_isnil(L, base + 1) == lua_isnil(L, first), "find or match");
    if (lua_isnil(L, first))
        return;
    int from = lua_tointeger(L, base + 1), to = lua_tointeger(L, base + 2);
    FUZZ_CHECK(from >= 1 && to >= from - 1 && (size_t)to <= subject.length, "%d-%d", from, to);
    if (found > 2) {
        FUZZ_CHECK(found - 2 == matched, "%d captures, %d", found - 2, matched);
        for (int i = 0; i < matched; i++)
            FUZZ_CHECK(lua_rawequal(L, base + 3 + i, first + i), "capture %d", i);
    } else {
        Text whole = {subject.data + from - 1, (size_t)(to - from + 1)};
        FUZZ_CHECK(matched == 1 && is_equal(text_at(L, first), whole), "not the whole match");
    }
}

/* gsub by `%0` changes nothing, and counts what gmatch gives. */
static void check_gsub(lua_State *L, Case *c, Text subject, Text pattern)
{
    int base = lua_gettop(L);
    push_function(L, "string", "gsub");
    push(L, subject);
    push(L, pattern);
    lua_pushliteral(L, "%0");
    if (call(L, c, base) < 0)
        return;
    FUZZ_CHECK(is_equal(text_at(L, base + 1), subject), "gsub by %%0 changed the string");
    int count = lua_tointeger(L, base + 2), turns = 0;
    if (pattern.length > 0 && pattern.data[0] == '^')
        return;
    push_function(L, "string", "gmatch");
    push(L, subject);
    push(L, pattern);
    if (call(L, c, base + 2) != 1)
        return;
    for (;; turns++) {
        lua_settop(L, base + 3);
        lua_pushvalue(L, -1);
        if (call(L, c, base + 3) < 0)
            return;
        if (lua_gettop(L) == base + 3 || lua_isnil(L, base + 4))
            break;
    }
    FUZZ_CHECK(turns == count, "gmatch %d, gsub %d", turns, count);
}

static void patterns(lua_State *L, Case *c)
{
    Text pattern = text_of(c, PATTERN_MAX), replacement = text_of(c, PATTERN_MAX);
    Text subject = text_of(c, SUBJECT_MAX);
    check_find(L, c, subject, pattern);
    if (!c->killed)
        check_gsub(L, c, subject, pattern);
    if (c->killed)
        return;
    lua_settop(L, 0);
    push_function(L, "string", "gsub");
    push(L, subject);
    push(L, pattern);
    push(L, replacement);
    call(L, c, 0);
}

/* ---- format ---------------------------------------------------------------------------------- */

/* The conversion by C's printf if the format is one numeric conversion; false: something else. */
static bool by_printf(Text format, double n, char *out, size_t size)
{
    char c_format[32];
    if (format.length < 2 || format.length > 12 || format.data[0] != '%')
        return false;
    char type = format.data[format.length - 1];
    size_t flags = 1, i;
    while (flags < format.length && strchr("-+ #0", format.data[flags]) && format.data[flags])
        flags++;
    for (i = flags; i + 1 < format.length; i++)
        if (!(format.data[i] >= '0' && format.data[i] <= '9') && format.data[i] != '.')
            return false;
    bool integral = strchr("dioxXu", type) != NULL;
    if (!type || (!integral && !strchr("eEfgG", type)) || fabs(n) > 9e18 || n != n)
        return false;
    snprintf(c_format, sizeof(c_format), "%.*s%s%c", (int)format.length - 1, format.data,
             integral ? "ll" : "", type);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    if (integral && (type == 'd' || type == 'i' || n < 0))
        snprintf(out, size, c_format, (long long)n);
    else if (integral)
        snprintf(out, size, c_format, (unsigned long long)n);
    else
        snprintf(out, size, c_format, n);
#pragma GCC diagnostic pop
    return true;
}

static void format(lua_State *L, Case *c)
{
    Text given = text_of(c, 80);
    double n = bytes_double(&c->input);
    push_function(L, "string", "format");
    push(L, given);
    lua_pushnumber(L, n);
    for (unsigned i = bytes_below(&c->input, 5); i > 0; i--) {
        switch (bytes_below(&c->input, 5)) {
        case 0: lua_pushnumber(L, bytes_double(&c->input)); break;
        case 1: push(L, text_of(c, 120)); break;
        case 2: lua_pushnil(L); break;
        case 3: lua_newtable(L); break;
        default: lua_pushvector(L, 1, -2, 0.5f); break;
        }
    }
    char expected[512];
    if (call(L, c, 0) == 1 && by_printf(given, n, expected, sizeof(expected)))
        FUZZ_CHECK(is_equal(text_at(L, 1), (Text){expected, strlen(expected)}),
                   "%.*s of %.17g: %s, C has %s", (int)given.length, given.data, n,
                   lua_tostring(L, 1), expected);
}

/* ---- pack ------------------------------------------------------------------------------------ */

/* What was packed and unpacked packs to the same bytes. */
static void pack(lua_State *L, Case *c)
{
    Text given = text_of(c, 40);
    push_function(L, "string", "pack");
    push(L, given);
    for (unsigned i = bytes_below(&c->input, 6); i > 0; i--) {
        if (bytes_u8(&c->input) % 3 == 0)
            push(L, text_of(c, 20));
        else
            lua_pushnumber(L, bytes_double(&c->input));
    }
    if (call(L, c, 0) != 1)
        return;
    Text packed = text_at(L, 1);
    push_function(L, "string", "packsize");
    push(L, given);
    if (call(L, c, 1) == 1)
        FUZZ_CHECK(lua_tonumber(L, 2) == (double)packed.length, "packsize %g, %zu bytes",
                   lua_tonumber(L, 2), packed.length);
    lua_settop(L, 1);
    push_function(L, "string", "pack");
    push(L, given);
    push_function(L, "string", "unpack");
    push(L, given);
    push(L, packed);
    int count = call(L, c, 3);
    if (count < 0)
        return; /* integers of more than 8 bytes with a sign, say */
    FUZZ_CHECK(lua_tonumber(L, -1) == (double)packed.length + 1, "unpack ends elsewhere");
    bool exact = true;
    for (int i = 4; i < lua_gettop(L); i++)
        exact = exact && (lua_type(L, i) != LUA_TNUMBER || fabs(lua_tonumber(L, i)) < 9e15);
    lua_pop(L, 1);
    if (call(L, c, 1) == 1 && exact)
        FUZZ_CHECK(is_equal(text_at(L, 2), packed), "packed otherwise");
}

static void unpack(lua_State *L, Case *c)
{
    push_function(L, "string", "unpack");
    push(L, text_of(c, 40));
    push(L, text_of(c, 200));
    lua_pushinteger(L, (int8_t)bytes_u8(&c->input));
    call(L, c, 0);
}

/* ---- utf8 ------------------------------------------------------------------------------------ */

/* Length of the well-formed sequence at s, or 0. */
static size_t sequence(const unsigned char *s, size_t room, unsigned *code)
{
    static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = s[0] < 0x80   ? 1
                    : s[0] < 0xC0 ? 0
                    : s[0] < 0xE0 ? 2
                    : s[0] < 0xF0 ? 3
                    : s[0] < 0xF8 ? 4
                                  : 0;
    if (length == 0 || length > room)
        return 0;
    unsigned value = length == 1 ? s[0] : s[0] & (0xFFu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xC0) != 0x80)
            return 0;
        value = value << 6 | (s[i] & 0x3F);
    }
    if (value < least[length] || value > 0x10FFFF || (value >= 0xD800 && value < 0xE000))
        return 0;
    *code = value;
    return length;
}

static void utf8(lua_State *L, Case *c)
{
    Text given = text_of(c, 100);
    size_t count = 0, at = 0, step;
    unsigned codes[100] = {0};
    while (at < given.length && (step = sequence((const unsigned char *)given.data + at,
                                                 given.length - at, &codes[count])) > 0) {
        at += step;
        count++;
    }
    push_function(L, "utf8", "len");
    push(L, given);
    int results = call(L, c, 0);
    FUZZ_CHECK(results == (at == given.length ? 1 : 2), "%d results", results);
    FUZZ_CHECK(results == 1 ? lua_tonumber(L, 1) == (double)count
                            : lua_isnil(L, 1) && lua_tonumber(L, 2) == (double)at + 1,
               "length of %zu, bad at %zu", count, at);
    lua_settop(L, 0);
    push_function(L, "utf8", "codepoint");
    push(L, given);
    lua_pushinteger(L, 1);
    lua_pushinteger(L, (int)given.length);
    results = call(L, c, 0);
    FUZZ_CHECK((results >= 0) == (at == given.length), "codepoint: %d", results);
    for (int i = 0; i < results; i++)
        FUZZ_CHECK(lua_tonumber(L, i + 1) == (double)codes[i], "code point %d", i);
    lua_settop(L, 0);
    push_function(L, "utf8", "offset");
    push(L, given);
    lua_pushinteger(L, (int8_t)bytes_u8(&c->input));
    if (bytes_u8(&c->input) & 1)
        lua_pushinteger(L, (int8_t)bytes_u8(&c->input));
    if (call(L, c, 0) == 1 && !lua_isnil(L, 1))
        FUZZ_CHECK(lua_tonumber(L, 1) >= 1 && lua_tonumber(L, 1) <= (double)given.length + 1,
                   "offset %g", lua_tonumber(L, 1));
}

/* ---- numbers --------------------------------------------------------------------------------- */

/* As the reference has it: C's strtod up to the first NUL, then blanks. */
static bool by_strtod(Text given, double *value)
{
    char text[128];
    memcpy(text, given.data, given.length);
    text[given.length] = '\0';
    char *end;
    *value = strtod(text, &end);
    if (end == text)
        return false;
    while (*end == ' ' || (*end >= '\t' && *end <= '\r'))
        end++;
    return *end == '\0';
}

static void to_number(lua_State *L, Case *c)
{
    Text given = text_of(c, 100);
    double expected;
    push_function(L, NULL, "tonumber");
    push(L, given);
    FUZZ_CHECK(call(L, c, 0) == 1, "tonumber failed");
    bool numeric = by_strtod(given, &expected);
    FUZZ_CHECK(numeric == (lua_type(L, 1) == LUA_TNUMBER), "'%.*s': C says %d", (int)given.length,
               given.data, numeric);
    if (numeric) {
        double n = lua_tonumber(L, 1);
        FUZZ_CHECK(n == expected ? signbit(n) == signbit(expected) : n != n && expected != expected,
                   "'%.*s' is %.17g, C has %.17g", (int)given.length, given.data, n, expected);
    }
    lua_settop(L, 0);
    push_function(L, NULL, "tonumber");
    push(L, given);
    lua_pushinteger(L, (int)bytes_u8(&c->input) % 40);
    call(L, c, 0);
}

static void to_string(lua_State *L, Case *c)
{
    uint64_t bits = 0;
    for (int i = 0; i < 8; i++)
        bits = bits << 8 | bytes_u8(&c->input);
    double n;
    memcpy(&n, &bits, sizeof(n));
    lua_pushnumber(L, n);
    size_t length;
    const char *text = luaL_tolstring(L, 1, &length);
    char precise[64];
    snprintf(precise, sizeof(precise), "%.17g", n);
    if (n != n) {
        FUZZ_CHECK(strcmp(text, "nan") == 0, "%s", text);
        return;
    }
    double back = strtod(text, NULL);
    FUZZ_CHECK(memcmp(&back, &n, sizeof(n)) == 0, "%s for %s", text, precise);
    /* No shorter text reads back the same: compare digits, not layout. */
    for (int digits = 1; digits < 17 && n - n == 0; digits++) {
        char shorter[64];
        snprintf(shorter, sizeof(shorter), "%.*e", digits - 1, n);
        if (strtod(shorter, NULL) != n)
            continue;
        int count = 0, zeros = 0;
        bool leading = true;
        for (const char *p = text; *p && *p != 'e'; p++) {
            if (*p < '0' || *p > '9' || (leading && *p == '0'))
                continue;
            leading = false;
            count++;
            zeros = *p == '0' ? zeros + 1 : 0;
        }
        FUZZ_CHECK(count - zeros <= digits || n == 0, "%s, though %s will do", text, shorter);
        break;
    }
}

/* ---- the rest -------------------------------------------------------------------------------- */

static void others(lua_State *L, Case *c)
{
    static const char *const names[] = {"sub", "byte", "rep", "reverse", "lower", "upper", "char"};
    unsigned choice = bytes_below(&c->input, sizeof(names) / sizeof(*names));
    push_function(L, "string", names[choice]);
    if (choice != 6)
        push(L, text_of(c, SUBJECT_MAX));
    lua_pushnumber(L, bytes_double(&c->input));
    lua_pushnumber(L, bytes_double(&c->input));
    call(L, c, 0);
}

/* What was split is the same when joined. */
static void split(lua_State *L, Case *c)
{
    Text separator = text_of(c, 4), subject = text_of(c, SUBJECT_MAX);
    push_function(L, "table", "concat");
    push_function(L, "string", "split");
    push(L, subject);
    push(L, separator);
    FUZZ_CHECK(call(L, c, 1) == 1, "split failed");
    push(L, separator);
    FUZZ_CHECK(call(L, c, 0) == 1, "concat failed");
    if (separator.length > 0)
        FUZZ_CHECK(is_equal(text_at(L, 1), subject), "split and joined: another string");
}

static void work(lua_State *L, void *arg)
{
    static void (*const cases[])(lua_State *, Case *) = {
        patterns, patterns, format, pack, unpack, utf8, to_number, to_string, others, split,
    };
    Case *c = arg;
    unsigned choice = bytes_below(&c->input, sizeof(cases) / sizeof(*cases));
    lua_rawcheckstack(L, 400);
    cases[choice](L, c);
}

static int body(lua_State *L)
{
    void *arg = lua_touserdata(L, 1);
    lua_settop(L, 0);
    work(L, arg);
    return 0;
}

/* Inside a native, so that what is killed or raised in between unwinds as it does in programs. */
static void protected_work(lua_State *L, void *arg)
{
    lua_pushcfunction(L, body, "body");
    lua_pushlightuserdata(L, arg);
    int status = lua_pcall(L, 1, 0, 0);
    FUZZ_CHECK(status == LUA_OK || status == LUA_KILLED, "status %d: %s", status,
               lua_tostring(L, -1));
    lua_settop(L, 0);
}

static void on_interrupt(lua_State *L)
{
    Case *c = luau_vmdata(L);
    luau_fibers_tick(fibers);
    if (++c->polls > POLLS_MAX)
        luau_kill(L, LUAU_KILL_HOST);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Case c = {.input = bytes_of(data, size)};
    luau_VmOptions options = {.image = image, .memory_max_bytes = 16 << 20, .userdata = &c};
    lua_State *L = luau_newvm(&options);
    FUZZ_CHECK(L, "no VM");
    lua_callbacks(L)->interrupt = on_interrupt;
    if (bytes_u8(&c.input) % 8 == 0)
        luau_testmode(L, LUAU_TEST_GC_ALWAYS | LUAU_TEST_STACK_MOVES);
    luau_fibers_tick(fibers);
    FUZZ_CHECK(luau_run(fibers, L, protected_work, &c) == LUAU_DONE, "parked");
    const char *fault = luau_checkheap(L);
    FUZZ_CHECK(!fault, "%s", fault);
    lua_close(L);
    return 0;
}
