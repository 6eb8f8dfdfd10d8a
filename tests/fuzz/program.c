/* program.c: writes a program as a recursive descent would read one: each production takes a byte or
 * two to choose among its alternatives, and the least one when the input is used up.
 *
 * Expressions are asked for by kind and variables remember theirs, so that most of what is written
 * works; now and then the kind is another than asked for. Names are unique, so scopes are a matter of
 * a list that is cut where a block ends. */
#include "program.h"

#include "program_lib.h"

enum {
    VARS_MAX = 48,
    EXPRESSION_DEPTH = 5,
    BLOCK_DEPTH = 6,
    GROUP_STATEMENTS = 6
};

typedef struct Var {
    unsigned id;
    char kind;      /* as in program_lib.h; 'a' may be anything */
    bool constant;
} Var;

typedef struct Writer {
    Strbuf *out;
    FuzzBytes *in;
    const ProgramOptions *options;
    Var vars[VARS_MAX];
    int var_count;
    unsigned next_id;
    int depth, blocks, loops;
    bool vararg;
} Writer;

typedef struct LibraryFunction {
    char result;
    const char *name, *arguments;
} LibraryFunction;

#define ENTRY(result, name, arguments) {result, name, arguments},
static const LibraryFunction LIBRARY[] = {PROGRAM_LIBRARY(ENTRY) PROGRAM_LIBRARY_WILD(ENTRY)};
static const LibraryFunction TAME[] = {PROGRAM_LIBRARY(ENTRY)};
#undef ENTRY
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void expression(Writer *w, char kind);
static void block(Writer *w, int statements_max);

static void put(Writer *w, const char *text)
{
    strbuf_puts(w->out, text);
}

static unsigned pick(Writer *w, unsigned n)
{
    return bytes_below(w->in, n);
}

/* True about one time in n, never when the input has ended. */
static bool rarely(Writer *w, unsigned n)
{
    return bytes_u8(w->in) % n == 1;
}

static bool is_full(const Writer *w)
{
    return w->out->length > PROGRAM_BYTES_MAX || !bytes_left(w->in);
}

/* Between statements. */
static void gap(Writer *w)
{
    put(w, w->options->reproducible || pick(w, 4) ? " " : "\n");
}

/* ---- variables ------------------------------------------------------------------------------- */

static unsigned new_name(Writer *w)
{
    return w->next_id++;
}

static void declare(Writer *w, unsigned id, char kind, bool constant)
{
    if (w->var_count < VARS_MAX)
        w->vars[w->var_count++] = (Var){id, kind, constant};
}

/* A variable of that kind that is in scope; NULL: none. */
static const Var *find_var(Writer *w, char kind, bool assignable)
{
    if (w->var_count == 0)
        return NULL;
    int start = (int)pick(w, 256);
    for (int i = 0; i < w->var_count; i++) {
        const Var *var = &w->vars[(start + i) % w->var_count];
        if ((kind == 'a' || var->kind == kind) && !(assignable && var->constant))
            return var;
    }
    return NULL;
}

static void put_var(Writer *w, unsigned id)
{
    strbuf_printf(w->out, "v%u", id);
}

static const char *field(Writer *w)
{
    static const char *const names[] = {"x", "y", "z", "n", "a", "name", "value", "next"};
    return names[pick(w, COUNT(names))];
}

/* ---- literals -------------------------------------------------------------------------------- */

static void number(Writer *w)
{
    static const char *const numbers[] = {
        "0", "1", "2", "3", "-1", "0.5", "10", "255", "1e15", "-0", "0x7fffffff", "2^53",
        "1/0", "-1/0", "0/0", "1e-7", "4294967296", "0b1011", "1_000", "1e308",
    };
    put(w, numbers[pick(w, COUNT(numbers))]);
}

static void small(Writer *w)
{
    static const char *const numbers[] = {"1", "2", "3", "0", "-1", "4", "5", "8", "16", "-3", "40"};
    put(w, numbers[pick(w, COUNT(numbers))]);
}

