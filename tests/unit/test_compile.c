/* test_compile.c: the compiler: code of small chunks as listings, limits, the checker of code over
 * many programs, memory caps, cancelling. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "luau/compile.h"
#include "luau/luau.h"

/* ---- Tools ----------------------------------------------------------------------------------- */

typedef struct Text {
    char data[1 << 16];
    size_t length;
} Text;

static void add(Text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(Text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text->data + text->length, sizeof(text->data) - text->length, format, args);
    va_end(args);
    assert_true(n >= 0 && (size_t)n < sizeof(text->data) - text->length);
    text->length += (size_t)n;
}

static void append(const char *data, size_t length, void *userdata)
{
    add(userdata, "%.*s", (int)length, data);
}

static luau_Image *image;

static int open_image(void **state)
{
    (void)state;
    image = luau_image_standard();
    return image ? 0 : -1;
}

static int close_image(void **state)
{
    (void)state;
    luau_image_release(image);
    return 0;
}

static luau_Module *compile_at(const char *source, int optimization, luau_Diagnostic *diagnostic)
{
    luau_CompileOptions options;
    luau_compile_defaults(&options);
    options.optimization = optimization;
    options.image = image;
    return luau_compile(source, strlen(source), "=t", &options, diagnostic);
}

/* Compiles at every level; every function must be well-formed. */
static void check_verifies(const char *source)
{
    for (int level = 0; level <= 2; level++) {
        luau_Diagnostic diagnostic;
        luau_Module *module = compile_at(source, level, &diagnostic);
        if (!module)
            fail_msg("%s (line %d) in:\n%s", diagnostic.message, diagnostic.line, source);
        for (int i = 0; i < module->proto_count; i++) {
            const char *fault = luC_verify(module->protos[i]);
            if (fault)
                fail_msg("-O%d: %s in:\n%s", level, fault, source);
        }
        assert_ptr_equal(module->main, module->protos[module->proto_count - 1]);
        luau_module_release(module);
    }
}

/* The code of the function that the chunk compiles last, main: instructions only, one a line, with
 * single blanks. */
static void check_code_at(const char *source, int level, const char *want)
{
    static Text listing, got;
    luau_Diagnostic diagnostic;
    luau_Module *module = compile_at(source, level, &diagnostic);
    if (!module)
        fail_msg("%s in: %s", diagnostic.message, source);
    listing.length = got.length = 0;
    luC_list(module->main, append, &listing);
    luau_module_release(module);
    char *line = strchr(listing.data, '\n') + 1; /* after the title */
    for (char *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        int skip = 0;
        *end = '\0';
        sscanf(line, "%*d %*d %n", &skip);
        if (strncmp(line + skip, "PREPVARARGS", 11) == 0)
            continue;
        bool blank = false;
        for (const char *p = line + skip; *p; p++) {
            if (*p != ' ')
                add(&got, "%s%c", blank ? " " : "", *p);
            blank = *p == ' ';
        }
        add(&got, "\n");
    }
    if (strcmp(got.data, want) != 0)
        fail_msg("-O%d code of: %s\ngot:\n%s\nwant:\n%s", level, source, got.data, want);
}

static void check_code(const char *source, const char *want)
{
    check_code_at(source, 1, want);
}

static void check_error(const char *source, int line, const char *message)
{
    luau_Diagnostic diagnostic;
    luau_Module *module = compile_at(source, 1, &diagnostic);
    assert_null(module);
    assert_string_equal(diagnostic.message, message);
    assert_int_equal(diagnostic.line, line);
}

static void check_compiles(const char *source)
{
    luau_Diagnostic diagnostic;
    luau_Module *module = compile_at(source, 1, &diagnostic);
    if (!module)
        fail_msg("%s (line %d)", diagnostic.message, diagnostic.line);
    luau_module_release(module);
}

/* ---- Code ------------------------------------------------------------------------------------ */

