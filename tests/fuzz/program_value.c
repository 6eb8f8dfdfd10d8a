/* program_value.c: expressions of the program writer, asked for by kind: functions, tables, calls,
 * operators. */
#include "program_lib.h"
#include "program_writer.h"

typedef struct LibraryFunction {
    char result;
    const char *name, *arguments;
} LibraryFunction;

#define ENTRY(result, name, arguments) {result, name, arguments},
static const LibraryFunction LIBRARY[] = {PROGRAM_LIBRARY(ENTRY) PROGRAM_LIBRARY_WILD(ENTRY)};
static const LibraryFunction TAME[] = {PROGRAM_LIBRARY(ENTRY)};
#undef ENTRY

/* ---- functions ------------------------------------------------------------------------------- */

void function_rest(Writer *w, bool method)
{
    int vars = w->var_count, loops = w->loops;
    bool vararg = w->vararg;
    unsigned count = pick(w, 4);
    w->vararg = rarely(w, 4);
    w->loops = 0;
    put(w, "(");
    for (unsigned i = 0; i < count; i++) {
        unsigned id = new_name(w);
        if (i > 0)
            put(w, ", ");
        put_var(w, id);
        put(w, rarely(w, 8) ? ": any" : "");
        declare(w, id, i == 0 ? 'n' : 'a', false);
    }
    if (w->vararg)
        put(w, count > 0 ? ", ..." : "...");
    put(w, ") T() ");
    if (method && rarely(w, 2))
        put(w, "self.n = (self.n or 0) + 1 ");
    block(w, 4);
    put(w, "return ");
    expression(w, rarely(w, 4) ? 'a' : 'n');
    if (rarely(w, 4)) {
        put(w, ", ");
        expression(w, 'a');
    }
    put(w, " end");
    w->var_count = vars;
    w->loops = loops;
    w->vararg = vararg;
}

static void function_value(Writer *w)
{
    if (w->blocks >= BLOCK_DEPTH || is_full(w)) {
        put(w, "function(a, b) T() return a end");
        return;
    }
    static const char *const simple[] = {
        "function(a, b) T() return a < b end",
        "function(a, b) T() return b end",
        "function(...) T() return ... end",
        "function(a) T() return coroutine.yield(a) end",
        "function(a, b) T() error(a) end",
        "string.upper",
        "math.max",
        "tostring",
        "next",
        "pcall",
        "error",
        "coroutine.yield",
        "table.concat",
        "setmetatable",
        "P",
    };
    unsigned choice = pick(w, COUNT(simple) + 8);
    if (choice < COUNT(simple) && !(w->options->reproducible && choice > 4)) {
        put(w, simple[choice]);
        return;
    }
    put(w, "function");
    w->blocks++;
    function_rest(w, false);
    w->blocks--;
}

/* ---- tables ---------------------------------------------------------------------------------- */

void metatable(Writer *w)
{
    static const char *const events[] = {
        "__index", "__newindex", "__call", "__add", "__sub",  "__mul",
        "__div",   "__idiv",     "__mod",  "__pow", "__unm",  "__concat",
        "__len",   "__eq",       "__lt",   "__le",  "__iter", "__tostring",
    };
    put(w, "{");
    unsigned count = 1 + pick(w, 4);
    for (unsigned i = 0; i < count; i++) {
        strbuf_printf(w->out, "%s = ", events[pick(w, COUNT(events))]);
        expression(w, rarely(w, 4) ? 't' : 'F');
        put(w, ", ");
    }
    if (rarely(w, 8))
        put(w, "__metatable = false, ");
    if (!w->options->reproducible && rarely(w, 4))
        put(w, "__mode = 'kv', ");
    put(w, "}");
}

static void table_value(Writer *w)
{
    unsigned count = pick(w, 6);
    if (rarely(w, 5)) {
        put(w, "setmetatable(");
        table_value(w);
        put(w, ", ");
        metatable(w);
        put(w, ")");
        return;
    }
    put(w, "{");
    /* An empty one is sized for the stores that follow, from -O1 on: its order shows the level. */
    if (count == 0 && w->options->reproducible)
        put(w, "nil");
    for (unsigned i = 0; i < count; i++) {
        switch (pick(w, 4)) {
        case 0: expression(w, 'n'); break;
        case 1: expression(w, 'a'); break;
        case 2:
            put(w, field(w));
            put(w, " = ");
            expression(w, 'a');
            break;
        default:
            put(w, "[ ");
            expression(w, rarely(w, 2) ? 's' : 'n');
            put(w, " ] = ");
            expression(w, 'a');
        }
        put(w, i + 1 < count ? ", " : "");
    }
    if (w->vararg && rarely(w, 4))
        put(w, count > 0 || w->options->reproducible ? ", ..." : "...");
    put(w, "}");
}