static void quoted_bytes(Writer *w)
{
    size_t length;
    const char *bytes = bytes_text(w->in, 12, &length);
    put(w, "\"");
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c >= 32 && c < 127 && c != '"' && c != '\\')
            strbuf_putc(w->out, (char)c);
        else
            strbuf_printf(w->out, "\\%03u", c);
    }
    put(w, "\"");
}

static void string(Writer *w)
{
    static const char *const strings[] = {
        "\"\"", "\"a\"", "'abc'", "\"x y z\"", "\"12\"", "\"0x1p4\"", "[[a\\b]]", "[==[]]]==]",
        "\"\\0\\255\"", "\"\\u{20AC}\\u{1F600}\"", "\"aXbXc\"", "\"key=value, k2=v2\"",
        "\"(a)(b)(c)\"", "\"a much longer string than the others that takes a block of its own\"",
    };
    unsigned choice = pick(w, COUNT(strings) + 6);
    if (choice < COUNT(strings))
        put(w, strings[choice]);
    else
        quoted_bytes(w);
}

static void pattern(Writer *w)
{
    static const char *const patterns[] = {
        "\"a\"", "\".\"", "\"%a+\"", "\"(%w+)=(%w+)\"", "\"^(.-)%s\"", "\"%b()\"", "\"%f[%w]%w+\"",
        "\"[^X]*\"", "\"()\"", "\"(.)%1\"", "\"%d*$\"", "\"[%z\\1-\\31]\"", "\".-b\"", "\"%\"",
        "\"[a\"", "\"(\"",
    };
    if (rarely(w, 8))
        quoted_bytes(w);
    else
        put(w, patterns[pick(w, COUNT(patterns))]);
}

static void format_text(Writer *w)
{
    static const char *const formats[] = {
        "\"%s %s\"", "\"%d\"", "\"%5.2f|%g\"", "\"%x %X %o\"", "\"%q\"", "\"%c%c\"", "\"%-10s|\"",
        "\"%%\"", "\"%.3s\"", "\"%i %u\"", "\"%e\"", "\"%y\"",
    };
    if (!w->options->reproducible && rarely(w, 4))
        put(w, "\"%* %*\"");
    else
        put(w, formats[pick(w, COUNT(formats))]);
}

static void pack_format(Writer *w)
{
    static const char *const formats[] = {"\"<nsd\"", "\">i4zB\"", "\"bs1h\"", "\"!8ds2x\"", "\"i3\"",
                                          "\"zI2\"", "\"c4\"", "\"i16\"", "\"s17\"", "\"dXi4s\""};
    put(w, formats[pick(w, COUNT(formats))]);
}

/* ---- functions ------------------------------------------------------------------------------- */

/* Parameters and body; the keyword and the name stand already. */
static void function_rest(Writer *w, bool method)
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
        "string.upper", "math.max", "tostring", "next", "pcall", "error", "coroutine.yield",
        "table.concat", "setmetatable", "P",
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