static void test_arithmetic(void **state)
{
    (void)state;
    check_code("local a = f() a = a + 1 a = 2 - a a = a * a a += 3",
               "GETGLOBAL 0 0 [0] ; 'f'\nCALL 0 1 2\nADDK 0 0 1 ; 1\nKSUB 0 2 0 ; 2\nMUL 0 0 0\n"
               "ADDK 0 0 3 ; 3\nRETURN0 0 0 0\n");
    check_code("local a, b = ... local c = a .. b .. 'x'",
               "GETVARARGS 0 3 0\nMOVE 3 0 0\nMOVE 4 1 0\nLOADK 5 0 ; 'x'\nCONCAT 2 3 5\n"
               "RETURN0 0 0 0\n");
    check_code("local a = ... local s = `x{a}y{1}{a}`",
               "GETVARARGS 0 2 0\nLOADK 2 0 ; 'x'\nMOVE 3 0 0\nLOADK 4 1 ; 'y1'\nMOVE 5 0 0\n"
               "TOSTRING 3 3 0\nTOSTRING 5 5 0\nCONCAT 1 2 5\nRETURN0 0 0 0\n");
}

static void test_folding(void **state)
{
    (void)state;
    check_code("local a = 2 local b = a * 3 return b + 1, 'x' .. 1, #'abc', not nil, 1 < 2",
               "LOADN 0 7\nLOADK 1 0 ; 'x1'\nLOADN 2 3\nLOADB 3 1 0\nLOADB 4 1 0\nRETURN 0 6 0\n");
    check_code("return -0, 0, -5 % 3, 5 % (1/0), 2^10, 1 // 0",
               "LOADK 0 0 ; -0\nLOADN 1 0\nLOADN 2 1\nLOADK 3 1 ; nan\nLOADN 4 1024\n"
               "LOADK 5 2 ; inf\nRETURN 0 7 0\n");
    check_code("local debug = false if debug then f() elseif not debug then g() end",
               "GETGLOBAL 0 0 [0] ; 'g'\nCALL 0 1 1\nRETURN0 0 0 0\n");
    check_code("return (true and f()), if nil then 1 else 2",
               "GETGLOBAL 0 0 [0] ; 'f'\nCALL 0 1 2\nLOADN 1 2\nRETURN 0 3 0\n");
    check_code("local a = nil + 1", /* errors stay */
               "LOADNIL 1 0 0\nADDK 0 1 0 ; 1\nRETURN0 0 0 0\n");
    check_code_at("local a = 2 return a * 3", 0, "LOADN 0 2\nMULK 1 0 0 ; 3\nRETURN1 1 0 0\n");
    check_code("--!optimize 0\nlocal a = 2 return a * 3",
               "LOADN 0 2\nMULK 1 0 0 ; 3\nRETURN1 1 0 0\n");
}

static void test_conditions(void **state)
{
    (void)state;
    check_code("local a, b = ... if a and (b == nil or b > 3) and not (a == 'x') then f() end",
               "GETVARARGS 0 3 0\nJUMPIFNOT 0 -> 11\nJUMPIFNIL 1 -> 6\n"
               "JUMPIFNOTGTK 1 -> 11 [0] ; 3\nJUMPIFEQK 0 -> 11 [1] ; 'x'\n"
               "GETGLOBAL 2 0 [2] ; 'f'\nCALL 2 1 1\nRETURN0 0 0 0\n");
    check_code("local a, b = ... return a < b",
               "GETVARARGS 0 3 0\nJUMPIFLT 0 -> 5 [1]\nLOADB 2 0 1\nLOADB 2 1 0\nRETURN1 2 0 0\n");
    check_code("local a, b = ... return a and b, a or 5, a and b or 7",
               "GETVARARGS 0 3 0\nAND 2 0 1\nORK 3 0 0 ; 5\nJUMPIFNOT 0 -> 7\nMOVE 4 1 0\n"
               "JUMPIF 4 -> 8\nLOADN 4 7\nRETURN 2 4 0\n");
    check_code("local a = ... return 1 < a, a ~= true",
               "GETVARARGS 0 2 0\nJUMPIFGTK 0 -> 5 [0] ; 1\nLOADB 1 0 1\nLOADB 1 1 0\n"
               "JUMPIFNOTBOOL 0 -> 9 [1]\nLOADB 2 0 1\nLOADB 2 1 0\nRETURN 1 3 0\n");
}