/* ---- calls ----------------------------------------------------------------------------------- */

static void library_argument(Writer *w, char kind, const char **p)
{
    switch (kind) {
    case '\'': { /* this very text */
        const char *end = strchr(*p, '\'');
        put(w, "\"");
        strbuf_put(w->out, *p, (size_t)(end - *p));
        put(w, "\"");
        *p = end + 1;
        break;
    }
    case 'i':
    case 'o':
        if (rarely(w, 10))
            put(w, rarely(w, 2) ? "2147483647" : "-2147483648");
        else if (rarely(w, 6))
            expression(w, 'n');
        else
            small(w);
        break;
    case 'p': pattern(w); break;
    case 'f': format_text(w); break;
    case 'k': pack_format(w); break;
    case 'w': put(w, rarely(w, 3) ? "\"<%0>\"" : rarely(w, 3) ? "\"%1%%\"" : "\"\""); break;
    case 'S': expression(w, rarely(w, 2) ? 's' : 'n'); break;
    case 'a': expression(w, w->options->reproducible ? 'n' : 'a'); break;
    default: expression(w, kind); break;
    }
}

static void call_library(Writer *w, const LibraryFunction *function)
{
    put(w, function->name);
    put(w, "(");
    bool first = true;
    for (const char *p = function->arguments; *p;) {
        if (rarely(w, 24)) /* too few */
            break;
        put(w, first ? "" : ", ");
        first = false;
        char kind = *p++;
        library_argument(w, kind, &p);
    }
    put(w, ")");
}

/* A call that gives that kind ('a': any). */
void library_call(Writer *w, char kind)
{
    const LibraryFunction *list = w->options->reproducible ? TAME : LIBRARY;
    size_t count = w->options->reproducible ? COUNT(TAME) : COUNT(LIBRARY);
    size_t start = pick(w, 256);
    for (size_t i = 0; i < count; i++) {
        const LibraryFunction *function = &list[(start + i) % count];
        if (kind == 'a' || function->result == kind) {
            call_library(w, function);
            return;
        }
    }
    put(w, "nil");
}

static void arguments(Writer *w)
{
    unsigned count = pick(w, 4);
    put(w, "(");
    for (unsigned i = 0; i < count; i++) {
        put(w, i > 0 ? ", " : "");
        expression(w, i == 0 ? 'n' : 'a');
    }
    if (w->vararg && rarely(w, 4))
        put(w, count > 0 ? ", ..." : "...");
    put(w, ")");
}

void own_call(Writer *w)
{
    const Var *var = find_var(w, 'F', false);
    if (var) {
        put_var(w, var->id);
        arguments(w);
        return;
    }
    var = find_var(w, 't', false);
    if (!var) {
        library_call(w, 'a');
        return;
    }
    put_var(w, var->id);
    if (rarely(w, 2))
        strbuf_printf(w->out, ":%s", field(w));
    else if (rarely(w, 2))
        strbuf_printf(w->out, ".%s", field(w));
    arguments(w);
}

static void method_of_string(Writer *w)
{
    static const char *const calls[] = {":upper()", ":len()",     ":rep(3)",     ":sub(2)",
                                        ":byte()",  ":reverse()", ":split(' ')", ":missing()"};
    put(w, "(");
    expression(w, 's');
    put(w, ")");
    put(w, calls[pick(w, COUNT(calls))]);
}

/* ---- expressions ----------------------------------------------------------------------------- */

static void binary(Writer *w, const char *const *operators, unsigned count, char kind)
{
    bool parentheses = rarely(w, 2);
    put(w, "(");
    expression(w, kind);
    strbuf_printf(w->out, " %s ", operators[pick(w, count)]);
    put(w, parentheses ? "(" : "");
    expression(w, kind);
    put(w, parentheses ? "))" : ")");
}

static void arithmetic(Writer *w, char kind)
{
    static const char *const operators[] = {"+", "-", "*", "/", "//", "%", "^"};
    binary(w, operators, COUNT(operators), kind);
}

static void indexed(Writer *w)
{
    const Var *var = find_var(w, 't', false);
    if (!var) {
        put(w, "nil");
        return;
    }
    put_var(w, var->id);
    switch (pick(w, 3)) {
    case 0: strbuf_printf(w->out, ".%s", field(w)); break;
    case 1: strbuf_printf(w->out, "[%u]", 1 + pick(w, 6)); break;
    default:
        put(w, "[ ");
        expression(w, rarely(w, 2) ? 's' : 'n');
        put(w, " ]");
    }
}

