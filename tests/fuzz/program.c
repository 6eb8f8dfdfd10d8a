/* program.c: writes a program as a recursive descent would read one: each production takes a byte
 * or two to choose among its alternatives, and the least one when the input is used up.
 *
 * Expressions are asked for by kind and variables remember theirs, so that most of what is written
 * works; now and then the kind is another than asked for. Names are unique, so scopes are a matter
 * of a list that is cut where a block ends. */
#include "program.h"

#include "program_writer.h"

enum { GROUP_STATEMENTS = 6 };

/* Between statements. */
static void gap(Writer *w)
{
    put(w, w->options->reproducible || pick(w, 4) ? " " : "\n");
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
    Writer chunk = {.out = w->out,
                    .in = w->in,
                    .options = w->options,
                    .next_id = w->next_id,
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
        if_statement,       numeric_for,         generic_for,         conditional_loop,
        function_statement, protected_statement, protected_statement, coroutine_statement,
        loaded_statement,   local_statement,     print_statement,     assignment,
    };
    if (w->blocks >= BLOCK_DEPTH || rarely(w, 3))
        leaves[pick(w, COUNT(leaves))](w);
    else
        nested[pick(w, COUNT(nested))](w);
}

void block(Writer *w, int statements_max)
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
    /* Stored to once more, so that the functions that use it are new objects each time at all
     * levels of optimisation. */
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
