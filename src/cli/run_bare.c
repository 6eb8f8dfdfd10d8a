/* run --bare: a plain Luau program with all the language has: no limits, print to standard output,
 * require from the file system. Everything that may raise runs in bare_main, a native under
 * lua_pcall; the script itself on a thread of its own. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "khronos/require.h"

enum { TRACEBACK_FRAMES = 20 };

typedef struct Bare {
    const BareOptions *options;
    luau_Image *image;
    RequireSet modules;
    int exit_status;
} Bare;

/* ---- Files ------------------------------------------------------------------------------------
 */

static RequireKind file_kind(void *self, const char *path)
{
    struct stat info;
    (void)self;
    if (stat(path, &info) != 0)
        return REQUIRE_ABSENT;
    return S_ISDIR(info.st_mode) ? REQUIRE_DIRECTORY : REQUIRE_FILE;
}

static bool read_file(void *self, const char *path, Strbuf *out)
{
    (void)self;
    return strbuf_readfile(out, path, (size_t)1 << 20) == 0;
}

/* Compiles a file: its module, or NULL and a message that the caller frees. */
static luau_Module *compile_file(Bare *bare, const char *path, Strbuf *message)
{
    Strbuf source = STRBUF_INIT, name = STRBUF_INIT;
    luau_CompileOptions options;
    luau_Diagnostic diagnostic;
    luau_Module *module = NULL;
    luau_compile_defaults(&options);
    options.image = bare->image;
    /* A relative path is shown with ./ in front, as Luau programs are used to (reference 15). */
    strbuf_printf(&name, "@%s%s", path[0] == '/' || path[0] == '.' ? "" : "./", path);
    if (cli_readsource(path, &source)) {
        module = luau_compile(source.data, source.length, strbuf_cstr(&name), &options,
                              &diagnostic);
        if (!module)
            strbuf_printf(message, "%s:%d: %s", strbuf_cstr(&name) + 1, diagnostic.line,
                          diagnostic.message);
    }
    strbuf_free(&source);
    strbuf_free(&name);
    return module;
}

/* Pushes the file's function with a fresh environment, or a message. */
static bool load_file(void *self, lua_State *L, const char *path)
{
    Bare *bare = self;
    Strbuf message = STRBUF_INIT;
    luau_Module *module = compile_file(bare, path, &message);
    if (!module) {
        char text[1024];
        snprintf(text, sizeof(text), "%s", strbuf_cstr(&message));
        strbuf_free(&message);
        lua_pushstring(L, text);
        return false;
    }
    luau_load(L, module, 0);
    luau_module_release(module);
    luau_newglobals(L);
    lua_setfenv(L, -2);
    return true;
}

static int bare_require(lua_State *L)
{
    Bare *bare = luau_vmdata(L);
    lua_Debug ar;
    const char *chunk = require_caller(L, &ar, false);
    char from[REQUIRE_PATH_MAX];
    if (!chunk || chunk[0] != '@')
        chunk = "@main.luau";
    snprintf(from, sizeof(from), "%s", chunk + 1);
    return require_call(L, &bare->modules, from);
}

/* What a Luau program finds: everything the language has, and require. */
static void open_libraries(lua_State *L, void *unused)
{
    (void)unused;
    luaL_openlibs(L);
    lua_pushcfunction(L, bare_require, "require");
    lua_setglobal(L, "require");
}

/* ---- Running ----------------------------------------------------------------------------------
 */

/* All frames, natives included; of a deep stack the ends. */
static void print_frames(lua_State *co)
{
    int depth = lua_stackdepth(co);
    lua_Debug ar;
    for (int level = 0; level < depth; level++) {
        if (depth > TRACEBACK_FRAMES && level == TRACEBACK_FRAMES / 2) {
            fprintf(stderr, "... (+%d frames)\n", depth - TRACEBACK_FRAMES);
            level = depth - TRACEBACK_FRAMES / 2;
        }
        if (!lua_getinfo(co, level, "sln", &ar))
            break;
        fputs(ar.short_src, stderr);
        if (ar.currentline > 0)
            fprintf(stderr, ":%d", ar.currentline);
        if (ar.name && ar.name[0] != '\0')
            fprintf(stderr, " function %s", ar.name);
        fputc('\n', stderr);
    }
}

static void report(lua_State *co, const char *message)
{
    fflush(stdout);
    fprintf(stderr, "%s\nstacktrace:\n", message);
    print_frames(co);
}

/* 1: Bare. */
static int bare_main(lua_State *L)
{
    Bare *bare = lua_tolightuserdata(L, 1);
    const BareOptions *options = bare->options;
    Strbuf message = STRBUF_INIT;
    bare->exit_status = EXIT_WORK_FAILED;
    luau_Module *module = compile_file(bare, options->file, &message);
    if (!module) {
        fflush(stdout);
        if (message.length > 0)
            fprintf(stderr, "%s\n", strbuf_cstr(&message));
        strbuf_free(&message);
        return 0;
    }
    luau_testmode(L, options->test_modes);
    if (options->fail_alloc)
        luau_failalloc(L, options->fail_alloc);
    lua_State *co = lua_newthread(L);
    luau_load(co, module, 0);
    lua_rawcheckstack(co, options->argument_count + LUA_MINSTACK);
    for (int i = 0; i < options->argument_count; i++)
        lua_pushstring(co, options->arguments[i]);
    luau_module_release(module);
    int status = lua_resume(co, NULL, options->argument_count);
    luau_failalloc(L, 0);
    if (status == LUA_OK) {
        bare->exit_status = EXIT_SUCCESS;
    } else if (status == LUA_YIELD || status == LUA_BREAK) {
        report(co, "thread yielded unexpectedly");
    } else {
        int type = lua_type(co, -1);
        bool text = type == LUA_TSTRING || type == LUA_TNUMBER;
        report(co, text ? lua_tostring(co, -1) : "");
    }
    return 0;
}

int run_bare(const BareOptions *options)
{
    Bare bare = {.options = options,
                 .image = luau_image_new(open_libraries, NULL, NULL, 0),
                 .exit_status = EXIT_WORK_FAILED};
    luau_VmOptions vm = {.image = bare.image, .userdata = &bare};
    lua_State *L = bare.image ? luau_newvm(&vm) : NULL;
    if (!L) {
        cli_error("not enough memory");
        luau_image_release(bare.image);
        return EXIT_WORK_FAILED;
    }
    bare.modules.host = (RequireHost){
        .kind = file_kind, .read = read_file, .load = load_file, .self = &bare};
    lua_pushcfunction(L, bare_main, "main");
    lua_pushlightuserdata(L, &bare);
    int status = lua_pcall(L, 1, 0, 0);
    if (status == LUA_KILLED)
        cli_error("stopped at %s", luau_killposition(L));
    else if (status != LUA_OK)
        cli_error("%s", lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "error");
    if (status != LUA_OK)
        bare.exit_status = EXIT_WORK_FAILED;
    lua_close(L);
    require_free(&bare.modules);
    luau_image_release(bare.image);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        cli_error("cannot write to standard output");
        return EXIT_WORK_FAILED;
    }
    return bare.exit_status;
}
