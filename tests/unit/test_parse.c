/* test_parse.c: the lexer and the parser: tokens, places, the tree, errors and recovery from them,
 * depth, memory caps, odd input. */
#include "parse_support.h"

/* ---- tokens ---------------------------------------------------------------------------------- */

static void test_tokens(void **state)
{
    (void)state;
    static const int kinds[] = {
        TK_NAME,
        TK_EQ,
        '=',
        TK_LE,
        TK_GE,
        TK_NE,
        '~',
        TK_ARROW,
        TK_SET_SUB,
        '-',
        TK_DOT3,
        TK_DOT2,
        TK_SET_CONCAT,
        '.',
        TK_IDIV,
        TK_SET_IDIV,
        TK_SET_DIV,
        '/',
        TK_DOUBLE_COLON,
        ':',
        TK_NUMBER,
        TK_ATTRIBUTE,
        TK_ATTRIBUTE_OPEN,
        TK_RAW_STRING,
        TK_QUOTED_STRING,
        TK_INTERP_SIMPLE,
        TK_INTERP_BEGIN,
        '{',
        '}',
        TK_INTERP_MID,
        TK_NAME,
        TK_INTERP_END,
        TK_WHILE,
        TK_BAD_UNICODE,
        '$',
        TK_BAD_STRING,
        TK_EOF,
        TK_EOF,
    };
    static const char source[] =
        "_a1 == = <= >= ~= ~ -> -= - ... .. ..= . // //= /= / :: : .5e+3 @native @[ [==[x]]]==] "
        "'\\'' `a` `b{ {} }c{d}e` while \xc3\xa9 $ [=x";
    Arena arena;
    jmp_buf fail;
    luA_init(&arena, 0, &fail);
    if (setjmp(fail))
        fail_msg("out of memory");
    Lexer lexer;
    luX_init(&lexer, source, sizeof(source) - 1, &arena, NULL);
    for (size_t i = 0; i < BASE_ARRAY_COUNT(kinds); i++) {
        if (i % 3 == 0)
            luX_lookahead(&lexer);
        luX_next(&lexer);
        if (lexer.current.kind == TK_NAME && i > 33) /* the rest after the bad long bracket */
            luX_next(&lexer);
        assert_int_equal(lexer.current.kind, kinds[i]);
    }
    luA_free(&arena);
}

static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double value;
    } good[] = {
        {"0", 0},
        {"08", 8},
        {"1.", 1},
        {".5", 0.5},
        {"3.e2", 300},
        {"1e+5", 1e5},
        {"1_000_", 1000},
        {"0x_ff", 255},
        {"0XFF", 255},
        {"0b_1011", 11},
        {"1e999", 1e308 * 10},
        {"0xffffffffffffffffff", 18446744073709551615.0},
        {"0x8000000000000001", 9223372036854775808.0},
    };
    char source[128];
    for (size_t i = 0; i < BASE_ARRAY_COUNT(good); i++) {
        Parse parse;
        snprintf(source, sizeof(source), "x = %s", good[i].text);
        AstExpr *expr = first_value(parse_ok(&parse, source));
        assert_int_equal(expr->kind, AST_NUMBER);
        if (expr->number != good[i].value)
            fail_msg("%s: %.17g", good[i].text, expr->number);
        luA_free(&parse.arena);
    }
}

static void test_integers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t value;
    } integers[] = {
        {"5i", 5},
        {"0x10i", 16},
        {"0b11i", 3},
        {"9223372036854775807i", INT64_MAX},
        {"0xffffffffffffffffi", -1},
        {"0x8000000000000000i", INT64_MIN},
        {"1_0_i", 10},
    };
    char source[128];
    for (size_t i = 0; i < BASE_ARRAY_COUNT(integers); i++) {
        Parse parse;
        snprintf(source, sizeof(source), "x = %s", integers[i].text);
        AstExpr *expr = first_value(parse_ok(&parse, source));
        assert_int_equal(expr->kind, AST_INTEGER);
        assert_true(expr->integer == integers[i].value);
        luA_free(&parse.arena);
    }
}

