/* parse_support.h: parsing a text and looking at the outcome, for the tests of the parser. */
#ifndef TESTS_PARSE_SUPPORT_H
#define TESTS_PARSE_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "luau/ast.h"
#include "luau/lex.h"

/* One parse and its memory; `failed` is what the arena's longjmp gave. */
typedef struct Parse {
    Arena arena;
    jmp_buf fail;
    ParseResult result;
    volatile int failed;
} Parse;

static inline void run_parse(Parse *parse, const char *source, size_t length, int max_errors,
                      size_t max_bytes, const ParseOptions *options)
{
    memset(&parse->result, 0, sizeof(parse->result));
    luA_init(&parse->arena, max_bytes, &parse->fail);
    parse->failed = setjmp(parse->fail);
    if (!parse->failed)
        parse->result = luP_parse(source, length, &parse->arena, max_errors, options);
}

/* `OK`, or `LINE: message` of the first error. */
static inline const char *outcome_of(const char *source, size_t length)
{
    static char text[4096];
    Parse parse;
    run_parse(&parse, source, length, 1, 0, NULL);
    assert_int_equal(parse.failed, 0);
    if (parse.result.main) {
        assert_int_equal(parse.result.error_count, 0);
        strcpy(text, "OK");
    } else {
        assert_int_equal(parse.result.error_count, 1);
        snprintf(text, sizeof(text), "%d: %s", parse.result.errors[0].location.begin.line,
                 parse.result.errors[0].message);
    }
    luA_free(&parse.arena);
    return text;
}

static inline const char *outcome(const char *source)
{
    return outcome_of(source, strlen(source));
}

static inline AstBlock *parse_ok(Parse *parse, const char *source)
{
    run_parse(parse, source, strlen(source), 1, 0, NULL);
    assert_int_equal(parse->failed, 0);
    if (!parse->result.main)
        fail_msg("%s", parse->result.errors[0].message);
    return parse->result.main->body;
}

static inline AstExpr *first_value(AstBlock *block)
{
    assert_true(block->count > 0);
    AstStat *stat = block->items[0];
    if (stat->kind == AST_LOCAL_STAT)
        return stat->local.values.items[0];
    if (stat->kind == AST_RETURN)
        return stat->return_.items[0];
    assert_int_equal(stat->kind, AST_ASSIGN);
    return stat->assign.values.items[0];
}

static inline void check_location(Location l, int line, int column, int end_line, int end_column)
{
    assert_int_equal(l.begin.line, line);
    assert_int_equal(l.begin.column, column);
    assert_int_equal(l.end.line, end_line);
    assert_int_equal(l.end.column, end_column);
}

/* `before`, n times `part`, `middle`, n times `after`; the caller frees it. */
static inline char *nest(const char *before, const char *part, size_t n, const char *middle,
                  const char *after)
{
    char *text = malloc(strlen(before) + strlen(middle) + n * (strlen(part) + strlen(after)) + 1);
    assert_non_null(text);
    char *out = stpcpy(text, before);
    for (size_t i = 0; i < n; i++)
        out = stpcpy(out, part);
    out = stpcpy(out, middle);
    for (size_t i = 0; i < n; i++)
        out = stpcpy(out, after);
    return text;
}

#endif
