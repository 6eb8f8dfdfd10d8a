/* program_text.c: choices, variables and literals of the program writer. */
#include "program_writer.h"

void put(Writer *w, const char *text)
{
    strbuf_puts(w->out, text);
}

unsigned pick(Writer *w, unsigned n)
{
    return bytes_below(w->in, n);
}

bool rarely(Writer *w, unsigned n)
{
    return bytes_u8(w->in) % n == 1;
}

bool is_full(const Writer *w)
{
    return w->out->length > PROGRAM_BYTES_MAX || !bytes_left(w->in);
}

/* ---- variables ------------------------------------------------------------------------------- */

unsigned new_name(Writer *w)
{
    return w->next_id++;
}

void declare(Writer *w, unsigned id, char kind, bool constant)
{
    if (w->var_count < VARS_MAX)
        w->vars[w->var_count++] = (Var){id, kind, constant};
}

const Var *find_var(Writer *w, char kind, bool assignable)
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

void put_var(Writer *w, unsigned id)
{
    strbuf_printf(w->out, "v%u", id);
}

const char *field(Writer *w)
{
    static const char *const names[] = {"x", "y", "z", "n", "a", "name", "value", "next"};
    return names[pick(w, COUNT(names))];
}

/* ---- literals -------------------------------------------------------------------------------- */

void number(Writer *w)
{
    static const char *const numbers[] = {
        "0",   "1",    "2",          "3",          "-1",    "0.5",   "10",
        "255", "1e15", "-0",         "0x7fffffff", "2^53",  "1/0",   "-1/0",
        "0/0", "1e-7", "4294967296", "0b1011",     "1_000", "1e308",
    };
    put(w, numbers[pick(w, COUNT(numbers))]);
}

void small(Writer *w)
{
    static const char *const numbers[] = {"1", "2", "3",  "0",  "-1", "4",
                                          "5", "8", "16", "-3", "40"};
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

void string(Writer *w)
{
    static const char *const strings[] = {
        "\"\"",          "\"a\"",
        "'abc'",         "\"x y z\"",
        "\"12\"",        "\"0x1p4\"",
        "[[a\\b]]",      "[==[]]]==]",
        "\"\\0\\255\"",  "\"\\u{20AC}\\u{1F600}\"",
        "\"aXbXc\"",     "\"key=value, k2=v2\"",
        "\"(a)(b)(c)\"", "\"a much longer string than the others that takes a block of its own\"",
    };
    unsigned choice = pick(w, COUNT(strings) + 6);
    if (choice < COUNT(strings))
        put(w, strings[choice]);
    else
        quoted_bytes(w);
}

void pattern(Writer *w)
{
    static const char *const patterns[] = {
        "\"a\"",       "\".\"",     "\"%a+\"",       "\"(%w+)=(%w+)\"",
        "\"^(.-)%s\"", "\"%b()\"",  "\"%f[%w]%w+\"", "\"[^X]*\"",
        "\"()\"",      "\"(.)%1\"", "\"%d*$\"",      "\"[%z\\1-\\31]\"",
        "\".-b\"",     "\"%\"",     "\"[a\"",        "\"(\"",
    };
    if (rarely(w, 8))
        quoted_bytes(w);
    else
        put(w, patterns[pick(w, COUNT(patterns))]);
}

void format_text(Writer *w)
{
    static const char *const formats[] = {
        "\"%s %s\"",  "\"%d\"", "\"%5.2f|%g\"", "\"%x %X %o\"", "\"%q\"", "\"%c%c\"",
        "\"%-10s|\"", "\"%%\"", "\"%.3s\"",     "\"%i %u\"",    "\"%e\"", "\"%y\"",
    };
    if (!w->options->reproducible && rarely(w, 4))
        put(w, "\"%* %*\"");
    else
        put(w, formats[pick(w, COUNT(formats))]);
}

void pack_format(Writer *w)
{
    static const char *const formats[] = {"\"<nsd\"", "\">i4zB\"", "\"bs1h\"", "\"!8ds2x\"",
                                          "\"i3\"",   "\"zI2\"",   "\"c4\"",   "\"i16\"",
                                          "\"s17\"",  "\"dXi4s\""};
    put(w, formats[pick(w, COUNT(formats))]);
}