static void test_malformed_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"0x", "Malformed number"},
        {"0xg", "Malformed number"},
        {"0b2", "Malformed number"},
        {"0b0b1", "Malformed number"},
        {"1e", "Malformed number"},
        {"1e+", "Malformed number"},
        {"1.2.3", "Malformed number"},
        {"1a", "Malformed number"},
        {"3..2", "Malformed number"},
        {"0x1p4", "Malformed number"},
        {"0x.8", "Malformed number"},
        {"5I", "Malformed number"},
        {"1.5i", "Malformed integer"},
        {"0xi", "Malformed integer"},
        {"5ii", "Malformed integer"},
        {"9223372036854775808i", "Integer overflow"},
        {"0x10000000000000000i", "Integer overflow"},
    };
    char source[128], want[128];
    for (size_t i = 0; i < BASE_ARRAY_COUNT(bad); i++) {
        snprintf(source, sizeof(source), "x = %s", bad[i].text);
        snprintf(want, sizeof(want), "1: %s", bad[i].message);
        assert_string_equal(outcome(source), want);
    }
}

static void check_string(const char *literal, const char *bytes, size_t length)
{
    Parse parse;
    char source[256];
    snprintf(source, sizeof(source), "x = %s", literal);
    AstExpr *expr = first_value(parse_ok(&parse, source));
    assert_int_equal(expr->kind, AST_STRING);
    assert_int_equal(expr->string.length, length);
    assert_memory_equal(expr->string.data, bytes, length + 1);
    luA_free(&parse.arena);
}

static void test_strings(void **state)
{
    (void)state;
    static const char bad_escape[] = "1: String literal contains malformed escape sequence";
    check_string("''", "", 0);
    check_string("'\\a\\b\\f\\n\\r\\t\\v\\\\\\\"\\'\\q'", "\a\b\f\n\r\t\v\\\"'q", 11);
    check_string("'\\65\\065\\0067\\255\\0'",
                 "AA\006"
                 "7\xff\0",
                 6);
    check_string("'\\x41\\xfF'", "A\xff", 2);
    check_string("'\\u{48}\\u{20AC}\\u{D800}\\u{10FFFF}\\u{0000000000000041}'",
                 "H\xe2\x82\xac\xed\xa0\x80\xf4\x8f\xbf\xbf"
                 "A",
                 12);
    check_string("'a\\z  \n\t b'", "ab", 2);
    check_string("'a\\\nb\\\r\nc\\\rd'", "a\nb\nc\nd", 7);
    check_string("[[\na\r\nb\rc\n]]", "a\nb\rc\n", 6);
    check_string("[[\r\na\\n]]", "a\\n", 3);
    check_string("[==[]]]=]]==]", "]]]=]", 5);
    check_string("`\\{a\\}\\`\\u{41}`", "{a}`A", 5);
    assert_string_equal(outcome("x = '\\xZZ'"), bad_escape);
    assert_string_equal(outcome("x = '\\x1'"), bad_escape);
    assert_string_equal(outcome("x = '\\256'"), bad_escape);
    assert_string_equal(outcome("x = '\\u{110000}'"), bad_escape);
    assert_string_equal(outcome("x = '\\u{100000041}'"), bad_escape);
    assert_string_equal(outcome("x = '\\u{00000000000000041}'"), bad_escape);
    assert_string_equal(outcome("x = '\\u{}'"), bad_escape);
    assert_string_equal(outcome("x = 'a\rb'"), "1: Malformed string; did you forget to finish it?");
    assert_string_equal(outcome("x = 1\nx = [=[\n\n"),
                        "2: Malformed string; did you forget to finish it?");
    assert_string_equal(outcome("x = `{1}\\xq`"),
                        "1: Interpolated string literal contains malformed escape sequence");
}

