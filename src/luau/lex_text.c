/* lex_text.c: tokens as messages name them (reference 4.1). */
#include "luau/lex.h"

#include <stdio.h>
#include <string.h>

#include "base/base.h"

/* ---- characters that look like one of ASCII ---- */

typedef struct LookAlikes {
    uint32_t first, last;
    char ascii; /* of the first */
    char step;  /* 1: the following ones are those of the following ASCII characters */
} LookAlikes;

/* What people paste: typographic quotes, dashes, spaces, full-width forms, operators, and letters
 * of other scripts. Sorted. */
static const LookAlikes look_alikes[] = {
    {0x00a0, 0x00a0, ' ', 0},  {0x00b4, 0x00b4, '\'', 0}, {0x00b8, 0x00b8, ',', 0},
    {0x00d7, 0x00d7, 'x', 0},  {0x0131, 0x0131, 'i', 0},  {0x017f, 0x017f, 'f', 0},
    {0x01c0, 0x01c0, 'l', 0},  {0x01c3, 0x01c3, '!', 0},  {0x0251, 0x0251, 'a', 0},
    {0x0261, 0x0261, 'g', 0},  {0x02b9, 0x02b9, '\'', 0}, {0x02ba, 0x02ba, '"', 0},
    {0x02bb, 0x02be, '\'', 0}, {0x02c2, 0x02c2, '<', 0},  {0x02c3, 0x02c3, '>', 0},
    {0x02c6, 0x02c6, '^', 0},  {0x02c8, 0x02c8, '\'', 0}, {0x02ca, 0x02cb, '\'', 0},
    {0x02d0, 0x02d0, ':', 0},  {0x02d7, 0x02d7, '-', 0},  {0x02dc, 0x02dc, '~', 0},
    {0x02ee, 0x02ee, '"', 0},  {0x02f4, 0x02f4, '\'', 0}, {0x02f6, 0x02f6, '"', 0},
    {0x037e, 0x037e, ';', 0},  {0x0384, 0x0384, '\'', 0}, {0x0391, 0x0392, 'A', 1},
    {0x0395, 0x0395, 'E', 0},  {0x0396, 0x0396, 'Z', 0},  {0x0397, 0x0397, 'H', 0},
    {0x0399, 0x0399, 'l', 0},  {0x039a, 0x039a, 'K', 0},  {0x039c, 0x039d, 'M', 1},
    {0x039f, 0x039f, 'O', 0},  {0x03a1, 0x03a1, 'P', 0},  {0x03a4, 0x03a4, 'T', 0},
    {0x03a5, 0x03a5, 'Y', 0},  {0x03a7, 0x03a7, 'X', 0},  {0x03b1, 0x03b1, 'a', 0},
    {0x03b3, 0x03b3, 'y', 0},  {0x03b9, 0x03b9, 'i', 0},  {0x03bd, 0x03bd, 'v', 0},
    {0x03bf, 0x03bf, 'o', 0},  {0x03c1, 0x03c1, 'p', 0},  {0x03c3, 0x03c3, 'o', 0},
    {0x03c5, 0x03c5, 'u', 0},  {0x0405, 0x0405, 'S', 0},  {0x0406, 0x0406, 'l', 0},
    {0x0408, 0x0408, 'J', 0},  {0x0410, 0x0410, 'A', 0},  {0x0412, 0x0412, 'B', 0},
    {0x0415, 0x0415, 'E', 0},  {0x0417, 0x0417, '3', 0},  {0x041a, 0x041a, 'K', 0},
    {0x041c, 0x041c, 'M', 0},  {0x041d, 0x041d, 'H', 0},  {0x041e, 0x041e, 'O', 0},
    {0x0420, 0x0420, 'P', 0},  {0x0421, 0x0421, 'C', 0},  {0x0422, 0x0422, 'T', 0},
    {0x0423, 0x0423, 'Y', 0},  {0x0425, 0x0425, 'X', 0},  {0x042c, 0x042c, 'b', 0},
    {0x0430, 0x0430, 'a', 0},  {0x0433, 0x0433, 'r', 0},  {0x0435, 0x0435, 'e', 0},
    {0x043e, 0x043e, 'o', 0},  {0x0440, 0x0440, 'p', 0},  {0x0441, 0x0441, 'c', 0},
    {0x0443, 0x0443, 'y', 0},  {0x0445, 0x0445, 'x', 0},  {0x0455, 0x0455, 's', 0},
    {0x0456, 0x0456, 'i', 0},  {0x0458, 0x0458, 'j', 0},  {0x04bb, 0x04bb, 'h', 0},
    {0x0501, 0x0501, 'd', 0},  {0x051b, 0x051b, 'q', 0},  {0x051d, 0x051d, 'w', 0},
    {0x0589, 0x0589, ':', 0},  {0x060d, 0x060d, ',', 0},  {0x066a, 0x066a, '%', 0},
    {0x066b, 0x066b, ',', 0},  {0x066d, 0x066d, '*', 0},  {0x06d4, 0x06d4, '-', 0},
    {0x1680, 0x1680, ' ', 0},  {0x2000, 0x200a, ' ', 0},  {0x2010, 0x2013, '-', 0},
    {0x2018, 0x2019, '\'', 0}, {0x201a, 0x201a, ',', 0},  {0x201b, 0x201b, '\'', 0},
    {0x201c, 0x201d, '"', 0},  {0x201f, 0x201f, '"', 0},  {0x2024, 0x2024, '.', 0},
    {0x2028, 0x2029, ' ', 0},  {0x202f, 0x202f, ' ', 0},  {0x2032, 0x2032, '\'', 0},
    {0x2033, 0x2033, '"', 0},  {0x2035, 0x2035, '\'', 0}, {0x2036, 0x2036, '"', 0},
    {0x2039, 0x2039, '<', 0},  {0x203a, 0x203a, '>', 0},  {0x2041, 0x2041, '/', 0},
    {0x2043, 0x2043, '-', 0},  {0x2044, 0x2044, '/', 0},  {0x204e, 0x204e, '*', 0},
    {0x2052, 0x2052, '%', 0},  {0x2053, 0x2053, '~', 0},  {0x205a, 0x205a, ':', 0},
    {0x205f, 0x205f, ' ', 0},  {0x2212, 0x2212, '-', 0},  {0x2215, 0x2215, '/', 0},
    {0x2216, 0x2216, '\\', 0}, {0x2217, 0x2217, '*', 0},  {0x2223, 0x2223, 'l', 0},
    {0x2228, 0x2228, 'v', 0},  {0x2236, 0x2236, ':', 0},  {0x223c, 0x223c, '~', 0},
    {0x2571, 0x2571, '/', 0},  {0x2768, 0x2768, '(', 0},  {0x2769, 0x2769, ')', 0},
    {0x276e, 0x276e, '<', 0},  {0x276f, 0x276f, '>', 0},  {0x2772, 0x2772, '(', 0},
    {0x2773, 0x2773, ')', 0},  {0x2774, 0x2774, '{', 0},  {0x2775, 0x2775, '}', 0},
    {0x2795, 0x2795, '+', 0},  {0x2796, 0x2796, '-', 0},  {0x3007, 0x3007, 'O', 0},
    {0x3014, 0x3014, '(', 0},  {0x3015, 0x3015, ')', 0},  {0x3033, 0x3033, '/', 0},
    {0x30a0, 0x30a0, '=', 0},  {0x30ce, 0x30ce, '/', 0},  {0xa4fd, 0xa4fd, ':', 0},
    {0xa78c, 0xa78c, '\'', 0}, {0xfe31, 0xfe31, 'l', 0},  {0xfe4d, 0xfe4f, '_', 0},
    {0xfe58, 0xfe58, '-', 0},  {0xfe68, 0xfe68, '\\', 0}, {0xff01, 0xff01, '!', 0},
    {0xff02, 0xff02, '"', 0},  {0xff03, 0xff06, '#', 1},  {0xff07, 0xff07, '\'', 0},
    {0xff08, 0xff5e, '(', 1},  {0xff61, 0xff61, '.', 0},
};