static void test_loops(void **state)
{
    (void)state;
    check_code("local t = ... for i = 1, #t do t[i] = i end",
               "GETVARARGS 0 2 0\nLOADN 3 1\nLENGTH 1 0 0\nLOADN 2 1\nFORNPREP 1 -> 8\n"
               "SETTABLE 3 0 3\nFORNLOOP 1 -> 6\nRETURN0 0 0 0\n");
    check_code("while f() do if g() then break end end",
               "GETGLOBAL 0 0 [0] ; 'f'\nCALL 0 1 2\nJUMPIFNOT 0 -> 10\nGETGLOBAL 0 0 [1] ; 'g'\n"
               "CALL 0 1 2\nJUMPIF 0 -> 10\nJUMPBACK 0 -> 1\nRETURN0 0 0 0\n");
    check_code("for k, v in next, f do v() end",
               "GETIMPORT 0 1 ; next = function\nGETGLOBAL 1 0 [2] ; 'f'\nLOADNIL 2 0 0\n"
               "FORGPREP 0 -> 9\nMOVE 5 4 0\nCALL 5 1 1\nFORGLOOP 0 -> 7 [2]\nRETURN0 0 0 0\n");
    /* a captured variable that changes is closed each turn; one that does not needs nothing */
    check_code("for i = 1, 3 do local j = f() j += 1 g(function() return i + j end) end",
               "LOADN 2 1\nLOADN 0 3\nLOADN 1 1\nFORNPREP 0 -> 17\nGETGLOBAL 3 0 [0] ; 'f'\n"
               "CALL 3 1 2\nADDK 3 3 1 ; 1\nGETGLOBAL 4 0 [2] ; 'g'\n"
               "NEWCLOSURE 5 0 ; function, line 1\nCAPTURE 0 2 0 ; register\n"
               "CAPTURE 1 3 0 ; register by reference\nCALL 4 2 1\nCLOSEUPVALS 3 0 0\n"
               "FORNLOOP 0 -> 5\nRETURN0 0 0 0\n");
    check_code("repeat local x = f() until x == g or x",
               "GETGLOBAL 0 0 [0] ; 'f'\nCALL 0 1 2\nGETGLOBAL 1 0 [1] ; 'g'\n"
               "JUMPIFEQ 0 -> 10 [1]\nJUMPIF 0 -> 10\nJUMPBACK 0 -> 1\nRETURN0 0 0 0\n");
}

static void test_calls(void **state)
{
    (void)state;
    check_code("local s = ... s:find('x', f())",
               "GETVARARGS 0 2 0\nLOADK 3 0 ; 'x'\nGETGLOBAL 4 0 [1] ; 'f'\nCALL 4 1 0\n"
               "NAMECALL 1 0 [2] ; 'find'\nCALL 1 0 1\nRETURN0 0 0 0\n");
    check_code("local x = ... local y = math.floor(x)",
               "GETVARARGS 0 2 0\nFASTCALL1 math.floor 0 3\nMOVE 2 0 0\n"
               "GETIMPORT 1 2 ; math.floor = function\nCALL 1 2 2\nRETURN0 0 0 0\n");
    check_code("local max = math.max local x = ... x = max(x, 5)",
               "GETIMPORT 0 2 ; math.max = function\nGETVARARGS 1 2 0\n"
               "FASTCALL2K math.max 1 4 [3] ; 5\nMOVE 3 1 0\nLOADN 4 5\nMOVE 2 0 0\n"
               "CALL 2 3 2\nMOVE 1 2 0\nRETURN0 0 0 0\n");
    check_code("return math.max(...)",
               "GETVARARGS 1 0 0\nFASTCALL math.max 0 2\n"
               "GETIMPORT 0 2 ; math.max = function\nCALL 0 0 0\nRETURN 0 0 0\n");
    /* a name that the chunk assigns is no library name */
    check_code("math = f return math.floor(1)",
               "GETGLOBAL 0 0 [1] ; 'f'\nSETGLOBAL 0 0 [0] ; 'math'\nGETGLOBAL 0 0 [0] ; 'math'\n"
               "GETTABLEKS 0 0 [2] ; 'floor'\nLOADN 1 1\nCALL 0 2 0\nRETURN 0 0 0\n");
    check_code("local a, b = f() return a, b",
               "GETGLOBAL 0 0 [0] ; 'f'\nCALL 0 1 3\nRETURN 0 3 0\n");
}