static void test_interpolation(void **state)
{
    (void)state;
    Parse parse;
    AstExpr *expr = first_value(parse_ok(&parse, "x = `a{ {b = {}} }\\n{`<{1}>`}c`"));
    assert_int_equal(expr->kind, AST_INTERP);
    assert_int_equal(expr->interp.count, 2);
    assert_string_equal(expr->interp.strings[0].data, "a");
    assert_string_equal(expr->interp.strings[1].data, "\n");
    assert_string_equal(expr->interp.strings[2].data, "c");
    assert_int_equal(expr->interp.exprs[0]->kind, AST_TABLE);
    assert_int_equal(expr->interp.exprs[1]->kind, AST_INTERP);
    luA_free(&parse.arena);
    assert_string_equal(outcome("x = `a{\n1\n}b`"), "OK");
    assert_string_equal(outcome("x = `a{{b}}`"),
                        "1: Double braces are not permitted within interpolated strings; did you "
                        "mean '\\{'?");
}

static void test_unicode(void **state)
{
    (void)state;
    static const char prefix[] = "1: Expected identifier when parsing expression, got ";
    char want[128];
    static const struct {
        const char *source, *got;
    } cases[] = {
        {"x = \xc3\xa9", "Unicode character U+e9"},
        {"x = \xe2\x80\x9c", "Unicode character U+201c (did you mean '\"'?)"},
        {"x = \xef\xbc\x88", "Unicode character U+ff08 (did you mean '('?)"},
        {"x = \xff", "invalid UTF-8 sequence"},
        {"x = \xe2\x80", "invalid UTF-8 sequence"},
        {"\xef\xbb\xbfx = 1", "Unicode character U+feff"},
    };
    for (size_t i = 0; i < BASE_ARRAY_COUNT(cases); i++) {
        snprintf(want, sizeof(want), "%s%s", prefix, cases[i].got);
        assert_string_equal(outcome(cases[i].source), want);
    }
    assert_string_equal(outcome("-- \xff\nx = '\xff\xc3'"), "OK");
}

static void test_comments(void **state)
{
    (void)state;
    assert_string_equal(outcome("--[[ a\n]] x = 1 --[==[ ]] ]==] y = 2 --[=x\n--"), "OK");
    assert_string_equal(outcome("x = 1 --[[ a"), "1: Expected identifier when parsing expression, "
                                                 "got unfinished comment");
    Parse parse;
    parse_ok(&parse, "--!strict\n--!optimize 2\nx = 1\n--!optimize 0\n");
    assert_int_equal(parse.result.optimize_hint, 2);
    assert_int_equal(parse.result.line_count, 5);
    luA_free(&parse.arena);
    parse_ok(&parse, "x = 1 --!optimize 1");
    assert_int_equal(parse.result.optimize_hint, -1);
    luA_free(&parse.arena);
}

/* ---- the tree -------------------------------------------------------------------------------- */

static void test_places(void **state)
{
    (void)state;
    Parse parse;
    AstBlock *block = parse_ok(&parse, "local a,\n\tbc = f.g(1,\n  2), [[\n]]\n"
                                       "function bc.d:e()\nend");
    AstStat *stat = block->items[0];
    check_location(stat->location, 1, 1, 4, 3);
    check_location(stat->local.vars[1]->location, 2, 2, 2, 4);
    check_location(stat->local.equals_location, 2, 5, 2, 6);
    AstExpr *call = stat->local.values.items[0];
    check_location(call->location, 2, 7, 3, 5);
    check_location(call->call.args_location, 2, 10, 3, 5);
    check_location(call->call.func->location, 2, 7, 2, 10);
    check_location(call->call.func->index_name.name_location, 2, 9, 2, 10);
    check_location(stat->local.values.items[1]->location, 3, 7, 4, 3);
    AstFunction *function = block->items[1]->function.function;
    check_location(function->location, 5, 1, 6, 4);
    check_location(function->name_location, 5, 10, 5, 16);
    assert_string_equal(function->debug_name->text, "e");
    assert_true(function->has_self);
    assert_int_equal(function->param_count, 1);
    assert_string_equal(function->params[0]->name->text, "self");
    luA_free(&parse.arena);
}

static AstBinary top_operator(Parse *parse, const char *expression)
{
    char source[128];
    snprintf(source, sizeof(source), "x = %s", expression);
    AstExpr *expr = first_value(parse_ok(parse, source));
    assert_int_equal(expr->kind, AST_BINARY);
    return expr->binary.op;
}

