/* jsontext.h: JSON text, read and written without a tree between (RFC 8259).
 *
 * Reading is a cursor over bytes that the caller owns: look at the kind of the next value, then
 * read it, enter it or skip it. Every function checks what it passes over completely: grammar,
 * UTF-8, escapes, depth. Text that was skipped once is valid JSON. After the first error `error` is
 * set, every function returns false at once, and the place is kept.
 *
 *     JsonReader r;
 *     json_open(&r, text, length);
 *     if (json_peek(&r) == JSON_OBJECT && json_enter(&r))
 *         while (json_member(&r, &key))
 *             json_skip(&r);
 *     ok = json_end(&r);
 *
 * No allocation, no recursion, no global state. The text need not end with a NUL. */
#ifndef BASE_JSONTEXT_H
#define BASE_JSONTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

enum { JSON_DEPTH_MAX = 64 }; /* of nested arrays and objects */

typedef enum JsonKind {
    JSON_NONE, /* nothing readable: error is set */
    JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT
} JsonKind;

typedef struct JsonReader {
    const char *start, *p, *end;
    const char *error;    /* NULL: none so far; a literal */
    const char *error_at;
    int depth;            /* containers entered and not yet left */
    bool first;           /* the container entered last has not given a value yet */
    uint64_t objects;     /* bit i: level i is an object */
    void (*poll)(void *arg); /* NULL, or called every JSON_POLL_BYTES in long strings and runs of
                                blanks; may leave by longjmp: the reader owns nothing */
    void *poll_arg;
} JsonReader;
enum { JSON_POLL_BYTES = 1 << 16, JSON_NUMBER_TEXT_MAX = 1 << 16 };

/* The bytes between the quotes, as they stand in the text. */
typedef struct JsonString {
    const char *data;
    size_t length;
    bool escaped;         /* has escapes: json_unescape before use */
} JsonString;

typedef enum JsonNumberKind {
    JSON_INT64,
    JSON_UINT64, /* above 2^63 - 1 */
    JSON_DOUBLE
} JsonNumberKind;
typedef struct JsonNumber {
    JsonNumberKind kind;
    union { int64_t i; uint64_t u; double d; };
} JsonNumber;

void json_open(JsonReader *r, const char *text, size_t length);
/* Kind of the next value, which is not consumed. */
JsonKind json_peek(JsonReader *r);
bool json_string(JsonReader *r, JsonString *string);
/* Integers without fraction and exponent that fit 64 bits are exact; the rest is the nearest
 * double; one that rounds to infinity is an error; -0 is a double. */
bool json_number(JsonReader *r, JsonNumber *number);
bool json_literal(JsonReader *r); /* consumes null, true or false */
/* Enters the array or object that json_peek announced. */
bool json_enter(JsonReader *r);
/* True: another element follows, read it. False: the array ended and was left, or an error. */
bool json_element(JsonReader *r);
/* The same for objects, with the member's key. */
bool json_member(JsonReader *r, JsonString *key);
bool json_skip(JsonReader *r); /* one whole value */
bool json_end(JsonReader *r);  /* nothing but blanks is left */
bool json_fail(JsonReader *r, const char *at, const char *message); /* sets the error; false */
/* `line 3, column 7: expected a value`, at most `size` bytes with the NUL. */
void json_describe(const JsonReader *r, char *text, size_t size);

/* Writes the string's bytes without escapes: at most string->length of them, no NUL; `out` may be
 * the string's own place. Returns how many. The string must come from json_string or json_member.
 * */
size_t json_unescape(const JsonString *string, char *out);
/* Exactly what json_unescape will return. */
size_t json_unescaped_length(const JsonString *string);
/* The string's bytes equal `text`; escapes are understood. */
bool json_equals(const JsonString *string, const char *text);

/* Offset of the first byte that is no well-formed UTF-8, or `length`. */
size_t json_utf8_valid(const char *data, size_t length);

/* ---- Writing ---- */
/* A string with its quotes. False and *bad_offset if it is not UTF-8 (what was written then is to
 * be thrown away). */
bool json_put_string(Strbuf *out, const char *data, size_t length, size_t *bad_offset);
/* Bytes known to be UTF-8, escaped, without the quotes around them. */
void json_put_escaped(Strbuf *out, const char *data, size_t length);
/* A string with U+FFFD in the place of bytes that are no UTF-8. */
void json_put_lossy(Strbuf *out, const char *data, size_t length);
/* A finite number: digits alone when integral and within +-2^53, else the shortest decimal that
 * reads back the same, with a point or an exponent in it. */
void json_put_number(Strbuf *out, double value);
void json_put_i64(Strbuf *out, int64_t value);
void json_put_u64(Strbuf *out, uint64_t value);
enum { JSON_NUMBER_MAX = 40 }; /* bytes any number may take */
/* The three above, into a place with JSON_NUMBER_MAX bytes of room; the length. */
size_t json_format_number(double value, char *out);
size_t json_format_u64(uint64_t value, char *out);

#endif