static void test_tables(void **state)
{
    (void)state;
    check_code("return {a = 1, b = f}",
               "DUPTABLE 0 0 ; 'a' 'b'\nLOADN 1 1\nSETTABLEKS 1 0 [0] ; 'a'\n"
               "GETGLOBAL 1 0 [1] ; 'f'\nSETTABLEKS 1 0 [2] ; 'b'\nRETURN1 0 0 0\n");
    check_code("return {1, 2, x = 3, ...}",
               "NEWTABLE 0 1 0 [2]\nLOADN 1 1\nLOADN 2 2\nSETLIST 0 1 3 [1]\nLOADN 4 3\n"
               "SETTABLEKS 4 0 [0] ; 'x'\nGETVARARGS 1 0 0\nSETLIST 0 1 0 [3]\nRETURN1 0 0 0\n");
    check_code("return {[1] = f, [2] = f}",
               "NEWTABLE 0 0 0 [2]\nGETGLOBAL 1 0 [0] ; 'f'\nSETTABLEN 1 0 0\n"
               "GETGLOBAL 1 0 [0] ; 'f'\nSETTABLEN 1 0 1\nRETURN1 0 0 0\n");
    check_code("local t = {} t.x = 1 t.y = 2 t.x = 3 function t.z() end t[1] = 0 t[2] = 0",
               "NEWTABLE 0 3 0 [2]\nLOADN 1 1\nSETTABLEKS 1 0 [0] ; 'x'\nLOADN 1 2\n"
               "SETTABLEKS 1 0 [1] ; 'y'\nLOADN 1 3\nSETTABLEKS 1 0 [0] ; 'x'\n"
               "DUPCLOSURE 1 0 [0] ; z, line 1\nSETTABLEKS 1 0 [2] ; 'z'\nLOADN 1 0\n"
               "SETTABLEN 1 0 0\nLOADN 1 0\nSETTABLEN 1 0 1\nRETURN0 0 0 0\n");
    check_code("local t = {} for i = 1, 12 do t[i] = i end",
               "NEWTABLE 0 0 0 [12]\nLOADN 3 1\nLOADN 1 12\nLOADN 2 1\nFORNPREP 1 -> 9\n"
               "SETTABLE 3 0 3\nFORNLOOP 1 -> 7\nRETURN0 0 0 0\n");
}

static void test_assignments(void **state)
{
    (void)state;
    check_code("local a, b = ... a, b = b, a",
               "GETVARARGS 0 3 0\nMOVE 2 1 0\nMOVE 1 0 0\nMOVE 0 2 0\nRETURN0 0 0 0\n");
    check_code("local i, t = ... i, t[i] = i + 1, 20",
               "GETVARARGS 0 3 0\nADDK 2 0 0 ; 1\nLOADN 3 20\nSETTABLE 3 1 0\nMOVE 0 2 0\n"
               "RETURN0 0 0 0\n");
    check_code("local a, t = ... t.x, a = a, 5", /* t.x gets the old a */
               "GETVARARGS 0 3 0\nMOVE 2 0 0\nLOADN 0 5\nSETTABLEKS 2 1 [0] ; 'x'\n"
               "RETURN0 0 0 0\n");
    check_code("local t, k = ... t[k()] += 1",
               "GETVARARGS 0 3 0\nMOVE 2 1 0\nCALL 2 1 2\nGETTABLE 3 0 2\nADDK 3 3 0 ; 1\n"
               "SETTABLE 3 0 2\nRETURN0 0 0 0\n");
}

