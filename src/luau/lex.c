/* lex.c: where tokens begin and end (reference 1).
 *
 * Interpolated strings make the lexer stateful: a `{` in one is pushed on `braces`, and the `}`
 * which pops it continues the string's text. Braces of constructors are pushed only while an
 * interpolated string is open.
 *
 * Names are interned by a hash seeded with an address, so that no source can be written whose
 * names collide. */
#include "luau/lex.h"

#include <limits.h>
#include <string.h>

#include "base/base.h"
#include "luau/bytes.h"
#include "luau/fiber.h"

enum { POLL_TOKENS = 1024, POLL_BYTES = 64 << 10, FIRST_BUCKETS = 256, WORDS_PER_PAUSE = 1 << 14 };

static const char *const reserved_words[] = {
    "and",   "break", "do",  "else", "elseif", "end",    "false", "for",  "function", "if",    "in",
    "local", "nil",   "not", "or",   "repeat", "return", "then",  "true", "until",    "while",
};

_Static_assert(BASE_ARRAY_COUNT(reserved_words) == TK_LAST_RESERVED - TK_FIRST_RESERVED + 1,
               "one word per kind");

/* ---- characters ---- */

bool luX_is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

bool luX_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool luX_is_hex_digit(char c)
{
    return luX_is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

bool luX_is_alpha(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static void poll(Lexer *lx)
{
    lx->poll_countdown = POLL_TOKENS;
    if (lx->options && lx->options->poll && lx->options->poll(lx->options->poll_userdata))
        longjmp(*lx->arena->fail, ARENA_STOP);
}

/* At the limit: the end of the text, or time to poll. */
static BASE_NOINLINE char peek_on(Lexer *lx)
{
    if (lx->offset >= lx->length)
        return 0;
    poll(lx);
    lx->limit = lx->length - lx->offset > POLL_BYTES ? lx->offset + POLL_BYTES : lx->length;
    return lx->text[lx->offset];
}

static inline char peek(Lexer *lx)
{
    return BASE_LIKELY(lx->offset < lx->limit) ? lx->text[lx->offset] : peek_on(lx);
}

static inline char peek_at(const Lexer *lx, size_t n)
{
    return n < lx->length - lx->offset ? lx->text[lx->offset + n] : 0;
}

/* Only for bytes that are no newline, and within the text. */
static inline void skip(Lexer *lx)
{
    lx->offset++;
}

static inline void skip_any(Lexer *lx)
{
    if (lx->text[lx->offset++] == '\n') {
        lx->line++;
        lx->line_start = lx->offset;
    }
}

static inline Position position(const Lexer *lx)
{
    return (Position){lx->line, (int)(lx->offset - lx->line_start) + 1};
}

/* ---- names ---- */

static inline uint64_t mix(uint64_t a, uint64_t b)
{
    __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t hash_name(uint64_t seed, const char *text, size_t length)
{
    uint64_t h = seed ^ (length * 0x9e3779b97f4a7c15u);
    for (int turns = 1; length > 0; turns++) {
        if (BASE_UNLIKELY(turns % WORDS_PER_PAUSE == 0))
            luY_pause();
        uint64_t word = 0;
        size_t n = length < sizeof(word) ? length : sizeof(word);
        memcpy(&word, text, n);
        h = mix(h ^ word ^ 0xa0761d6478bd642fu, 0xe7037ed1a0b428dbu ^ seed);
        text += n;
        length -= n;
    }
    return mix(h, 0x8ebc6af09c88c6e3u ^ seed);
}

static void grow_buckets(Lexer *lx)
{
    size_t count = lx->bucket_count ? lx->bucket_count * 2 : FIRST_BUCKETS;
    NameEntry **buckets = luA_zalloc(lx->arena, count * sizeof(*buckets));
    for (size_t i = 0; i < lx->bucket_count; i++) {
        NameEntry *entry = lx->buckets[i];
        while (entry) {
            NameEntry *next = entry->next;
            NameEntry **home = &buckets[entry->name.hash & (count - 1)];
            entry->next = *home;
            *home = entry;
            entry = next;
        }
    }
    lx->buckets = buckets;
    lx->bucket_count = count;
}

static NameEntry *intern(Lexer *lx, const char *text, size_t length)
{
    uint32_t hash = (uint32_t)hash_name(lx->hash_seed, text, length);
    for (NameEntry *e = lx->buckets[hash & (lx->bucket_count - 1)]; e; e = e->next) {
        if (e->name.hash == hash && e->name.length == length &&
            luY_compare(e->name.text, text, length) == 0)
            return e;
    }
    if (lx->name_count >= lx->bucket_count)
        grow_buckets(lx);
    NameEntry *entry = luA_alloc(lx->arena, sizeof(*entry) + length + 1);
    NameEntry **home = &lx->buckets[hash & (lx->bucket_count - 1)];
    entry->next = *home;
    entry->binding = NULL;
    entry->kind = TK_NAME;
    entry->exported = false;
    entry->name.length = (uint32_t)length;
    entry->name.hash = hash;
    luY_copy(entry->name.text, text, length);
    entry->name.text[length] = 0;
    *home = entry;
    lx->name_count++;
    return entry;
}

const AstName *luX_intern(Lexer *lx, const char *text, size_t length)
{
    return &intern(lx, text, length)->name;
}

void luX_init(Lexer *lx, const char *text, size_t length, Arena *arena, const ParseOptions *options)
{
    /* Lines and columns are ints, and lengths of tokens 32 bits. */
    if (length >= INT_MAX)
        longjmp(*arena->fail, ARENA_NOMEM);
    memset(lx, 0, sizeof(*lx));
    lx->arena = arena;
    lx->text = text;
    lx->length = length;
    lx->line = 1;
    lx->current.kind = TK_EOF;
    lx->in_header = true;
    lx->optimize_hint = -1;
    lx->options = options;
    lx->poll_countdown = POLL_TOKENS;
    grow_buckets(lx);
    lx->hash_seed = mix((uint64_t)(uintptr_t)lx->buckets, 0x589965cc75374cc3u) ^
                    (uint64_t)(uintptr_t)lx;
    for (size_t i = 0; i < BASE_ARRAY_COUNT(reserved_words); i++)
        intern(lx, reserved_words[i], strlen(reserved_words[i]))->kind = TK_FIRST_RESERVED + (int)i;
}

static NameEntry *read_name(Lexer *lx)
{
    size_t start = lx->offset;
    while (luX_is_alpha(peek(lx)) || luX_is_digit(peek(lx)))
        skip(lx);
    return intern(lx, lx->text + start, lx->offset - start);
}

/* ---- strings ---- */

/* At `[`, or the `]` of an end. Skips `[`, `=`s and, if it is there, a second `[`, but not that
 * one; returns the count of `=`s, or -1 - count if the second bracket is missing. */
static int skip_long_bracket(Lexer *lx)
{
    char bracket = peek(lx);
    int count = 0;
    skip(lx);
    while (peek(lx) == '=') {
        skip(lx);
        count++;
    }
    return peek(lx) == bracket ? count : -1 - count;
}

/* At the second `[` of the opening. Sets data and returns whether the end was found. */
static bool read_long(Lexer *lx, int level, Token *token)
{
    skip(lx);
    size_t start = lx->offset;
    while (peek(lx)) {
        if (peek(lx) != ']') {
            skip_any(lx);
        } else if (skip_long_bracket(lx) == level) {
            skip(lx);
            token->data = lx->text + start;
            token->length = (uint32_t)(lx->offset - start - ((size_t)level + 2));
            return true;
        }
    }
    return false;
}

/* At a backslash: skips the escape as far as it may hide a newline or a quote. */
static void skip_escape(Lexer *lx)
{
    skip(lx);
    char c = peek(lx);
    if (c == 0)
        return;
    skip_any(lx);
    if (c == '\r' && peek(lx) == '\n') {
        skip_any(lx);
    } else if (c == 'z') {
        while (luX_is_space(peek(lx)))
            skip_any(lx);
    }
}

static int read_quoted(Lexer *lx, Token *token)
{
    char quote = peek(lx);
    skip(lx);
    size_t start = lx->offset;
    while (peek(lx) != quote) {
        char c = peek(lx);
        if (c == 0 || c == '\r' || c == '\n')
            return TK_BAD_STRING;
        if (c == '\\')
            skip_escape(lx);
        else
            skip(lx);
    }
    token->data = lx->text + start;
    token->length = (uint32_t)(lx->offset - start);
    skip(lx);
    return TK_QUOTED_STRING;
}

static void push_brace(Lexer *lx, bool of_string)
{
    if (lx->brace_count == lx->brace_capacity) {
        size_t capacity = lx->brace_capacity ? lx->brace_capacity * 2 : 64;
        lx->braces = luA_grow(lx->arena, lx->braces, lx->brace_count * sizeof(*lx->braces),
                              capacity * sizeof(*lx->braces));
        lx->brace_capacity = capacity;
    }
    lx->braces[lx->brace_count++] = of_string;
}

/* After the opening quote or the `}` of an expression: the text up to the next expression or the
 * end of the string. */
static int read_interp(Lexer *lx, Token *token, int open_kind, int end_kind)
{
    size_t start = lx->offset;
    while (peek(lx) != '`') {
        char c = peek(lx);
        if (c == 0 || c == '\r' || c == '\n')
            return TK_BAD_STRING;
        if (c == '{') {
            token->data = lx->text + start;
            token->length = (uint32_t)(lx->offset - start);
            push_brace(lx, true);
            skip(lx);
            if (peek(lx) != '{')
                return open_kind;
            skip(lx);
            return TK_BAD_DOUBLE_BRACE;
        }
        if (c == '\\' && peek_at(lx, 1) == 'u' && peek_at(lx, 2) == '{')
            lx->offset += 3; /* its brace opens no expression */
        else if (c == '\\')
            skip_escape(lx);
        else
            skip(lx);
    }
    token->data = lx->text + start;
    token->length = (uint32_t)(lx->offset - start);
    skip(lx);
    return end_kind;
}

/* ---- other tokens ---- */

/* Takes whatever looks like a number; its value decides whether it is one. */
static int read_number(Lexer *lx, Token *token, size_t start)
{
    while (luX_is_digit(peek(lx)) || peek(lx) == '.' || peek(lx) == '_')
        skip(lx);
    if (peek(lx) == 'e' || peek(lx) == 'E') {
        skip(lx);
        if (peek(lx) == '+' || peek(lx) == '-')
            skip(lx);
    }
    while (luX_is_alpha(peek(lx)) || luX_is_digit(peek(lx)))
        skip(lx);
    token->data = lx->text + start;
    token->length = (uint32_t)(lx->offset - start);
    return TK_NUMBER;
}

/* A byte from 0x80: one character outside of strings and comments, for the message. */
static int read_unicode(Lexer *lx, Token *token)
{
    unsigned char lead = (unsigned char)peek(lx);
    int follow = (lead & 0xe0) == 0xc0   ? 1
                 : (lead & 0xf0) == 0xe0 ? 2
                 : (lead & 0xf8) == 0xf0 ? 3
                                         : 0;
    uint32_t code = lead & (0x3fu >> follow);
    skip(lx);
    if (follow == 0)
        return TK_BAD_UNICODE;
    for (int i = 0; i < follow; i++) {
        unsigned char c = (unsigned char)peek(lx);
        if ((c & 0xc0) != 0x80)
            return TK_BAD_UNICODE;
        code = code << 6 | (c & 0x3fu);
        skip(lx);
    }
    token->codepoint = code;
    return TK_BAD_UNICODE;
}

static void read_directive(Lexer *lx, const char *text, size_t length)
{
    static const char prefix[] = "!optimize ";
    size_t i = sizeof(prefix) - 1;
    if (!lx->in_header || length < i || memcmp(text, prefix, i) != 0)
        return;
    while (i < length && luX_is_space(text[i]))
        i++;
    if (i == length)
        return;
    bool negative = i < length && text[i] == '-';
    if (i < length && (text[i] == '-' || text[i] == '+'))
        i++;
    int level = 0;
    for (; i < length && luX_is_digit(text[i]); i++)
        level = level * 10 + (text[i] - '0') > 2 ? 2 : level * 10 + (text[i] - '0');
    lx->optimize_hint = negative ? 0 : level;
}

/* At `--`. Returns false for an unfinished block comment, which is a token. */
static bool skip_comment(Lexer *lx)
{
    lx->offset += 2;
    size_t start = lx->offset;
    if (peek(lx) == '[') {
        int level = skip_long_bracket(lx);
        Token ignored;
        if (level >= 0)
            return read_long(lx, level, &ignored);
    }
    while (peek(lx) != 0 && peek(lx) != '\r' && peek(lx) != '\n')
        skip(lx);
    read_directive(lx, lx->text + start, lx->offset - start);
    return true;
}

/* The token's first byte is skipped: `with_equals` if a `=` follows it, else `alone`. */
static int maybe_equals(Lexer *lx, int alone, int with_equals)
{
    if (peek(lx) != '=')
        return alone;
    skip(lx);
    return with_equals;
}

static int read_dots(Lexer *lx, Token *token, size_t start)
{
    if (luX_is_digit(peek(lx)))
        return read_number(lx, token, start);
    if (peek(lx) != '.')
        return '.';
    skip(lx);
    if (peek(lx) != '.')
        return maybe_equals(lx, TK_DOT2, TK_SET_CONCAT);
    skip(lx);
    return TK_DOT3;
}

static int read_attribute(Lexer *lx, Token *token)
{
    if (peek(lx) == '[') {
        skip(lx);
        return TK_ATTRIBUTE_OPEN;
    }
    token->name = luX_is_alpha(peek(lx)) ? &read_name(lx)->name : luX_intern(lx, "", 0);
    return TK_ATTRIBUTE;
}

static int read_close_brace(Lexer *lx, Token *token)
{
    if (lx->brace_count > 0 && lx->braces[--lx->brace_count])
        return read_interp(lx, token, TK_INTERP_MID, TK_INTERP_END);
    return '}';
}

/* Punctuation, numbers and the like: its first byte c is skipped already. */
static int read_symbol(Lexer *lx, Token *token, char c)
{
    size_t start = lx->offset - 1;
    switch (c) {
    case '=': return maybe_equals(lx, '=', TK_EQ);
    case '<': return maybe_equals(lx, '<', TK_LE);
    case '>': return maybe_equals(lx, '>', TK_GE);
    case '~': return maybe_equals(lx, '~', TK_NE);
    case '+': return maybe_equals(lx, '+', TK_SET_ADD);
    case '*': return maybe_equals(lx, '*', TK_SET_MUL);
    case '%': return maybe_equals(lx, '%', TK_SET_MOD);
    case '^': return maybe_equals(lx, '^', TK_SET_POW);
    case '.': return read_dots(lx, token, start);
    case '@': return read_attribute(lx, token);
    case '`': return read_interp(lx, token, TK_INTERP_BEGIN, TK_INTERP_SIMPLE);
    case '}': return read_close_brace(lx, token);
    case '-':
        if (peek(lx) != '>')
            return maybe_equals(lx, '-', TK_SET_SUB);
        skip(lx);
        return TK_ARROW;
    case '/':
        if (peek(lx) != '/')
            return maybe_equals(lx, '/', TK_SET_DIV);
        skip(lx);
        return maybe_equals(lx, TK_IDIV, TK_SET_IDIV);
    case ':':
        if (peek(lx) != ':')
            return ':';
        skip(lx);
        return TK_DOUBLE_COLON;
    case '{':
        if (lx->brace_count > 0)
            push_brace(lx, false);
        return '{';
    default: return luX_is_digit(c) ? read_number(lx, token, start) : (unsigned char)c;
    }
}

static int read_kind(Lexer *lx, Token *token)
{
    char c = peek(lx);
    if (c == 0)
        return TK_EOF;
    if (luX_is_alpha(c)) {
        NameEntry *entry = read_name(lx);
        token->name = &entry->name;
        return entry->kind;
    }
    if (c == '"' || c == '\'')
        return read_quoted(lx, token);
    if ((unsigned char)c >= 0x80)
        return read_unicode(lx, token);
    if (c == '[') {
        int level = skip_long_bracket(lx);
        if (level == -1)
            return '[';
        return level >= 0 && read_long(lx, level, token) ? TK_RAW_STRING : TK_BAD_STRING;
    }
    skip(lx);
    return read_symbol(lx, token, c);
}

static void read_token(Lexer *lx, Token *token)
{
    if (--lx->poll_countdown <= 0)
        poll(lx);
    memset(token, 0, sizeof(*token));
    for (;;) {
        while (luX_is_space(peek(lx)))
            skip_any(lx);
        token->location.begin = position(lx);
        if (peek(lx) != '-' || peek_at(lx, 1) != '-') {
            token->kind = read_kind(lx, token);
            break;
        }
        if (!skip_comment(lx)) {
            token->kind = TK_BAD_COMMENT;
            break;
        }
    }
    token->location.end = position(lx);
    lx->in_header = false;
}

void luX_next(Lexer *lx)
{
    lx->previous = lx->current.location;
    lx->serial++;
    if (lx->has_ahead) {
        lx->current = lx->ahead;
        lx->has_ahead = false;
    } else {
        read_token(lx, &lx->current);
    }
}

const Token *luX_lookahead(Lexer *lx)
{
    if (!lx->has_ahead) {
        read_token(lx, &lx->ahead);
        lx->has_ahead = true;
    }
    return &lx->ahead;
}