static void test_precedence(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        AstBinary top;
        bool left_is_binary;
    } cases[] = {
        {"a or b and c", AST_OR, false},  {"a and b or c", AST_OR, true},
        {"a < b == c", AST_EQ, true},     {"a .. b .. c", AST_CONCAT, false},
        {"a + b .. c", AST_CONCAT, true}, {"a - b - c", AST_SUB, true},
        {"a * b + c", AST_ADD, true},     {"a // b % c", AST_MOD, true},
        {"a ^ b ^ c", AST_POW, false},    {"2 ^ -3 * 4", AST_MUL, true},
    };
    Parse parse;
    for (size_t i = 0; i < BASE_ARRAY_COUNT(cases); i++) {
        assert_int_equal(top_operator(&parse, cases[i].text), cases[i].top);
        AstExpr *expr = first_value(parse.result.main->body);
        assert_int_equal(expr->binary.left->kind == AST_BINARY, cases[i].left_is_binary);
        luA_free(&parse.arena);
    }
    AstExpr *expr = first_value(parse_ok(&parse, "x = -2^2"));
    assert_int_equal(expr->kind, AST_UNARY);
    luA_free(&parse.arena);
    assert_int_equal(top_operator(&parse, "not a == b"), AST_EQ);
    luA_free(&parse.arena);
    assert_int_equal(top_operator(&parse, "y :: number + 1"), AST_ADD);
    luA_free(&parse.arena);
}

static void test_locals(void **state)
{
    (void)state;
    Parse parse;
    AstBlock *block = parse_ok(&parse, "local a, b, c, d, e, f = 1\n"
                                       "a = 2 b += 1\n"
                                       "local function g() c = d return e.x end\n"
                                       "local x: typeof(function() f = 1 end) = nil\n"
                                       "function g() end\n"
                                       "for i = 1, 2 do i = 3 end\n"
                                       "while a do local k, a = 1 end\n");
    AstLocal **v = block->items[0]->local.vars;
    static const bool assigned[] = {true, true, true, false, false, false};
    static const bool captured[] = {false, false, true, true, true, false};
    for (int i = 0; i < 6; i++) {
        assert_int_equal(v[i]->assigned, assigned[i]);
        assert_int_equal(v[i]->captured, captured[i]);
        assert_ptr_equal(v[i]->function, parse.result.main);
    }
    AstLocal *g = block->items[3]->local_function.local;
    assert_true(g->assigned);
    AstFunction *function = block->items[3]->local_function.function;
    assert_string_equal(function->debug_name->text, "g");
    assert_ptr_equal(function->parent, parse.result.main);
    assert_int_equal(function->depth, 1);
    AstStat *inside = function->body->items[0];
    assert_true(inside->assign.vars.items[0]->local.upvalue);
    assert_ptr_equal(inside->assign.vars.items[0]->local.local, v[2]);
    AstStat *loop = block->items[6];
    assert_true(loop->for_.var->assigned);
    assert_int_equal(loop->for_.var->loop_depth, 1);
    AstStat *inner = block->items[7]->while_.body->items[0];
    assert_int_equal(inner->local.vars[0]->loop_depth, 1);
    assert_ptr_equal(block->items[7]->while_.condition->local.local, v[0]);
    luA_free(&parse.arena);
}

static void test_scopes(void **state)
{
    (void)state;
    Parse parse;
    AstBlock *block = parse_ok(&parse, "local x = x\nrepeat local y = x until y\n"
                                       "local x, x = x, y\nreturn x");
    assert_int_equal(block->items[0]->local.values.items[0]->kind, AST_GLOBAL);
    assert_int_equal(block->items[1]->repeat.condition->kind, AST_LOCAL);
    assert_ptr_equal(block->items[2]->local.values.items[0]->local.local,
                     block->items[0]->local.vars[0]);
    assert_int_equal(block->items[2]->local.values.items[1]->kind, AST_GLOBAL);
    assert_ptr_equal(block->items[3]->return_.items[0]->local.local,
                     block->items[2]->local.vars[1]);
    luA_free(&parse.arena);
}