/* The mathematical letters are 13 alphabets of 52 letters, then 5 sets of digits. */
static char math_look_alike(uint32_t code)
{
    if (code >= 0x1d400 && code < 0x1d400 + 13 * 52) {
        uint32_t letter = (code - 0x1d400) % 52;
        return (char)(letter < 26 ? 'A' + letter : 'a' + letter - 26);
    }
    if (code >= 0x1d7ce && code <= 0x1d7ff)
        return (char)('0' + (code - 0x1d7ce) % 10);
    return 0;
}

/* 0 if there is none. */
static char look_alike(uint32_t code)
{
    for (size_t i = 0; i < BASE_ARRAY_COUNT(look_alikes); i++) {
        const LookAlikes *a = &look_alikes[i];
        if (code >= a->first && code <= a->last)
            return (char)(a->ascii + (a->step ? (char)(code - a->first) : 0));
    }
    return math_look_alike(code);
}

/* ---- names of tokens ---- */

static const char *join(Arena *arena, const char *before, const char *text, size_t length,
                        const char *after)
{
    size_t a = strlen(before), b = strlen(after);
    char *out = luA_alloc(arena, a + length + b + 1);
    memcpy(out, before, a);
    memcpy(out + a, text, length);
    memcpy(out + a + length, after, b + 1);
    return out;
}

