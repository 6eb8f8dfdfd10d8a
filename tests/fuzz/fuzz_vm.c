/* fuzz_vm.c: random programs (program.h) in sandboxed VMs.
 *
 * Some inputs run one program at each level of optimisation: it must print the same. The others run
 * one in adverse circumstances: collections at every allocation, stacks that move, a small quota,
 * and something that happens at a chosen poll: it is parked, killed, or an interrupt raises an
 * error. Afterwards the heap must be sound and the VM of use.
 *
 * Polls are counted by the interrupt hook, which asks for the next interrupt each time. */
#include "luau/luau.h"
#include "program.h"

enum {
    STEPS_MAX = 3000,
    STEPS_STRESSED = 250,
    STEPS_GRACE = 100, /* steps that raise errors; then the VM is killed */
    POLLS_MAX = 400000,
    OUTPUT_MAX = 64 << 10,
    KEYS_MAX = 4096
};

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static luau_Image *image;
static luau_Fibers *fibers;
static luau_Ticker *ticker; /* slow: for natives that would run for seconds */

typedef enum Event {
    EVENT_NONE,
    EVENT_PARK,
    EVENT_KILL,
    EVENT_DEADLINE,
    EVENT_CPU,
    EVENT_ERROR,
    EVENT_COUNT
} Event;

typedef struct Plan {
    size_t quota;
    int test_modes;
    int steps_max;
    unsigned fail_at; /* this allocation fails; 0: none */
    Event event;
    unsigned event_poll; /* the poll at which it happens */
    bool again;          /* and every so many polls after that */
    bool check_parked, kill_parked, abandon_parked;
    bool as_coroutine; /* the main function runs by lua_resume */
} Plan;

typedef struct Run {
    const Plan *plan;
    luau_Module *module;
    Strbuf out;
    int steps;
    unsigned polls;
    int status;
} Run;

/* ---- natives --------------------------------------------------------------------------------- */

static Run *run_of(lua_State *L)
{
    return luau_vmdata(L);
}

static int native_step(lua_State *L)
{
    Run *run = run_of(L);
    luau_fibers_tick(fibers); /* polls that only ask whether to stop have cleared it */
    if (++run->steps > run->plan->steps_max + STEPS_GRACE) {
        luau_kill(L, LUAU_KILL_HOST);
        luau_poll(L);
    }
    if (run->steps > run->plan->steps_max)
        luaL_error(L, "out of steps");
    return 0;
}

static int native_print(lua_State *L)
{
    Run *run = run_of(L);
    int count = lua_gettop(L);
    for (int i = 1; i <= count; i++) {
        strbuf_putc(&run->out, i > 1 ? '\t' : ' ');
        int type = lua_type(L, i);
        if (type == LUA_TNUMBER || type == LUA_TSTRING) {
            size_t length;
            lua_pushvalue(L, i);
            const char *text = lua_tolstring(L, -1, &length);
            strbuf_put(&run->out, text, length < 256 ? length : 256);
            lua_pop(L, 1);
        } else if (type == LUA_TBOOLEAN) {
            strbuf_puts(&run->out, lua_toboolean(L, i) ? "true" : "false");
        } else {
            strbuf_puts(&run->out, lua_typename(L, type));
        }
    }
    strbuf_putc(&run->out, '\n');
    return 0;
}

typedef struct Key {
    int type;
    double number;
    size_t length;
    const char *text;
} Key;

static int compare_keys(const void *left, const void *right)
{
    const Key *a = left, *b = right;
    if (a->type != b->type)
        return a->type < b->type ? -1 : 1;
    if (a->type == LUA_TNUMBER || a->type == LUA_TBOOLEAN)
        return a->number < b->number ? -1 : a->number > b->number;
    int order = memcmp(a->text, b->text, a->length < b->length ? a->length : b->length);
    return order ? order : a->length < b->length ? -1 : a->length > b->length;
}

