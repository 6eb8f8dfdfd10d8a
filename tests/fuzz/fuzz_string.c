/* fuzz_string.c: the string library with any subject, pattern and replacement: the input's first
 * two bytes say where to cut it. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "luau/luau.h"

enum { QUOTA_BYTES = 8 << 20, CPU_MAX_NS = 100 * 1000 * 1000 };

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char script[] =
    "local s, p, r = ...\n"
    "local function try(f, ...) pcall(f, ...) end\n"
    "try(string.find, s, p)\n"
    "try(string.find, s, p, #r, true)\n"
    "try(string.match, s, p, -#r)\n"
    "try(function() for a, b in s:gmatch(p) do if #a == 0 and b == r then break end end end)\n"
    "try(string.gsub, s, p, r)\n"
    "try(string.gsub, s, p, {[r] = s}, 3)\n"
    "try(string.gsub, s, p, function(a) return a end)\n"
    "try(string.format, p, s, r, s)\n"
    "try(string.format, p, #s, #r, -1.5)\n"
    "try(string.format, '%q %s %5s', s, p, r)\n"
    "try(function() local v = {string.unpack(p, s)} string.pack(p, table.unpack(v)) end)\n"
    "try(string.packsize, p)\n"
    "try(string.split, s, p)\n"
    "try(utf8.codepoint, s, 1, -1)\n"
    "try(function() for at, c in utf8.codes(s) do utf8.char(c) end end)\n"
    "try(utf8.len, s) try(utf8.offset, s, #p)\n"
    "tonumber(s) tonumber(s, 2 + #r % 35)\n"
    "local b = buffer.fromstring(s)\n"
    "try(buffer.readbits, b, #p, #r) try(buffer.writestring, b, #p, r)\n"
    "try(os.date, p, #s) try(os.date, '!' .. p)\n"
    "local t = table.concat({s, p, r}, r)\n"
    "assert(#t == #s + #p + 3 * #r)\n"
    "assert(s:reverse():reverse() == s and #s:upper():lower() == #s)\n"
    "assert(loadstring('return ' .. string.format('%q', s))() == s)\n";

static luau_Image *image;
static luau_Module *module;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    image = luau_image_standard();
    if (!image)
        return 1;
    luau_CompileOptions options;
    luau_compile_defaults(&options);
    options.image = image;
    luau_Diagnostic diagnostic;
    module = luau_compile(script, sizeof(script) - 1, "=fuzz", &options, &diagnostic);
    if (!module)
        fprintf(stderr, "%d: %s\n", diagnostic.line, diagnostic.message);
    return module ? 0 : 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    const char *text = (const char *)data + 2;
    size_t length = size - 2;
    size_t subject = data[0] < length ? data[0] : length;
    size_t pattern = data[1] < length - subject ? data[1] : length - subject;
    luau_VmOptions options = {.image = image, .memory_max_bytes = QUOTA_BYTES};
    lua_State *L = luau_newvm(&options);
    if (!L)
        abort();
    luau_setcpulimit(L, CPU_MAX_NS);
    luau_load(L, module, 0);
    lua_pushlstring(L, text, subject);
    lua_pushlstring(L, text + subject, pattern);
    lua_pushlstring(L, text + subject + pattern, length - subject - pattern);
    int status = lua_pcall(L, 3, 0, 0);
    if (status != LUA_OK && status != LUA_KILLED && status != LUA_ERRMEM) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        abort();
    }
    lua_close(L);
    return 0;
}