static const char *symbol_text(int kind)
{
    static const char *const texts[] = {
        "<eof>", "'=='", "'<='", "'>='", "'~='", "'..'",  "'...'", "'->'", "'::'",
        "'//'",  "'+='", "'-='", "'*='", "'/='", "'//='", "'%='",  "'^='", "'..='",
    };
    _Static_assert(BASE_ARRAY_COUNT(texts) == TK_SET_CONCAT - TK_EOF + 1, "one text per kind");
    return texts[kind - TK_EOF];
}

const char *luX_kind_text(Arena *arena, int kind)
{
    static const char *const reserved[] = {
        "'and'", "'break'",    "'do'",     "'else'", "'elseif'", "'end'",   "'false'",
        "'for'", "'function'", "'if'",     "'in'",   "'local'",  "'nil'",   "'not'",
        "'or'",  "'repeat'",   "'return'", "'then'", "'true'",   "'until'", "'while'",
    };
    _Static_assert(BASE_ARRAY_COUNT(reserved) == TK_LAST_RESERVED - TK_FIRST_RESERVED + 1,
                   "one text per kind");
    if (kind < TK_EOF) {
        char c = (char)kind;
        return join(arena, "'", &c, 1, "'");
    }
    if (kind <= TK_SET_CONCAT)
        return symbol_text(kind);
    if (kind >= TK_FIRST_RESERVED)
        return reserved[kind - TK_FIRST_RESERVED];
    return kind == TK_ATTRIBUTE_OPEN ? "'@['" : "token";
}

static const char *unicode_text(Arena *arena, uint32_t code)
{
    if (code == 0)
        return "invalid UTF-8 sequence";
    char text[80];
    char ascii = look_alike(code);
    int length = ascii ? snprintf(text, sizeof(text), "Unicode character U+%x (did you mean '%c'?)",
                                  (unsigned)code, ascii)
                       : snprintf(text, sizeof(text), "Unicode character U+%x", (unsigned)code);
    return join(arena, "", text, (size_t)length, "");
}

const char *luX_token_text(Arena *arena, const Token *t)
{
    switch (t->kind) {
    case TK_RAW_STRING:
    case TK_QUOTED_STRING: return join(arena, "\"", t->data, t->length, "\"");
    case TK_INTERP_BEGIN: return join(arena, "`", t->data, t->length, "{");
    case TK_INTERP_MID: return join(arena, "}", t->data, t->length, "{");
    case TK_INTERP_END: return join(arena, "}", t->data, t->length, "`");
    case TK_INTERP_SIMPLE: return join(arena, "`", t->data, t->length, "`");
    case TK_NUMBER: return join(arena, "'", t->data, t->length, "'");
    case TK_NAME:
    case TK_ATTRIBUTE: return join(arena, "'", t->name->text, t->name->length, "'");
    case TK_ATTRIBUTE_OPEN: return "'@['";
    case TK_BAD_STRING: return "malformed string";
    case TK_BAD_COMMENT: return "unfinished comment";
    case TK_BAD_DOUBLE_BRACE: return "'{{', which is invalid (did you mean '\\{'?)";
    case TK_BAD_UNICODE: return unicode_text(arena, t->codepoint);
    default: return luX_kind_text(arena, t->kind);
    }
}