static size_t collect_keys(lua_State *L, Key *keys)
{
    size_t count = 0;
    for (lua_pushnil(L); count < KEYS_MAX && lua_next(L, 1); lua_pop(L, 1)) {
        Key *key = &keys[count];
        key->type = lua_type(L, -2);
        if (key->type == LUA_TNUMBER)
            key->number = lua_tonumber(L, -2);
        else if (key->type == LUA_TBOOLEAN)
            key->number = lua_toboolean(L, -2);
        else if (key->type == LUA_TSTRING)
            key->text = lua_tolstring(L, -2, &key->length);
        else
            continue;
        count++;
    }
    return count;
}

static int native_keys(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    /* The texts stay in the table, the keys in a buffer of the VM: an error leaks nothing. */
    Key *keys = lua_newbuffer(L, KEYS_MAX * sizeof(Key));
    size_t count = collect_keys(L, keys);
    lua_settop(L, 2);
    qsort(keys, count, sizeof(*keys), compare_keys);
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        switch (keys[i].type) {
        case LUA_TNUMBER: lua_pushnumber(L, keys[i].number); break;
        case LUA_TBOOLEAN: lua_pushboolean(L, keys[i].number != 0); break;
        default: lua_pushlstring(L, keys[i].text, keys[i].length); break;
        }
        lua_rawseti(L, 3, (int)i + 1);
    }
    return 1;
}

/* ---- circumstances --------------------------------------------------------------------------- */

static void on_print(lua_State *L, int level, const char *text, size_t length)
{
    (void)L, (void)level, (void)text, (void)length;
}

static void happen(lua_State *L, Event event)
{
    switch (event) {
    case EVENT_PARK: luau_preempt(L); break;
    case EVENT_KILL: luau_kill(L, LUAU_KILL_HOST); break;
    case EVENT_DEADLINE: luau_setdeadline(L, 1); break;
    case EVENT_CPU: luau_setcpulimit(L, 1); break;
    case EVENT_ERROR: luaL_error(L, "interrupted"); break;
    default: break;
    }
}

static void on_interrupt(lua_State *L)
{
    Run *run = run_of(L);
    const Plan *plan = run->plan;
    luau_fibers_tick(fibers);
    if (++run->polls > POLLS_MAX)
        luau_kill(L, LUAU_KILL_HOST);
    else if (run->polls == plan->event_poll || (plan->again && run->polls % plan->event_poll == 0))
        happen(L, plan->event);
}

/* ---- running --------------------------------------------------------------------------------- */

static void start(lua_State *L, void *arg)
{
    Run *run = arg;
    lua_State *thread = run->plan->as_coroutine ? lua_newthread(L) : L;
    luau_load(thread, run->module, 1);
    lua_pushcfunction(thread, native_step, "T");
    lua_pushcfunction(thread, native_print, "P");
    lua_pushcfunction(thread, native_keys, "K");
    if (!run->plan->as_coroutine) {
        lua_call(L, 3, 1);
        return;
    }
    int status = lua_resume(thread, L, 3);
    for (int i = 0; i < 8 && status == LUA_YIELD; i++) {
        lua_settop(thread, 0);
        lua_pushinteger(thread, i);
        status = lua_resume(thread, L, 1);
    }
    if (status == LUA_KILLED)
        luau_poll(L);
    run->status = status;
}

static void work(lua_State *L, void *arg)
{
    Run *run = arg;
    int status = luau_protect(L, start, run);
    if (status != LUA_OK || run->status < 0)
        run->status = status;
    size_t length = 0;
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tolstring(L, -1, &length) : "?";
    strbuf_printf(&run->out, "%d ", run->status);
    strbuf_put(&run->out, text, length);
    lua_settop(L, 0);
}

static void check(lua_State *L, const char *when)
{
    const char *fault = luau_checkheap(L);
    FUZZ_CHECK(!fault, "%s: %s", when, fault);
}