static void test_closures(void **state)
{
    (void)state;
    check_code("local function f(n) return f(n) end", /* captures itself by value */
               "DUPCLOSURE 0 0 [0] ; f, line 1\nCAPTURE 0 0 0 ; register\nRETURN0 0 0 0\n");
    check_code("local a = f() return function() a += 1 return a end",
               "GETGLOBAL 0 0 [0] ; 'f'\nCALL 0 1 2\nNEWCLOSURE 1 0 ; function, line 1\n"
               "CAPTURE 1 0 0 ; register by reference\nRETURN1 1 0 0\n");
    /* a function without upvalues is made once */
    check_code("while x do f(function() end) end",
               "GETGLOBAL 0 0 [0] ; 'x'\nJUMPIFNOT 0 -> 10\nGETGLOBAL 0 0 [1] ; 'f'\n"
               "DUPCLOSURE 1 0 [0] ; function, line 1\nCALL 0 2 1\nJUMPBACK 0 -> 1\n"
               "RETURN0 0 0 0\n");
}

/* ---- Lines ----------------------------------------------------------------------------------- */

static int line_of(const Proto *p, OpCode op)
{
    for (int pc = 0; pc < p->code_count; pc++)
        if (INSTR_OP(p->code[pc]) == op)
            return luM_line(p, pc);
    return -1;
}

static void check_line(const char *source, OpCode op, int line)
{
    luau_Diagnostic diagnostic;
    luau_Module *module = compile_at(source, 1, &diagnostic);
    assert_non_null(module);
    if (line_of(module->main, op) != line)
        fail_msg("line %d, not %d, in:\n%s", line_of(module->main, op), line, source);
    luau_module_release(module);
}

static void test_lines(void **state)
{
    (void)state;
    check_line("local f = ...\nf(\n1\n)", OP_CALL, 2);
    check_line("local t = ...\nt\n:m(\n1)", OP_CALL, 3);
    check_line("local t = ...\nlocal x =\nt\n.a", OP_GETTABLEKS, 4);
    check_line("local x =\nfoo\n.bar\n.baz", OP_GETTABLEKS, 2);
    check_line("local a, b = ...\nlocal c = a\n+\nb", OP_ADD, 2);
    check_line("local a = ...\nlocal c = a\n+\nb", OP_ADD, 4);
    check_line("local a = ...\na.x\n=\nf()", OP_SETTABLEKS, 2);
    check_line("for i = 1,\n3 do\n  f()\nend", OP_FORNLOOP, 1);
    check_line("local x = {\n1,\na =\n2}", OP_SETTABLEKS, 4);
    /* far apart: more than the deltas of one base hold */
    static Text text;
    text.length = 0;
    add(&text, "f()");
    for (int i = 0; i < 1000; i++)
        add(&text, "\n");
    add(&text, "local x = nil + 1 f()");
    for (int i = 0; i < 40000; i++)
        add(&text, "\n");
    add(&text, "local t = -y");
    check_line(text.data, OP_ADDK, 1001);
    check_line(text.data, OP_MINUS, 41001);
}

/* ---- Limits ---------------------------------------------------------------------------------- */

static char *repeated(const char *start, int count, const char *format, const char *end)
{
    size_t room = strlen(start) + strlen(end) + (size_t)count * (strlen(format) + 12) + 1;
    char *text = malloc(room);
    assert_non_null(text);
    size_t n = (size_t)snprintf(text, room, "%s", start);
    for (int i = 1; i <= count; i++) {
        for (const char *p = format; *p; p++) {
            if (*p == '#')
                n += (size_t)snprintf(text + n, room - n, "%d", i);
            else
                text[n++] = *p;
        }
    }
    snprintf(text + n, room - n, "%s", end);
    return text;
}

static void check_limit(int most, const char *start, const char *format, const char *end, int line,
                        const char *message)
{
    char *fits = repeated(start, most, format, end);
    check_compiles(fits);
    free(fits);
    char *over = repeated(start, most + 1, format, end);
    check_error(over, line, message);
    free(over);
}

static void test_limits(void **state)
{
    (void)state;
    check_limit(200, "", "local a# = f()\n", "", 201,
                "Out of local registers when trying to allocate a201: exceeded limit 200");
    check_limit(253, "f(x", ",x", ")", 1,
                "Out of registers when trying to allocate 256 registers: exceeded limit 255");
    check_limit(253, "return x", ",x", "", 1,
                "Exceeded return count limit; simplify the code to compile");
    check_limit(253, "g0", ",g#", " = 1", 1,
                "Exceeded result count limit; simplify the code to compile");
    check_limit(253, "x = y", "..y", "", 1,
                "Out of registers when trying to allocate 255 registers: exceeded limit 255");
    check_limit(32768, "", "f(function() end)\n", "", 32769,
                "Exceeded closure limit; simplify the code to compile");
    check_error("repeat\nif y then continue end\nlocal x = 1\nuntil\nx == 1", 5,
                "Local x used in the repeat..until condition is undefined because continue "
                "statement on line 2 jumps over it");
    check_compiles("repeat local x = f() if y then continue end until x == 1");
    char *constants = repeated("", 300, "local a# = #\n", "");
    check_compiles(constants);
    free(constants);
}

