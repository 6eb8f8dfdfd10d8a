/* vm.c: what a VM costs. Times creation and destruction, and measures the memory of many VMs that
 * each loaded and ran one template.
 *
 * Every VM shares the library image and the compiled template, so the figures are what one more
 * guild costs. Fleets are measured in a child process each: memory that a former fleet left in the
 * allocator must not hide what the next one takes. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "luau/luau.h"

enum { ROUNDS = 5, FLEETS_MAX = 16, QUOTA_BYTES = 20 << 20 };

typedef struct Options {
    const char *template_path;
    int create_count;
    int fleets[FLEETS_MAX];
    int fleet_count;
} Options;

static void fail(const char *what, const char *detail)
{
    fprintf(stderr, "vm: %s%s%s\n", what, detail ? ": " : "", detail ? detail : "");
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static size_t resident_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "r");
    unsigned long size = 0, resident = 0;
    if (!file || fscanf(file, "%lu %lu", &size, &resident) != 2)
        fail("cannot read /proc/self/statm", NULL);
    fclose(file);
    return (size_t)resident * (size_t)sysconf(_SC_PAGESIZE);
}

/* The caller frees it. */
static char *read_file(const char *path, size_t *length)
{
    enum { TEMPLATE_MAX_BYTES = 1 << 20 };
    FILE *file = fopen(path, "rb");
    if (!file)
        fail("cannot read the template", path);
    char *text = malloc(TEMPLATE_MAX_BYTES);
    if (!text)
        fail("out of memory", NULL);
    *length = fread(text, 1, TEMPLATE_MAX_BYTES, file);
    fclose(file);
    return text;
}

static luau_Module *compile(const Options *options, const luau_Image *image)
{
    size_t length;
    char *text = read_file(options->template_path, &length);
    luau_CompileOptions compile_options;
    luau_compile_defaults(&compile_options);
    compile_options.image = image;
    luau_Diagnostic diagnostic;
    luau_Module *module = luau_compile(text, length, "=template", &compile_options, &diagnostic);
    free(text);
    if (!module)
        fail("the template does not compile", diagnostic.message);
    return module;
}

static lua_State *new_vm(luau_Image *image)
{
    luau_VmOptions options = {.image = image, .memory_max_bytes = QUOTA_BYTES};
    lua_State *L = luau_newvm(&options);
    if (!L)
        fail("out of memory", NULL);
    return L;
}

static void push_event(lua_State *L)
{
    lua_createtable(L, 0, 3);
    lua_pushliteral(L, "MESSAGE_CREATE");
    lua_setfield(L, -2, "name");
    lua_pushliteral(L, "199737254929760256");
    lua_setfield(L, -2, "author");
    lua_createtable(L, 0, 2);
    lua_pushliteral(L, "!rank please");
    lua_setfield(L, -2, "content");
    lua_pushliteral(L, "290926444748734465");
    lua_setfield(L, -2, "channel_id");
    lua_setfield(L, -2, "data");
}

/* Runs the template as the worker does: in a new thread, with the event as its argument. */
static void run_template(lua_State *L, luau_Module *module)
{
    lua_State *thread = lua_newthread(L);
    luau_load(thread, module, 0);
    push_event(thread);
    if (lua_resume(thread, L, 1) != LUA_OK)
        fail("the template failed", lua_tostring(thread, -1));
    lua_pop(L, 1);
}

static void measure_creation(const Options *options, luau_Image *image)
{
    double best_ns = 1e18;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t start_ns = now_ns();
        for (int i = 0; i < options->create_count; i++)
            lua_close(new_vm(image));
        double each_ns = (double)(now_ns() - start_ns) / options->create_count;
        if (each_ns < best_ns)
            best_ns = each_ns;
    }
    lua_State *L = new_vm(image);
    luau_Account account;
    luau_account(L, &account);
    lua_close(L);
    printf("creation and destruction      %8.0f ns\n", best_ns);
    printf("fresh VM: live                %8zu bytes\n", account.live_bytes);
    printf("fresh VM: reserved            %8zu bytes\n", account.reserved_bytes);
    printf("library image, shared         %8zu bytes\n", luau_image_bytes(image));
}