static void use(lua_State *L, void *arg)
{
    int *sum = arg;
    static const char source[] = /* without names: globals may be anything by now */
        "local t, s, n = {}, '', 0 for i = 1, 50 do t[i] = function() return i end s ..= i end\n"
        "for i, f in t do n += f() end return n + #s";
    if (luau_loadstring(L, source, sizeof(source) - 1, "=use") != LUA_OK)
        lua_error(L);
    lua_call(L, 0, 1);
    *sum = lua_tointeger(L, -1);
    lua_pop(L, 1);
}

/* A VM that was killed or not can be used again, given room and time. */
static void use_again(lua_State *L)
{
    int sum = 0;
    luau_clearkill(L);
    luau_setdeadline(L, 0);
    luau_setcpulimit(L, 0);
    luau_setquota(L, 0);
    luau_failalloc(L, 0);
    lua_callbacks(L)->interrupt = NULL;
    int status = luau_protect(L, use, &sum);
    FUZZ_CHECK(status == LUA_OK && sum == 91 + 1275, "status %d, sum %d: %s", status, sum,
               status == LUA_OK ? "" : lua_tostring(L, -1));
    lua_settop(L, 0);
    check(L, "used again");
    lua_gc(L, LUA_GCCOLLECT, 0);
    check(L, "collected");
    luau_shrink(L);
    check(L, "shrunk");
}

/* False: it was abandoned, and is closed. */
static bool run_parked(lua_State *L, const Plan *plan)
{
    while (luau_isparked(L)) {
        if (plan->check_parked)
            check(L, "parked");
        if (plan->abandon_parked) {
            luau_abandon(L);
            return false;
        }
        if (plan->kill_parked)
            luau_kill(L, LUAU_KILL_HOST);
        luau_continue(L);
    }
    return true;
}

static void run(Run *run, luau_Module *module, const Plan *plan)
{
    *run = (Run){.plan = plan, .module = module, .out = {.max = OUTPUT_MAX}, .status = -1};
    luau_VmOptions options = {.image = image, .memory_max_bytes = plan->quota, .userdata = run};
    lua_State *L = luau_newvm(&options);
    FUZZ_CHECK(L, "no VM");
    lua_callbacks(L)->print = on_print;
    lua_callbacks(L)->interrupt = on_interrupt;
    luau_testmode(L, plan->test_modes);
    luau_setcpulimit(L, 2000000000);
    luau_failalloc(L, plan->fail_at);
    luau_fibers_tick(fibers);
    FUZZ_CHECK(luau_run(fibers, L, work, run) != LUAU_NOSTACK, "no stack");
    if (run_parked(L, plan)) {
        FUZZ_CHECK((run->status == LUA_KILLED) == (luau_killreason(L) != LUAU_KILL_NONE),
                   "status %d, reason %d", run->status, luau_killreason(L));
        check(L, "after the run");
        use_again(L);
    }
    lua_close(L);
}

static luau_Module *compile(const Strbuf *source, int optimization)
{
    luau_CompileOptions options;
    luau_Diagnostic diagnostic;
    luau_compile_defaults(&options);
    options.optimization = optimization;
    options.image = image;
    luau_Module *module = luau_compile(source->data, source->length, "=fuzz", &options,
                                       &diagnostic);
    FUZZ_CHECK(module, "%d: %s\n%.*s", diagnostic.line, diagnostic.message, (int)source->length,
               source->data);
    return module;
}

/* ---- inputs ---------------------------------------------------------------------------------- */

static bool is_same(const Run *a, const Run *b)
{
    return a->out.length == b->out.length && memcmp(a->out.data, b->out.data, a->out.length) == 0;
}