static void test_far_jumps(void **state)
{
    (void)state;
    char *branch = repeated("local x = ... if x then ", 20000, "y = z ", "else y = 1 end");
    check_verifies(branch);
    free(branch);
    char *loop = repeated("for i = 1, 2 do if a then continue end ", 20000, "y = z ",
                          "if b then break end end while x do for k in y do ");
    size_t n = strlen(loop);
    char *more = repeated(loop, 20000, "y = z ", "if b then break end end end");
    assert_true(strlen(more) > n);
    check_verifies(more);
    free(loop);
    free(more);
}

/* ---- Many programs --------------------------------------------------------------------------- */

/* Random programs that are right by construction, from a seed. */
typedef struct Writer {
    Text text;
    uint32_t seed;
    int depth, loops;
} Writer;

static uint32_t random_below(Writer *w, uint32_t n)
{
    w->seed = w->seed * 1664525 + 1013904223;
    return (w->seed >> 8) % n;
}

static void write_block(Writer *w);
static void write_body(Writer *w);

static const char *const names[] = {"a", "b", "c", "d", "x", "y", "math", "print", "t"};
#define PICK(w, list) ((list)[random_below((w), sizeof(list) / sizeof(*(list)))])

static void write_expr(Writer *w);

static void write_table(Writer *w)
{
    add(&w->text, "{");
    for (uint32_t n = random_below(w, 5); n > 0; n--) {
        switch (random_below(w, 3)) {
        case 0: add(&w->text, "%s = ", PICK(w, names)); break;
        case 1:
            add(&w->text, "[");
            write_expr(w);
            add(&w->text, "] = ");
            break;
        default: break;
        }
        write_expr(w);
        add(&w->text, ", ");
    }
    add(&w->text, "}");
}

static void write_call(Writer *w)
{
    static const char *const libraries[] = {"math.max",    "math.floor", "select",       "type",
                                            "string.byte", "tostring",   "vector.create"};
    add(&w->text, "%s(", random_below(w, 2) ? PICK(w, names) : PICK(w, libraries));
    for (uint32_t n = random_below(w, 4); n > 0; n--) {
        write_expr(w);
        add(&w->text, ", ");
    }
    write_expr(w);
    add(&w->text, ")");
}

static void write_expr(Writer *w)
{
    static const char *const literals[] = {"nil", "true", "false", "1",  "0.5", "-3",   "1e300",
                                           "'s'", "''",   "...",   "{}", "2",   "65536"};
    static const char *const binary[] = {"+",  "-", "*",  "/", "//", "%",   "^",  "..",  "==",
                                         "~=", "<", "<=", ">", ">=", "and", "or", "and", "or"};
    if (w->depth > 6 || w->text.length > 4000) {
        add(&w->text, "%s ", random_below(w, 2) ? PICK(w, names) : PICK(w, literals));
        return;
    }
    w->depth++;
    switch (random_below(w, 14)) {
    case 0: add(&w->text, "%s ", PICK(w, literals)); break;
    case 1:
    case 2: add(&w->text, "%s ", PICK(w, names)); break;
    case 3:
    case 4:
        write_expr(w);
        add(&w->text, " %s ", PICK(w, binary));
        write_expr(w);
        break;
    case 5:
        add(&w->text, "(");
        write_expr(w);
        add(&w->text, ")");
        break;
    case 6:
        add(&w->text, "%s ", PICK(w, ((const char *const[]){"not", "-", "#"})));
        write_expr(w);
        break;
    case 7: add(&w->text, "%s.%s ", PICK(w, names), PICK(w, names)); break;
    case 8:
        add(&w->text, "%s[", PICK(w, names));
        write_expr(w);
        add(&w->text, "]");
        break;
    case 9: write_call(w); break;
    case 10: write_table(w); break;
    case 11:
        add(&w->text, "(if ");
        write_expr(w);
        add(&w->text, " then ");
        write_expr(w);
        add(&w->text, " else ");
        write_expr(w);
        add(&w->text, ")");
        break;
    case 12:
        add(&w->text, "function");
        write_body(w);
        break;
    default:
        add(&w->text, "`%s{ ", PICK(w, names));
        write_expr(w);
        add(&w->text, "}`");
        break;
    }
    w->depth--;
}