static void metatable(Writer *w)
{
    static const char *const events[] = {
        "__index", "__newindex", "__call", "__add", "__sub", "__mul", "__div", "__idiv", "__mod",
        "__pow", "__unm", "__concat", "__len", "__eq", "__lt", "__le", "__iter", "__tostring",
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
    case 'o': rarely(w, 6) ? expression(w, 'n') : small(w); break;
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
static void library_call(Writer *w, char kind)
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

static void own_call(Writer *w)
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
    static const char *const calls[] = {":upper()", ":len()", ":rep(3)", ":sub(2)", ":byte()",
                                        ":reverse()", ":split(' ')", ":missing()"};
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

static void expression(Writer *w, char kind)
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

/* ---- statements ------------------------------------------------------------------------------ */

static char any_kind(Writer *w)
{
    static const char kinds[] = "ntsntFbvcBas";
    return kinds[pick(w, sizeof(kinds) - 1)];
}

static void local_statement(Writer *w)
{
    bool constant = rarely(w, 6);
    unsigned count = 1 + (rarely(w, 4) ? pick(w, 3) : 0), first = w->next_id;
    char kinds[4];
    w->next_id += count;
    put(w, constant ? "const " : "local ");
    for (unsigned i = 0; i < count; i++) {
        kinds[i] = any_kind(w);
        put(w, i > 0 ? ", " : "");
        put_var(w, first + i);
    }
    put(w, " = ");
    for (unsigned i = 0; i < count; i++) {
        put(w, i > 0 ? ", " : "");
        expression(w, kinds[i]);
    }
    for (unsigned i = 0; i < count; i++)
        declare(w, first + i, kinds[i], constant);
}

/* A place to store to; the kind of value that it takes. */
static char target(Writer *w)
{
    if (rarely(w, 3)) {
        const Var *table = find_var(w, 't', false);
        if (table) {
            put_var(w, table->id);
            if (rarely(w, 2)) {
                strbuf_printf(w->out, ".%s", field(w));
                return 'a';
            }
            put(w, "[ ");
            expression(w, rarely(w, 3) ? 's' : 'n');
            put(w, " ]");
            return 'a';
        }
    }
    const Var *var = find_var(w, any_kind(w), true);
    if (var) {
        put_var(w, var->id);
        return var->kind;
    }
    strbuf_printf(w->out, "g%u", pick(w, 4));
    return 'a';
}

static void assignment(Writer *w)
{
    unsigned count = 1 + (rarely(w, 5) ? pick(w, 3) : 0);
    char kinds[4];
    for (unsigned i = 0; i < count; i++) {
        put(w, i > 0 ? ", " : "");
        kinds[i] = target(w);
    }
    put(w, " = ");
    for (unsigned i = 0; i < count; i++) {
        put(w, i > 0 ? ", " : "");
        expression(w, kinds[i]);
    }
}

static void compound(Writer *w)
{
    static const char *const operators[] = {"+=", "-=", "*=", "/=", "//=", "%=", "^=", "..="};
    char kind = target(w);
    unsigned choice = pick(w, COUNT(operators));
    if (kind == 's')
        choice = COUNT(operators) - 1;
    strbuf_printf(w->out, " %s ", operators[choice]);
    expression(w, choice == COUNT(operators) - 1 ? 's' : kind == 'v' ? 'v' : 'n');
}

static void inner(Writer *w)
{
    int vars = w->var_count;
    put(w, " ");
    block(w, 4);
    w->var_count = vars;
}

static void loop_body(Writer *w)
{
    w->loops++;
    put(w, " T()");
    inner(w);
    w->loops--;
}

static void if_statement(Writer *w)
{
    put(w, "if ");
    expression(w, 'b');
    put(w, " then");
    inner(w);
    if (rarely(w, 4)) {
        put(w, "elseif ");
        expression(w, 'b');
        put(w, " then");
        inner(w);
    }
    if (rarely(w, 3)) {
        put(w, "else");
        inner(w);
    }
    put(w, "end");
}

static void numeric_for(Writer *w)
{
    unsigned id = new_name(w);
    int vars = w->var_count;
    put(w, "for ");
    put_var(w, id);
    put(w, " = ");
    rarely(w, 8) ? expression(w, 'n') : small(w);
    put(w, ", ");
    rarely(w, 8) ? expression(w, 'n') : small(w);
    if (rarely(w, 4)) {
        put(w, ", ");
        rarely(w, 4) ? expression(w, 'n') : small(w);
    }
    put(w, " do");
    declare(w, id, 'n', false);
    loop_body(w);
    put(w, "end");
    w->var_count = vars;
}

static void iterated(Writer *w)
{
    switch (pick(w, 6)) {
    case 0:
        put(w, "ipairs(");
        expression(w, 't');
        put(w, ")");
        break;
    case 1:
        put(w, "string.gmatch(");
        expression(w, 's');
        put(w, ", ");
        pattern(w);
        put(w, ")");
        break;
    case 2:
        put(w, "coroutine.wrap(");
        expression(w, 'F');
        put(w, ")");
        break;
    case 3:
        put(w, "utf8.codes(");
        expression(w, 's');
        put(w, ")");
        break;
    default:
        if (w->options->reproducible) {
            put(w, "K(");
            expression(w, 't');
            put(w, ")");
        } else {
            put(w, rarely(w, 2) ? "pairs(" : "(");
            expression(w, 't');
            put(w, ")");
        }
    }
}

static void generic_for(Writer *w)
{
    unsigned first = w->next_id, count = 1 + pick(w, 3);
    int vars = w->var_count;
    w->next_id += count;
    put(w, "for ");
    for (unsigned i = 0; i < count; i++) {
        put(w, i > 0 ? ", " : "");
        put_var(w, first + i);
    }
    put(w, " in ");
    iterated(w);
    put(w, " do");
    for (unsigned i = 0; i < count; i++)
        declare(w, first + i, i == 0 ? 'n' : 'a', false);
    loop_body(w);
    put(w, "end");
    w->var_count = vars;
}

static void conditional_loop(Writer *w)
{
    unsigned id = new_name(w);
    bool repeat = rarely(w, 2);
    strbuf_printf(w->out, "local v%u = 0 ", id);
    if (repeat) {
        put(w, "repeat");
    } else {
        strbuf_printf(w->out, "while v%u < %u and ", id, 1 + pick(w, 6));
        rarely(w, 2) ? expression(w, 'b') : put(w, "true");
        put(w, " do");
    }
    strbuf_printf(w->out, " v%u += 1", id);
    loop_body(w);
    if (repeat)
        strbuf_printf(w->out, "until v%u > %u", id, pick(w, 6));
    else
        put(w, "end");
    declare(w, id, 'n', false);
}

static void function_statement(Writer *w)
{
    unsigned id = new_name(w);
    const Var *table = rarely(w, 2) ? find_var(w, 't', false) : NULL;
    if (table) {
        bool method = rarely(w, 2);
        strbuf_printf(w->out, "function v%u%c%s", table->id, method ? ':' : '.', field(w));
        function_rest(w, method);
        return;
    }
    declare(w, id, 'F', true); /* it may call itself */
    strbuf_printf(w->out, "local function v%u", id);
    function_rest(w, false);
}

static void print_statement(Writer *w)
{
    unsigned count = 1 + pick(w, 3);
    put(w, "P(");
    for (unsigned i = 0; i < count; i++) {
        put(w, i > 0 ? ", " : "");
        expression(w, 'a');
    }
    put(w, ")");
}

static void protected_statement(Writer *w)
{
    bool handled = rarely(w, 3);
    int loops = w->loops;
    bool vararg = w->vararg;
    put(w, handled ? "P(xpcall(function() " : "P(pcall(function() ");
    w->loops = 0;
    w->vararg = false;
    inner(w);
    w->loops = loops;
    w->vararg = vararg;
    put(w, "end");
    if (handled) {
        put(w, ", ");
        if (w->options->reproducible || rarely(w, 2))
            expression(w, 'F');
        else
            put(w, "debug.traceback");
    }
    put(w, "))");
}

static void coroutine_statement(Writer *w)
{
    unsigned id = new_name(w);
    strbuf_printf(w->out, "local v%u = coroutine.create(", id);
    expression(w, 'F');
    put(w, ") ");
    for (unsigned i = pick(w, 4); i > 0; i--) {
        strbuf_printf(w->out, "P(coroutine.resume(v%u, ", id);
        expression(w, 'a');
        put(w, ")) ");
    }
    if (rarely(w, 3))
        strbuf_printf(w->out, "P(coroutine.close(v%u)) ", id);
    strbuf_printf(w->out, "P(coroutine.status(v%u))", id);
    declare(w, id, 'c', false);
}

/* A chunk of its own: it sees no locals but those of the head. */
static void loaded_statement(Writer *w)
{
    if (is_full(w) || w->blocks + 1 >= BLOCK_DEPTH)
        return put(w, "P(loadstring('return 1 +'))");
    Writer chunk = {.out = w->out, .in = w->in, .options = w->options, .next_id = w->next_id,
                    .blocks = w->blocks + 1};
    char level[] = "====================";
    level[10 - w->blocks] = '\0';
    strbuf_printf(w->out, "P(pcall(loadstring([%s[local T, P, K = ... ", level);
    block(&chunk, 4);
    strbuf_printf(w->out, "]%s]), T, P, K))", level);
    w->next_id = chunk.next_id;
}

static void call_statement(Writer *w)
{
    switch (pick(w, 4)) {
    case 0: library_call(w, 'a'); break;
    case 1: {
        const Var *var = find_var(w, 't', false);
        if (var) {
            strbuf_printf(w->out, "setmetatable(v%u, ", var->id);
            metatable(w);
            put(w, ")");
            return;
        }
        put(w, "P(1)");
        break;
    }
    case 2:
        put(w, "P(");
        library_call(w, 'a');
        put(w, ")");
        break;
    default:
        put(w, "P(");
        own_call(w);
        put(w, ")");
    }
}

static void jump_statement(Writer *w)
{
    if (w->loops > 0 && rarely(w, 2)) {
        put(w, "if ");
        expression(w, 'b');
        put(w, rarely(w, 2) ? " then break end" : " then continue end");
    } else if (rarely(w, 3)) {
        put(w, "error(");
        expression(w, 'a');
        put(w, ")");
    } else {
        put(w, "if ");
        expression(w, 'b');
        put(w, " then return ");
        expression(w, 'a');
        put(w, " end");
    }
}

static void statement(Writer *w)
{
    static void (*const leaves[])(Writer *) = {
        print_statement, local_statement, assignment, compound, call_statement, jump_statement,
    };
    static void (*const nested[])(Writer *) = {
        if_statement,        numeric_for,         generic_for,         conditional_loop,
        function_statement,  protected_statement, protected_statement, coroutine_statement,
        loaded_statement,    local_statement,     print_statement,     assignment,
    };
    if (w->blocks >= BLOCK_DEPTH || rarely(w, 3))
        leaves[pick(w, COUNT(leaves))](w);
    else
        nested[pick(w, COUNT(nested))](w);
}

static void block(Writer *w, int statements_max)
{
    if (w->blocks >= BLOCK_DEPTH || is_full(w))
        return;
    int vars = w->var_count, depth = w->depth;
    w->blocks++;
    w->depth = 0;
    int count = (int)pick(w, (unsigned)statements_max + 1);
    for (int i = 0; i < count && !is_full(w); i++) {
        statement(w);
        gap(w);
    }
    w->blocks--;
    w->depth = depth;
    w->var_count = vars;
}

void program_write(Strbuf *out, FuzzBytes *input, const ProgramOptions *options)
{
    Writer w = {.out = out, .in = input, .options = options, .vararg = true};
    /* Stored to once more, so that the functions that use it are new objects each time at all levels
     * of optimisation. */
    put(&w, "local T, P, K = ... T = T math.randomseed(7)");
    while (bytes_left(input) && out->length < PROGRAM_BYTES_MAX) {
        put(&w, " P(pcall(function(...) "); /* what fails does not end the program */
        for (int i = 0; i < GROUP_STATEMENTS && !is_full(&w); i++) {
            statement(&w);
            gap(&w);
        }
        put(&w, "end, T, P))");
        w.var_count = 0;
    }
}