/* Runs the program as planned; what it prints must be what `first` did, unless it was killed. */
static void compare(const Run *first, const Strbuf *source, int level, const Plan *plan)
{
    Run other;
    luau_Module *module = compile(source, level);
    run(&other, module, plan);
    luau_module_release(module);
    FUZZ_CHECK(is_same(first, &other) || other.status == LUA_KILLED,
               "-O%d, modes %d\n%.*s\n---- expected:\n%.*s\n---- printed:\n%.*s", level,
               plan->test_modes, (int)source->length, source->data, (int)first->out.length,
               first->out.data, (int)other.out.length, other.out.data);
    strbuf_free(&other.out);
}

/* The same at each level, and with a stack that moves and pauses in between. What prints otherwise
 * on another run with nothing changed (addresses show in some way) is left out. */
static void compare_levels(const Strbuf *source)
{
    Plan plain = {.quota = 8 << 20, .steps_max = STEPS_MAX};
    Plan moving = {.quota = 8 << 20,
                   .steps_max = STEPS_MAX,
                   .test_modes = LUAU_TEST_STACK_MOVES,
                   .event = EVENT_PARK,
                   .event_poll = 7,
                   .again = true};
    Run first, second;
    luau_Module *module = compile(source, 0);
    run(&first, module, &plain);
    run(&second, module, &plain);
    luau_module_release(module);
    if (is_same(&first, &second) && first.status != LUA_KILLED) {
        compare(&first, source, 1, &plain);
        compare(&first, source, 2, &plain);
        compare(&first, source, 1, &moving);
    }
    strbuf_free(&first.out);
    strbuf_free(&second.out);
}

static void run_hampered(const Strbuf *source, FuzzBytes *choices)
{
    unsigned flags = bytes_u8(choices), modes = bytes_u8(choices);
    Plan plan = {
        .quota = (size_t)(16 + bytes_u8(choices) * 8) << 10,
        .event = bytes_below(choices, EVENT_COUNT),
        .event_poll = 1 + bytes_u16(choices) % 2000,
        .again = flags & 1,
        .check_parked = flags & 2,
        .kill_parked = flags & 4,
        .abandon_parked = (flags & 0x18) == 0x18,
        .as_coroutine = flags & 0x20,
    };
    if (modes % 4 == 1)
        plan.test_modes = LUAU_TEST_GC_ALWAYS | LUAU_TEST_STACK_MOVES;
    else if (modes % 4 == 2)
        plan.test_modes = LUAU_TEST_STACK_MOVES;
    plan.steps_max = plan.test_modes & LUAU_TEST_GC_ALWAYS ? STEPS_STRESSED : STEPS_MAX;
    if (modes & 0x40) /* killed if there is a quota, else an error that can be caught */
        plan.fail_at = 1 + plan.event_poll;
    if ((modes & 0xC0) == 0xC0) {
        plan.quota = 0;
        plan.steps_max = STEPS_STRESSED;
    }
    luau_Module *module = compile(source, (int)(modes / 4 % 3));
    Run once;
    run(&once, module, &plan);
    strbuf_free(&once.out);
    luau_module_release(module);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    image = luau_image_standard();
    fibers = luau_fibers_new(2);
    ticker = luau_ticker_new(500 * 1000);
    if (!image || !fibers || !ticker)
        return 1;
    luau_ticker_add(ticker, fibers);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzBytes input = bytes_of(data, size);
    unsigned mode = bytes_u8(&input);
    size_t head = (size_t)(input.end - input.p) < 7 ? (size_t)(input.end - input.p) : 7;
    FuzzBytes choices = bytes_of(input.p, head);
    input.p += head;
    Strbuf source = STRBUF_INIT;
    ProgramOptions options = {.reproducible = mode % 3 == 0};
    program_write(&source, &input, &options);
    if (getenv("FUZZ_SHOW"))
        fprintf(stderr, "%.*s\n", (int)source.length, source.data);
    if (options.reproducible)
        compare_levels(&source);
    else
        run_hampered(&source, &choices);
    strbuf_free(&source);
    return 0;
}