static void conditional(Writer *w, char kind)
{
    put(w, "(if ");
    expression(w, 'b');
    put(w, " then ");
    expression(w, kind);
    if (rarely(w, 4)) {
        put(w, " elseif ");
        expression(w, 'b');
        put(w, " then ");
        expression(w, kind);
    }
    put(w, " else ");
    expression(w, kind);
    put(w, ")");
}

static void interpolated(Writer *w)
{
    put(w, "`a{ ");
    expression(w, w->options->reproducible ? 'n' : 'a');
    if (rarely(w, 2)) {
        put(w, "}\\n{ ");
        expression(w, 's');
    }
    put(w, "}z`");
}

static void number_expression(Writer *w)
{
    switch (pick(w, 8)) {
    case 0: number(w); break;
    case 1:
    case 2: arithmetic(w, 'n'); break;
    case 3:
        put(w, "(#");
        expression(w, rarely(w, 2) ? 't' : 's');
        put(w, ")");
        break;
    case 4:
        put(w, "(- ");
        expression(w, 'n');
        put(w, ")");
        break;
    case 5: library_call(w, 'n'); break;
    case 6: indexed(w); break;
    default: own_call(w); break;
    }
}

static void string_expression(Writer *w)
{
    static const char *const concatenate[] = {".."};
    switch (pick(w, 6)) {
    case 0: string(w); break;
    case 1: binary(w, concatenate, 1, rarely(w, 3) ? 'n' : 's'); break;
    case 2: library_call(w, 's'); break;
    case 3: method_of_string(w); break;
    case 4: interpolated(w); break;
    default:
        put(w, "(");
        expression(w, 's');
        put(w, " .. ");
        expression(w, 'n');
        put(w, " .. ");
        expression(w, 's');
        put(w, ")");
    }
}

static void boolean_expression(Writer *w)
{
    static const char *const comparisons[] = {"<", "<=", ">", ">=", "==", "~="};
    static const char *const logic[] = {"and", "or"};
    switch (pick(w, 7)) {
    case 0: put(w, rarely(w, 2) ? "true" : "false"); break;
    case 1: binary(w, comparisons, COUNT(comparisons), 'n'); break;
    case 2: binary(w, comparisons, COUNT(comparisons), 's'); break;
    case 3: binary(w, comparisons + 4, 2, rarely(w, 2) ? 't' : 'n'); break;
    case 4: binary(w, logic, COUNT(logic), 'b'); break;
    case 5:
        put(w, "(not ");
        expression(w, 'b');
        put(w, ")");
        break;
    default:
        put(w, "(");
        indexed(w);
        put(w, " == nil)");
    }
}

static void other_expression(Writer *w, char kind)
{
    switch (kind) {
    case 't': rarely(w, 5) ? library_call(w, 't') : table_value(w); break;
    case 'F': function_value(w); break;
    case 'c':
        put(w, "coroutine.create(");
        expression(w, 'F');
        put(w, ")");
        break;
    case 'B':
        put(w, "buffer.create(");
        small(w);
        put(w, ")");
        break;
    case 'v':
        if (rarely(w, 3))
            arithmetic(w, 'v');
        else
            library_call(w, 'v');
        break;
    default: put(w, "nil"); break;
    }
}

/* The least expression of a kind: ends recursion. */
static void leaf(Writer *w, char kind)
{
    const Var *var = find_var(w, kind, false);
    if (var) {
        put_var(w, var->id);
        return;
    }
    switch (kind) {
    case 'n': number(w); break;
    case 's': string(w); break;
    case 'b': put(w, "true"); break;
    case 't': put(w, w->options->reproducible ? "{nil}" : "{}"); break;
    case 'F': put(w, "function(a, b) T() return a end"); break;
    case 'B': put(w, "buffer.create(8)"); break;
    case 'v': put(w, "vector.one"); break;
    case 'c': put(w, "coroutine.create(function(a) T() return coroutine.yield(a) end)"); break;
    default: put(w, "nil"); break;
    }
}

void expression(Writer *w, char kind)
{
    static const char kinds[] = "nsbtFcBvn";
    if (rarely(w, 24) || kind == 'a')
        kind = kinds[pick(w, sizeof(kinds) - 1)];
    if (w->depth >= EXPRESSION_DEPTH || is_full(w) || rarely(w, 3)) {
        leaf(w, kind);
        return;
    }
    w->depth++;
    if (w->vararg && rarely(w, 16)) {
        put(w, "(...)");
    } else if (rarely(w, 12)) {
        conditional(w, kind);
    } else if (rarely(w, 16)) {
        put(w, "(");
        expression(w, kind);
        put(w, rarely(w, 2) ? " :: any)" : ")");
    } else {
        switch (kind) {
        case 'n': number_expression(w); break;
        case 's': string_expression(w); break;
        case 'b': boolean_expression(w); break;
        default: other_expression(w, kind); break;
        }
    }
    w->depth--;
}
