/* fuzz_compile.c: any bytes as source. Compiler and checker must end and agree on the first error;
 * code must pass the verifier at every level of optimisation; too little memory and a request to
 * stop end a compilation cleanly wherever they come. */
#include "bytes.h"
#include "luau/compile.h"
#include "luau/luau.h"

enum { ERRORS_MAX = 20, MEMORY_MAX = 64 << 20 };

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static luau_Image *image;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    image = luau_image_standard();
    return image ? 0 : 1;
}

static void count_text(const char *text, size_t length, void *userdata)
{
    size_t *total = userdata;
    *total += length + (text == NULL);
}

static void check_module(const luau_Module *module)
{
    for (int i = 0; i < module->proto_count; i++) {
        const char *fault = luC_verify(module->protos[i]);
        FUZZ_CHECK(!fault, "function %d: %s", i, fault);
    }
    size_t total = 0;
    luau_module_list(module, count_text, &total);
    FUZZ_CHECK(total > 0 && luau_module_bytes(module) > 0, "an empty listing");
}

static void check_place(const luau_Diagnostic *d)
{
    bool forward = d->end_line > d->line || (d->end_line == d->line && d->end_column >= d->column);
    FUZZ_CHECK(d->line >= 1 && d->column >= 1 && forward, "%d:%d-%d:%d %s", d->line, d->column,
               d->end_line, d->end_column, d->message);
    FUZZ_CHECK(d->message[0] && memchr(d->message, 0, sizeof(d->message)), "no message");
}

static bool is_same(const luau_Diagnostic *a, const luau_Diagnostic *b)
{
    return a->line == b->line && a->column == b->column && a->end_line == b->end_line &&
           a->end_column == b->end_column && strcmp(a->message, b->message) == 0;
}

/* With memory and time enough: all errors of the checker, then each level. Whether there is an
 * error does not depend on the level, but for limits, which constants that fold away do not count
 * to. */
static void compile_freely(const char *source, size_t length, luau_CompileOptions options,
                           luau_Diagnostic *first, bool *failed)
{
    luau_Diagnostic all[ERRORS_MAX];
    for (int level = 2; level >= 0; level--) {
        options.optimization = level;
        luau_Module *module = luau_compile(source, length, "=fuzz", &options, first);
        int count = luau_check(source, length, &options, all, ERRORS_MAX);
        FUZZ_CHECK((module == NULL) == (count > 0), "-O%d: compiled %d, errors %d", level,
                   module != NULL, count);
        *failed = module == NULL;
        if (module) {
            check_module(module);
        } else {
            FUZZ_CHECK(is_same(first, &all[0]), "%d:%d %s, or %d:%d %s", first->line, first->column,
                       first->message, all[0].line, all[0].column, all[0].message);
            for (int i = 0; i < count; i++)
                check_place(&all[i]);
        }
        luau_module_release(module);
    }
}

static int stop_later(void *userdata)
{
    unsigned *left = userdata;
    return (*left)-- == 0;
}

/* Either the result that there would be with more, or the one message. */
static void compile_hampered(const char *source, size_t length, luau_CompileOptions options,
                             const char *reason, const luau_Diagnostic *first, bool failed)
{
    luau_Diagnostic diagnostic, all[ERRORS_MAX];
    luau_Module *module = luau_compile(source, length, "=fuzz", &options, &diagnostic);
    if (module) {
        FUZZ_CHECK(!failed, "an error went lost: %s", first->message);
        check_module(module);
    } else if (strcmp(diagnostic.message, reason) != 0) {
        FUZZ_CHECK(failed && is_same(&diagnostic, first), "%s", diagnostic.message);
    }
    luau_module_release(module);
    luau_check(source, length, &options, all, ERRORS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzBytes input = bytes_of(data, size);
    unsigned flags = bytes_u8(&input), amount = bytes_u8(&input);
    const char *source = (const char *)input.p;
    size_t length = (size_t)(input.end - input.p);
    luau_CompileOptions options;
    luau_compile_defaults(&options);
    options.debug = flags & 1;
    options.image = flags & 2 ? image : NULL;
    options.memory_max_bytes = MEMORY_MAX;
    luau_Diagnostic first;
    bool failed;
    compile_freely(source, length, options, &first, &failed);

    options.optimization = 0; /* as the last of those */
    options.memory_max_bytes = 256 + (size_t)amount * amount * (flags & 4 ? 8 : 1);
    compile_hampered(source, length, options, "not enough memory", &first, failed);
    options.memory_max_bytes = MEMORY_MAX;
    unsigned left = amount % 32;
    options.poll = stop_later;
    options.poll_userdata = &left;
    compile_hampered(source, length, options, "compilation cancelled", &first, failed);
    return 0;
}
