/* lex.h: from source text to tokens. Internal to the parser.
 *
 * lex.c finds where tokens begin and end; lex_value.c gives the values of literals; lex_text.c how
 * tokens are named in messages. A Lexer holds the current token, the place of the one before it,
 * and at most one token of lookahead. Comments never reach the parser, but for an unfinished one.
 *
 * Tokens of one byte are that byte; a NUL byte in the source is its end. */
#ifndef LUAU_LEX_H
#define LUAU_LEX_H

#include "luau/ast.h"

enum {
    TK_EOF = 256,
    TK_EQ, TK_LE, TK_GE, TK_NE, TK_DOT2, TK_DOT3, TK_ARROW, TK_DOUBLE_COLON, TK_IDIV,
    TK_SET_ADD, TK_SET_SUB, TK_SET_MUL, TK_SET_DIV, TK_SET_IDIV, TK_SET_MOD, TK_SET_POW,
    TK_SET_CONCAT,
    TK_RAW_STRING,    /* [[...]] */
    TK_QUOTED_STRING,
    TK_INTERP_BEGIN,  /* `...{ */
    TK_INTERP_MID,    /* }...{ */
    TK_INTERP_END,    /* }...` */
    TK_INTERP_SIMPLE, /* `...` */
    TK_NUMBER, TK_NAME,
    TK_ATTRIBUTE,      /* @name; the name may be empty */
    TK_ATTRIBUTE_OPEN, /* @[ */
    TK_BAD_STRING, TK_BAD_COMMENT, TK_BAD_UNICODE, TK_BAD_DOUBLE_BRACE,
    TK_FIRST_RESERVED,
    TK_AND = TK_FIRST_RESERVED, TK_BREAK, TK_DO, TK_ELSE, TK_ELSEIF, TK_END, TK_FALSE, TK_FOR,
    TK_FUNCTION, TK_IF, TK_IN, TK_LOCAL, TK_NIL, TK_NOT, TK_OR, TK_REPEAT, TK_RETURN, TK_THEN,
    TK_TRUE, TK_UNTIL, TK_WHILE,
    TK_LAST_RESERVED = TK_WHILE
};

typedef struct Token {
    int kind;
    Location location;
    uint32_t length;     /* of data */
    uint32_t codepoint;  /* TK_BAD_UNICODE; 0 if the bytes are not UTF-8 */
    const char *data;    /* strings, without quotes and braces; numbers as written; in the source */
    const AstName *name; /* names, reserved words, attributes */
} Token;

/* One per name of the source: the name with what the parser keeps about it. */
typedef struct NameEntry {
    struct NameEntry *next; /* in its bucket */
    AstLocal *binding;      /* the innermost local of that name in scope, or NULL */
    int kind;               /* TK_NAME, or that of the reserved word */
    bool exported;          /* by an `export` of a value */
    AstName name;
} NameEntry;

static inline NameEntry *luX_entry(const AstName *name)
{
    return (NameEntry *)((char *)(uintptr_t)name - offsetof(NameEntry, name));
}

typedef struct Lexer {
    Arena *arena;
    const char *text;
    size_t length, offset, line_start;
    int line;

    Token current;
    Token ahead; /* the token after, if has_ahead */
    bool has_ahead;
    Location previous; /* of the token before the current one */
    size_t serial;     /* tokens consumed */

    /* For every open brace inside an interpolated string, whether it opened an expression of the
     * string (else it is a constructor's). Empty outside of interpolated strings. */
    bool *braces;
    size_t brace_count, brace_capacity;

    NameEntry **buckets;
    size_t bucket_count, name_count; /* bucket_count is a power of two */
    uint64_t hash_seed;

    bool in_header; /* no token seen yet: directives count */
    int optimize_hint;
    const ParseOptions *options;
    int poll_countdown;
    size_t limit; /* up to which bytes are read without a poll */
} Lexer;

/* Nothing is current until the first luX_next. */
void luX_init(Lexer *lexer, const char *text, size_t length, Arena *arena,
              const ParseOptions *options);
void luX_next(Lexer *lexer);
const Token *luX_lookahead(Lexer *lexer);
const AstName *luX_intern(Lexer *lexer, const char *text, size_t length);

/* lex_value.c */
typedef enum NumberStatus {
    NUMBER_OK, NUMBER_INTEGER /* `5i`, in *integer */,
    NUMBER_MALFORMED, NUMBER_BAD_INTEGER, NUMBER_OVERFLOW
} NumberStatus;
NumberStatus luX_number_value(Arena *arena, const Token *token, double *value, int64_t *integer);
/* The value of any string token, in the arena; false if it has a malformed escape sequence. */
bool luX_string_value(Arena *arena, const Token *token, const char **data, uint32_t *length);
bool luX_is_space(char c);
bool luX_is_digit(char c);
bool luX_is_hex_digit(char c);
bool luX_is_alpha(char c); /* a letter or `_` */

/* lex_text.c: NUL-terminated text, in the arena or static. */
const char *luX_token_text(Arena *arena, const Token *token);
const char *luX_kind_text(Arena *arena, int kind);

#endif