static void test_names_of_functions(void **state)
{
    (void)state;
    Parse parse;
    AstExpr *table = first_value(
        parse_ok(&parse, "x = {a = function() end, b = (function() end), [1] = function() end, "
                         "c = function() end :: any}"));
    AstItem *items = table->table.items;
    assert_int_equal(table->table.count, 4);
    assert_string_equal(items[0].value->function->debug_name->text, "a");
    assert_null(items[1].value->group->function->debug_name);
    assert_null(items[2].value->function->debug_name);
    assert_null(items[3].value->function->debug_name);
    luA_free(&parse.arena);
    AstExpr *plain = first_value(parse_ok(&parse, "local f = function() end"));
    assert_null(plain->function->debug_name);
    luA_free(&parse.arena);
}

/* Types leave nothing, but a cast cuts a call to one value. */
static void test_types_are_dropped(void **state)
{
    (void)state;
    Parse parse;
    AstBlock *block = parse_ok(&parse, "type A<T, U... = ...any> ="
                                       " {read [string]: T?, f: (U...) -> ()}\n"
                                       "export type B = A<number, (string)> & typeof(x)\n"
                                       "type function f(t) return t end\n"
                                       "return f() :: any, (... :: any), x :: A.B<C>, f<<A>>");
    assert_int_equal(block->count, 1);
    AstExprList values = block->items[0]->return_;
    assert_int_equal(values.count, 4);
    assert_int_equal(values.items[0]->kind, AST_GROUP);
    assert_int_equal(values.items[1]->kind, AST_GROUP);
    assert_int_equal(values.items[2]->kind, AST_GLOBAL);
    assert_int_equal(values.items[3]->kind, AST_GLOBAL);
    luA_free(&parse.arena);
}

/* ---- errors ---------------------------------------------------------------------------------- */

static void test_messages(void **state)
{
    (void)state;
    static const struct {
        const char *source, *want;
    } cases[] = {
        {"", "OK"},
        {"x =", "1: Expected identifier when parsing expression, got <eof>"},
        {"f(\n1", "2: Expected ')' (to close '(' at line 1), got <eof>"},
        {"x = (a = 1)", "1: Expected ')' (to close '(' at column 5), got '='; did you mean to use "
                        "'{' when defining a table?"},
        {"f\n(1)", "2: Ambiguous syntax: this looks like an argument list for a function call, but "
                   "could also be a start of new statement; use ';' to separate statements"},
        {"a.b:c\nx = 1", "1: Expected function call arguments after '('"},
        {"do\n  while x do\n  y()\nend", "4: Expected 'end' (to close 'do' at line 1), got <eof>; "
                                         "did you forget to close 'do' at line 2?"},
        {"  local function f()", "1: Expected 'end' (to close 'function' at column 3), got <eof>"},
        {"t.end = 1", "1: Expected identifier, got 'end'"},
        {"x <<T>> = 1", "1: Assigned expression must be a variable or a field"},
        {"const c = 1\nfunction c() end", "2: Variable 'c' is constant and may not be reassigned"},
        {"const c, d = f()", "OK"},
        {"const c, d = f() :: any", "1: Missing initializer in const declaration"},
        {"local y type function f() return y end",
         "1: Type function cannot reference outer local 'y'"},
        {"local x: A...", "1: Unexpected '...' after type name; type pack is not allowed in this "
                          "context"},
        {"local x: {}...", "1: Unexpected '...' after type annotation"},
        {"local f: (a: number, ) -> ()", "1: Expected type after ',' but got ')' instead"},
        {"local f: (number): number", "1: Return types in function type annotations are written "
                                      "after '->' instead of ':'"},
        {"type A<T..., U> = T", "1: Generic types come before generic type packs"},
        {"type A<T = U, V> = T", "1: Expected default type after type name"},
        {"type A<T... = U> = T", "1: Expected type pack after '=', got type"},
        {"type A<T,> = T", "1: Expected type after ',' but got '>' instead"},
        {"@deprecated @deprecated function f() end", "1: Cannot duplicate attribute '@deprecated'"},
        {"@[deprecated{use = 1}] function f() end",
         "1: Only constant string allowed as value for 'use'"},
        {"@[deprecated(1, 2)] function f() end",
         "1: @deprecated can be parametrized only by 1 argument"},
        {"@[deprecated 'x'] function f() end", "1: Unknown argument type for @deprecated"},
        {"x = @native 5",
         "1: Expected 'function' declaration after attribute, but got '5' instead"},
        {"return 1 export local x = 1", "1: Expected <eof>, got 'export'"},
        {"if x then return end export local y", "1: Exporting values is not compatible with "
                                                "top-level return (export/return conflict)"},
    };
    for (size_t i = 0; i < BASE_ARRAY_COUNT(cases); i++)
        assert_string_equal(outcome(cases[i].source), cases[i].want);
}