static void write_loop(Writer *w)
{
    w->loops++;
    switch (random_below(w, 4)) {
    case 0:
        add(&w->text, "while ");
        write_expr(w);
        add(&w->text, " do ");
        write_block(w);
        add(&w->text, "end\n");
        break;
    case 1:
        add(&w->text, "for %s = 1, ", PICK(w, names));
        write_expr(w);
        add(&w->text, " do ");
        write_block(w);
        add(&w->text, "end\n");
        break;
    case 2:
        add(&w->text, "for %s, %s in ", PICK(w, names), PICK(w, names));
        write_expr(w);
        add(&w->text, " do ");
        write_block(w);
        add(&w->text, "end\n");
        break;
    default: {
        int loops = --w->loops; /* no continue: it might jump over a local of the condition */
        w->loops = 0;
        add(&w->text, "repeat ");
        write_block(w);
        w->loops = loops;
        add(&w->text, " until ");
        write_expr(w);
        add(&w->text, "\n");
        return;
    }
    }
    w->loops--;
}

static void write_stat(Writer *w)
{
    switch (random_below(w, 10)) {
    case 0:
    case 1:
        add(&w->text, "local %s, %s = ", PICK(w, names), PICK(w, names));
        write_expr(w);
        break;
    case 2:
        add(&w->text, "local %s = ", PICK(w, names));
        write_expr(w);
        break;
    case 3:
        add(&w->text, "%s, %s[", PICK(w, names), PICK(w, names));
        write_expr(w);
        add(&w->text, "], %s.%s = ", PICK(w, names), PICK(w, names));
        write_expr(w);
        add(&w->text, ", ");
        write_expr(w);
        break;
    case 4:
        add(&w->text, "%s %s ", PICK(w, names),
            PICK(w, ((const char *const[]){"+=", "..=", "=", "//="})));
        write_expr(w);
        break;
    case 5:
        add(&w->text, "if ");
        write_expr(w);
        add(&w->text, " then ");
        write_block(w);
        if (random_below(w, 2)) {
            add(&w->text, "else ");
            write_block(w);
        }
        add(&w->text, "end");
        break;
    case 6: write_loop(w); break;
    case 7:
        add(&w->text, "local function %s", PICK(w, names));
        write_body(w);
        break;
    case 8:
        add(&w->text, "%s:%s(", PICK(w, names), PICK(w, names));
        write_expr(w);
        add(&w->text, ")");
        break;
    default:
        add(&w->text, "function %s.%s", PICK(w, names), PICK(w, names));
        write_body(w);
        break;
    }
    add(&w->text, ";\n");
}

static void write_block(Writer *w)
{
    static const char *const ends[] = {"return ...", "break", "continue", "return a, b", "", ""};
    w->depth++;
    for (uint32_t n = w->depth > 5 ? 1 : random_below(w, 4); n > 0 && w->text.length < 8000; n--)
        write_stat(w);
    const char *end = PICK(w, ends);
    if (w->loops > 0 || (*end != 'b' && *end != 'c'))
        add(&w->text, "%s ", end);
    w->depth--;
}

/* Parameters and block of a function; its loops are its own. */
static void write_body(Writer *w)
{
    int loops = w->loops;
    w->loops = 0;
    add(&w->text, "(%s, ...) ", PICK(w, names));
    write_block(w);
    add(&w->text, " end ");
    w->loops = loops;
}

