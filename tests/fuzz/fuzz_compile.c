/* fuzz_compile.c: any bytes as source. The compiler and the checker must end, agree on whether there
 * is an error, and give a module that can be listed. */
#include <stdint.h>
#include <stdlib.h>

#include "luau/luau.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void discard(const char *text, size_t length, void *userdata)
{
    size_t *total = userdata;
    *total += length + (text == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    luau_CompileOptions options;
    luau_compile_defaults(&options);
    options.optimization = data[0] % 3;
    options.debug = data[0] / 4 % 2;
    options.memory_max_bytes = 64 << 20;
    const char *source = (const char *)data + 1;
    luau_Diagnostic first, all[16];
    luau_Module *module = luau_compile(source, size - 1, "=fuzz", &options, &first);
    int count = luau_check(source, size - 1, &options, all, 16);
    /* Whoever has a syntax error has no module; the reverse does not hold (limits of functions). */
    if (module && count > 0)
        abort();
    if (module) {
        size_t total = 0;
        luau_module_list(module, discard, &total);
        if (total == 0 || luau_module_bytes(module) == 0)
            abort();
        luau_module_release(module);
    }
    return 0;
}