static void test_recovery(void **state)
{
    (void)state;
    static const char source[] = "x = = 1\n"
                                 "y = 2\n"
                                 "local 5\n"
                                 "if x the\n print(1)\nend\n"
                                 "while x = 1 do y() end\n"
                                 "foo(1, 2\n"
                                 "local t = {1 2}\n"
                                 "x = {\n a = 1\n b = 2 }\n"
                                 "break\n"
                                 "x.y\n";
    static const struct {
        int line, column, end_column;
        const char *start;
    } want[] = {
        {1, 5, 6, "Expected identifier when parsing expression, got '='"},
        {3, 7, 8, "Expected identifier when parsing variable name, got '5'"},
        {4, 6, 9, "Expected 'then' when parsing if statement, got 'the'"},
        {7, 9, 10, "Expected 'do' when parsing while loop, got '='"},
        {9, 1, 6, "Expected ')' (to close '(' at line 8), got 'local'"},
        {9, 14, 15, "Expected '}' (to close '{' at column 11), got '2'"},
        {12, 2, 3, "Expected ',' after table constructor element"},
        {13, 1, 6, "break statement must be inside a loop"},
        {14, 1, 4, "Incomplete statement: expected assignment or a function call"},
    };
    Parse parse;
    run_parse(&parse, source, sizeof(source) - 1, 100, 0, NULL);
    assert_null(parse.result.main);
    for (size_t i = 0; i < BASE_ARRAY_COUNT(want); i++) {
        assert_true((int)i < parse.result.error_count);
        const ParseError *error = &parse.result.errors[i];
        assert_string_equal(error->message, want[i].start);
        check_location(error->location, want[i].line, want[i].column, want[i].line,
                       want[i].end_column);
    }
    assert_int_equal(parse.result.error_count, BASE_ARRAY_COUNT(want));
    luA_free(&parse.arena);
    run_parse(&parse, source, sizeof(source) - 1, 3, 0, NULL);
    assert_int_equal(parse.result.error_count, 3);
    luA_free(&parse.arena);
}

/* A missing `end` is one error, and so is one too many. */
static void test_no_cascades(void **state)
{
    (void)state;
    static const char *const sources[] = {
        "function f()\n if x then\n  y()\nend\nlocal function g()\n z = 1\nend\n",
        "end end end\nx = 1",
        "local x = function() x = = 1 end\nlocal y = 2",
        "x = `a{b c}d`\ny = 1",
        "print(function() foo( end)\nx = 1",
        "for i = 1 5 do print(i) end\nx = 1",
        "type X = {a: number b: string}\nlocal y = 1",
    };
    for (size_t i = 0; i < BASE_ARRAY_COUNT(sources); i++) {
        Parse parse;
        run_parse(&parse, sources[i], strlen(sources[i]), 100, 0, NULL);
        if (parse.result.error_count != 1)
            fail_msg("%d errors in: %s", parse.result.error_count, sources[i]);
        luA_free(&parse.arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_malformed_numbers),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_interpolation),
        cmocka_unit_test(test_unicode),
        cmocka_unit_test(test_comments),
        cmocka_unit_test(test_places),
        cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_locals),
        cmocka_unit_test(test_scopes),
        cmocka_unit_test(test_names_of_functions),
        cmocka_unit_test(test_types_are_dropped),
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_recovery),
        cmocka_unit_test(test_no_cascades),
    };
    return cmocka_run_group_tests_name("parser", tests, NULL, NULL);
}