static void test_random_programs(void **state)
{
    (void)state;
    static Writer w;
    for (uint32_t i = 0; i < 3000; i++) {
        w.text.length = 0;
        w.text.data[0] = '\0';
        w.seed = i * 7919;
        w.depth = w.loops = 0;
        for (int n = 0; n < 6; n++)
            write_stat(&w);
        check_verifies(w.text.data);
    }
}

/* ---- Running out ----------------------------------------------------------------------------- */

static const char sample[] =
    "local t = {a = 1, b = {1, 2, 3}}\n"
    "local function f(x, ...) if x > 1 then return x, ... end return t[x] or `v{x}` end\n"
    "for i = 1, 10 do t[i] = f(i, 'some text', \"and more\") end\n"
    "function t.m(self, y) self.n = (self.n or 0) + y return math.max(y, 3) end\n"
    "return t";

static void test_memory_cap(void **state)
{
    (void)state;
    size_t cap = 1;
    for (int done = 0; !done; cap += 37) {
        luau_CompileOptions options;
        luau_Diagnostic diagnostic;
        luau_compile_defaults(&options);
        options.image = image;
        options.memory_max_bytes = cap;
        luau_Module *module = luau_compile(sample, sizeof(sample) - 1, "=t", &options, &diagnostic);
        if (!module)
            assert_string_equal(diagnostic.message, "not enough memory");
        else
            assert_true(luau_module_bytes(module) <= cap);
        done = module != NULL;
        luau_module_release(module);
    }
    assert_true(cap < 200000);
}

static int count_polls(void *userdata)
{
    int *left = userdata;
    return --*left < 0;
}

static void test_cancel(void **state)
{
    (void)state;
    char *source = repeated("", 20000, "f(x + #, y[#])\n", "");
    int cancelled = 0;
    for (int polls = 0; polls < 40; polls += 3) {
        int left = polls;
        luau_CompileOptions options;
        luau_Diagnostic diagnostic;
        luau_compile_defaults(&options);
        options.poll = count_polls;
        options.poll_userdata = &left;
        luau_Module *module = luau_compile(source, strlen(source), "=t", &options, &diagnostic);
        if (module)
            continue;
        assert_string_equal(diagnostic.message, "compilation cancelled");
        cancelled++;
    }
    assert_true(cancelled > 0);
    free(source);
}

static void test_check(void **state)
{
    (void)state;
    luau_Diagnostic found[4];
    const char *source = "local x = = 1\nlocal y = 2\nlocal z = + \n";
    int count = luau_check(source, strlen(source), NULL, found, 4);
    assert_true(count >= 2);
    assert_int_equal(found[0].line, 1);
    const char *right = "local x = 1";
    assert_int_equal(luau_check(right, strlen(right), NULL, found, 4), 0);
}

static void check_shown(const char *name, const char *want)
{
    char shown[LUA_IDSIZE];
    luM_shownname(shown, name, strlen(name));
    assert_string_equal(shown, want);
}

static void test_shown_names(void **state)
{
    (void)state;
    check_shown("=name", "name");
    check_shown("@dir/file", "dir/file");
    check_shown("abc\ndef", "[string \"abc...\"]");
    check_shown("abc", "[string \"abc\"]");
    check_shown("", "[string \"\"]");
    check_shown("@", "");
    char name[302], shown[LUA_IDSIZE];
    memset(name, 'n', 301);
    name[301] = '\0';
    static const char starts[] = {'=', '@', 'n'};
    for (size_t i = 0; i < sizeof(starts); i++) {
        name[0] = starts[i];
        luM_shownname(shown, name, 301);
        assert_int_equal(strlen(shown), LUA_IDSIZE - 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_arithmetic),  cmocka_unit_test(test_folding),
        cmocka_unit_test(test_conditions),  cmocka_unit_test(test_loops),
        cmocka_unit_test(test_calls),       cmocka_unit_test(test_tables),
        cmocka_unit_test(test_assignments), cmocka_unit_test(test_closures),
        cmocka_unit_test(test_lines),       cmocka_unit_test(test_limits),
        cmocka_unit_test(test_far_jumps),   cmocka_unit_test(test_random_programs),
        cmocka_unit_test(test_memory_cap),  cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_check),       cmocka_unit_test(test_shown_names),
    };
    return cmocka_run_group_tests(tests, open_image, close_image);
}