static void measure_run(const Options *options, luau_Image *image)
{
    luau_Module *module = compile(options, image);
    int count = options->create_count / 10 + 1;
    double best_ns = 1e18;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t start_ns = now_ns();
        for (int i = 0; i < count; i++) {
            lua_State *L = new_vm(image);
            run_template(L, module);
            lua_close(L);
        }
        double each_ns = (double)(now_ns() - start_ns) / count;
        if (each_ns < best_ns)
            best_ns = each_ns;
    }
    printf("create, run template, destroy %8.0f ns\n", best_ns);
    printf("template module, shared       %8zu bytes\n", luau_module_bytes(module));
    luau_module_release(module);
}

/* In a child process. */
static void measure_fleet(const Options *options, luau_Image *image, int count, bool at_rest)
{
    luau_Module *module = compile(options, image);
    lua_State **fleet = malloc((size_t)count * sizeof(*fleet));
    if (!fleet)
        fail("out of memory", NULL);
    memset(fleet, 0, (size_t)count * sizeof(*fleet)); /* its pages are not the VMs' */
    lua_State *first = new_vm(image);                 /* what comes with the first is not either */
    run_template(first, module);
    size_t before = resident_bytes();
    uint64_t live = 0, reserved = 0;
    for (int i = 0; i < count; i++) {
        fleet[i] = new_vm(image);
        run_template(fleet[i], module);
        if (at_rest)
            luau_shrink(fleet[i]);
        luau_Account account;
        luau_account(fleet[i], &account);
        live += account.live_bytes;
        reserved += account.reserved_bytes;
    }
    double resident = (double)(resident_bytes() - before) / count;
    uint64_t start_ns = now_ns();
    for (int i = 0; i < count; i++)
        lua_close(fleet[i]);
    double close_ns = (double)(now_ns() - start_ns) / count;
    printf("%9d VMs %-12s %8.0f bytes resident each (live %" PRIu64 ", reserved %" PRIu64
           "), closed in %.0f ns\n",
           count, at_rest ? "at rest" : "after a run", resident, live / (uint64_t)count,
           reserved / (uint64_t)count, close_ns);
    lua_close(first);
    free(fleet);
    luau_module_release(module);
}

static void measure_fleet_in_child(const Options *options, luau_Image *image, int count,
                                   bool at_rest)
{
    fflush(stdout);
    pid_t child = fork();
    if (child < 0)
        fail("cannot fork", NULL);
    if (child == 0) {
        measure_fleet(options, image, count, at_rest);
        fflush(stdout);
        _exit(0);
    }
    int status;
    if (waitpid(child, &status, 0) != child || status != 0)
        fail("a fleet did not finish", NULL);
}

static int parse_count(const char *text)
{
    char *end;
    long count = strtol(text, &end, 10);
    if (*end != '\0' || count < 1 || count > 10000000)
        fail("not a count from 1 to 10000000", text);
    return (int)count;
}

static void parse_options(int argc, char **argv, Options *options)
{
    int option;
    while ((option = getopt(argc, argv, "c:n:t:h")) != -1) {
        if (option == 'c') {
            options->create_count = parse_count(optarg);
        } else if (option == 'n' && options->fleet_count < FLEETS_MAX) {
            options->fleets[options->fleet_count++] = parse_count(optarg);
        } else if (option == 't') {
            options->template_path = optarg;
        } else {
            fprintf(stderr, "usage: vm [-c CREATIONS] [-n VMS]... [-t TEMPLATE]\n"
                            "  -c  VMs to create and destroy (20000)\n"
                            "  -n  size of a fleet; may be repeated (10000 and 100000)\n"
                            "  -t  the template they run (bench/template.luau)\n");
            exit(option == 'h' ? 0 : 2);
        }
    }
    if (options->fleet_count == 0) {
        options->fleets[options->fleet_count++] = 10000;
        options->fleets[options->fleet_count++] = 100000;
    }
}

int main(int argc, char **argv)
{
    Options options = {.template_path = "bench/template.luau", .create_count = 20000};
    parse_options(argc, argv, &options);
    luau_Image *image = luau_image_standard();
    if (!image)
        fail("no library image", NULL);
    measure_creation(&options, image);
    measure_run(&options, image);
    for (int i = 0; i < options.fleet_count; i++) {
        measure_fleet_in_child(&options, image, options.fleets[i], false);
        measure_fleet_in_child(&options, image, options.fleets[i], true);
    }
    luau_image_release(image);
    return 0;
}
