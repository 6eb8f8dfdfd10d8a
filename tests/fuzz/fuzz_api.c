/* fuzz_api.c: random calls of luau.h, always within its preconditions, against a model: the types
 * that the stack should hold. Every step may raise an error or run out of memory (small quotas, and
 * allocations that fail on purpose); natives, threads, references, userdata with destructors and a
 * VM parked inside a native take part. In the end the heap is sound and all destructors ran. */
#include "bytes.h"
#include "luau/luau.h"

enum { DEPTH_MAX = 30, NESTING_MAX = 4, REFS_MAX = 16, OPERATIONS_MAX = 600, PARTS_MAX = 60 };

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static luau_Image *image;
static luau_Fibers *fibers;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    image = luau_image_standard();
    fibers = luau_fibers_new(1);
    return image && fibers ? 0 : 1;
}

typedef struct Session {
    FuzzBytes input;
    int operations, nesting;
    int refs[REFS_MAX];
    int ref_types[REFS_MAX];
    long made, destroyed; /* userdata */
    ptrdiff_t charged;
} Session;

static Session *session_of(lua_State *L)
{
    return luau_vmdata(L);
}

static unsigned pick(lua_State *L, unsigned n)
{
    return bytes_below(&session_of(L)->input, n);
}

/* An index that is there, positive or negative. */
static int any_index(lua_State *L)
{
    int top = lua_gettop(L);
    int index = 1 + (int)pick(L, (unsigned)top);
    return pick(L, 2) ? index - top - 1 : index;
}

static int index_of_type(lua_State *L, int type)
{
    for (int i = lua_gettop(L); i > 0; i--)
        if (lua_type(L, i) == type)
            return i;
    return 0;
}

/* ---- pushing --------------------------------------------------------------------------------- */

static void destroy(void *data)
{
    Session *session;
    memcpy(&session, data, sizeof(session));
    session->destroyed++;
}

static void operate(lua_State *L, int count);

static int native(lua_State *L)
{
    Session *session = session_of(L);
    if (session->nesting < NESTING_MAX) {
        session->nesting++;
        operate(L, (int)pick(L, 12));
        session->nesting--;
    }
    int top = lua_gettop(L);
    return top < 5 ? top : 5;
}

static int yielding(lua_State *L)
{
    int top = lua_gettop(L);
    return lua_isyieldable(L) ? lua_yield(L, top < 3 ? top : 3) : 0;
}

static int calls_on(lua_State *L, int status)
{
    FUZZ_CHECK(lua_gettop(L) >= 1 || status == LUA_OK, "status %d without a value", status);
    return lua_gettop(L) < 5 ? lua_gettop(L) : 1;
}

static int calling(lua_State *L)
{
    lua_settop(L, 2);
    if (lua_type(L, 1) != LUA_TFUNCTION)
        return calls_on(L, LUA_OK);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    return pick(L, 2) ? luau_callk(L, 1, 1) : luau_pcallk(L, 1, LUA_MULTRET);
}

static void push_function(lua_State *L)
{
    switch (pick(L, 5)) {
    case 0: lua_pushcfunction(L, native, "native"); break;
    case 1: lua_pushcfunction(L, yielding, NULL); break;
    case 2: lua_pushcclosurek(L, calling, "calling", 0, calls_on); break;
    case 3: {
        int count = (int)pick(L, 4);
        for (int i = 0; i < count; i++)
            lua_pushinteger(L, i);
        lua_pushcclosure(L, native, "closure", count);
        break;
    }
    default: {
        static const char *const sources[] = {
            "return ...",
            "local a = ... return function() return a end",
            "error(...)",
            "local t = {...} for i = 1, 20 do t[#t + 1] = i .. '' end return t",
            "return coroutine.yield(...)",
            "return pcall(...)",
            "syntax error",
            "local s = '' for i = 1, 10 do s ..= i end return s, #s",
        };
        const char *source = sources[pick(L, sizeof(sources) / sizeof(*sources))];
        luau_loadstring(L, source, strlen(source), "=chunk");
        break;
    }
    }
}

static void push_block(lua_State *L)
{
    Session *session = session_of(L);
    size_t size = bytes_u8(&session->input) * (size_t)(pick(L, 4) == 0 ? 64 : 1);
    switch (pick(L, 3)) {
    case 0: memset(lua_newbuffer(L, size), 1, size); break;
    case 1: memset(lua_newuserdatatagged(L, size, (int)pick(L, 8)), 2, size); break;
    default: {
        void *data = lua_newuserdatadtor(L, size + sizeof(session), destroy);
        memcpy(data, &session, sizeof(session));
        session->made++;
        break;
    }
    }
}

static int push_any(lua_State *L)
{
    Session *session = session_of(L);
    size_t length;
    switch (pick(L, 12)) {
    case 0: lua_pushnil(L); return LUA_TNIL;
    case 1: lua_pushboolean(L, (int)pick(L, 2)); return LUA_TBOOLEAN;
    case 2: lua_pushnumber(L, bytes_double(&session->input)); return LUA_TNUMBER;
    case 3: lua_pushinteger(L, (int8_t)bytes_u8(&session->input)); return LUA_TNUMBER;
    case 4: {
        const char *text = bytes_text(&session->input, 100, &length);
        lua_pushlstring(L, text, length);
        return LUA_TSTRING;
    }
    case 5: lua_pushfstring(L, "%s:%d", "text", (int)pick(L, 256)); return LUA_TSTRING;
    case 6: lua_pushvector(L, 1, (float)pick(L, 4), 3); return LUA_TVECTOR;
    case 7: lua_createtable(L, (int)pick(L, 20), (int)pick(L, 20)); return LUA_TTABLE;
    case 8: push_function(L); return lua_type(L, -1);
    case 9: push_block(L); return lua_type(L, -1);
    case 10: lua_pushlightuserdata(L, session); return LUA_TLIGHTUSERDATA;
    default: lua_newthread(L); return LUA_TTHREAD;
    }
}

/* ---- operations ------------------------------------------------------------------------------ */

static void op_push(lua_State *L)
{
    int top = lua_gettop(L), type = push_any(L);
    FUZZ_CHECK(lua_gettop(L) == top + 1 && lua_type(L, -1) == type, "type %d, %d", type,
               lua_type(L, -1));
}

static void op_arrange(lua_State *L)
{
    int top = lua_gettop(L), index = any_index(L), type = lua_type(L, index);
    switch (pick(L, 6)) {
    case 0:
        lua_pushvalue(L, index);
        FUZZ_CHECK(lua_gettop(L) == top + 1 && lua_type(L, -1) == type, "pushvalue");
        break;
    case 1:
        lua_remove(L, index);
        FUZZ_CHECK(lua_gettop(L) == top - 1, "remove");
        break;
    case 2:
        type = lua_type(L, -1);
        index = lua_absindex(L, index);
        lua_insert(L, index);
        FUZZ_CHECK(lua_gettop(L) == top && lua_type(L, index) == type, "insert");
        break;
    case 3:
        type = lua_type(L, -1);
        index = lua_absindex(L, index);
        lua_replace(L, index);
        FUZZ_CHECK(lua_gettop(L) == top - 1 && (index == top || lua_type(L, index) == type),
                   "replace");
        break;
    case 4: lua_settop(L, (int)pick(L, DEPTH_MAX)); break;
    default:
        FUZZ_CHECK(lua_rawequal(L, index, lua_absindex(L, index)) || type == LUA_TNUMBER, "equal");
        break;
    }
}

static void op_read(lua_State *L)
{
    int index = any_index(L), isnum;
    size_t length;
    double sum = lua_tonumberx(L, index, &isnum);
    sum += lua_tointegerx(L, index, NULL) + lua_tounsignedx(L, index, NULL);
    sum += lua_toboolean(L, index) + lua_objlen(L, index) + lua_isnumber(L, index);
    sum += (lua_touserdata(L, index) != NULL) + (lua_tothread(L, index) != NULL) +
           (lua_tobuffer(L, index, &length) != NULL) + (lua_topointer(L, index) != NULL) +
           (lua_tovector(L, index) != NULL) + (lua_tocfunction(L, index) != NULL) +
           lua_userdatatag(L, index);
    FUZZ_CHECK(isnum == lua_isnumber(L, index), "isnum, %g", sum);
    if (pick(L, 2)) {
        int top = lua_gettop(L);
        const char *text = luaL_tolstring(L, index, &length);
        FUZZ_CHECK(text[length] == '\0' && lua_gettop(L) == top + 1, "text");
    } else if (lua_tolstring(L, index, &length)) {
        FUZZ_CHECK(lua_type(L, index) == LUA_TSTRING, "converted in place");
    }
}

static void op_compare(lua_State *L)
{
    int a = any_index(L), b = any_index(L);
    if (lua_rawequal(L, a, b))
        FUZZ_CHECK(lua_type(L, a) == lua_type(L, b), "equal, of two types");
    if (pick(L, 2))
        lua_equal(L, a, b);
    else
        lua_lessthan(L, a, b);
}

static void op_get(lua_State *L)
{
    int index = pick(L, 8) ? index_of_type(L, LUA_TTABLE) : LUA_GLOBALSINDEX;
    if (index == 0)
        return;
    int top = lua_gettop(L), type;
    switch (pick(L, 5)) {
    case 0: type = lua_getfield(L, index, "name"); break;
    case 1: type = lua_rawgeti(L, index, (int)pick(L, 30)); break;
    case 2: type = lua_rawgetfield(L, index, "name"); break;
    case 3:
        lua_pushvalue(L, any_index(L));
        type = lua_rawget(L, index);
        break;
    default:
        lua_pushvalue(L, any_index(L));
        type = lua_gettable(L, index);
        break;
    }
    FUZZ_CHECK(lua_gettop(L) == top + 1 && lua_type(L, -1) == type, "get");
}

static void op_set(lua_State *L)
{
    int index = index_of_type(L, LUA_TTABLE);
    if (index == 0)
        return;
    int top = lua_gettop(L), type = lua_type(L, -1);
    switch (pick(L, 5)) {
    case 0:
        lua_pushvalue(L, -1);
        lua_setfield(L, index, "name");
        break;
    case 1: {
        int n = (int)pick(L, 40);
        lua_pushvalue(L, -1);
        lua_rawseti(L, index, n);
        FUZZ_CHECK(lua_rawgeti(L, index, n) == type, "rawseti");
        lua_pop(L, 1);
        break;
    }
    case 2:
        lua_pushvalue(L, -1);
        lua_rawsetfield(L, index, "value");
        break;
    case 3:
        lua_pushvalue(L, any_index(L));
        lua_pushvalue(L, any_index(L));
        lua_rawset(L, index);
        break;
    default:
        lua_pushvalue(L, any_index(L));
        lua_pushvalue(L, any_index(L));
        lua_settable(L, index);
        break;
    }
    FUZZ_CHECK(lua_gettop(L) == top, "set");
}

static void op_table(lua_State *L)
{
    int index = index_of_type(L, LUA_TTABLE), top = lua_gettop(L);
    if (index == 0)
        return;
    switch (pick(L, 6)) {
    case 0: lua_clonetable(L, index); break;
    case 1:
        if (!lua_getreadonly(L, index))
            lua_cleartable(L, index);
        break;
    case 2: lua_setreadonly(L, index, (int)pick(L, 2)); break;
    case 3:
        if (lua_getreadonly(L, index))
            break;
        pick(L, 3) ? lua_pushvalue(L, index) : lua_pushnil(L);
        lua_setmetatable(L, index);
        break;
    case 4: {
        int count = 0;
        lua_pushnil(L);
        while (lua_next(L, index)) {
            lua_pop(L, 1);
            count++;
        }
        for (int iter = 0; (iter = lua_rawiter(L, index, iter)) != -1; lua_pop(L, 2))
            count--;
        FUZZ_CHECK(count == 0, "next and rawiter differ by %d", count);
        FUZZ_CHECK(lua_gettop(L) == top, "traversal");
        break;
    }
    default:
        if (lua_getmetatable(L, index))
            FUZZ_CHECK(lua_type(L, -1) == LUA_TTABLE, "metatable");
        break;
    }
}

static void op_call(lua_State *L)
{
    int index = index_of_type(L, LUA_TFUNCTION);
    if (index == 0)
        return;
    Session *session = session_of(L);
    int top = lua_gettop(L), nesting = session->nesting, nargs = (int)pick(L, 3);
    int wanted = (int)pick(L, 4) - 1;
    lua_pushvalue(L, index);
    for (int i = 0; i < nargs; i++)
        lua_pushvalue(L, any_index(L));
    if (pick(L, 3) == 0) {
        lua_call(L, nargs, wanted);
        FUZZ_CHECK(wanted < 0 || lua_gettop(L) == top + wanted, "call");
        return;
    }
    int status = lua_pcall(L, nargs, wanted, pick(L, 3) == 0 ? index : 0);
    session->nesting = nesting;
    if (status == LUA_OK)
        FUZZ_CHECK(wanted < 0 || lua_gettop(L) == top + wanted, "pcall");
    else
        FUZZ_CHECK(lua_gettop(L) == top + 1, "pcall: status %d, top %d", status, lua_gettop(L));
}

static void op_resume(lua_State *L)
{
    int index = index_of_type(L, LUA_TTHREAD), function = index_of_type(L, LUA_TFUNCTION);
    lua_State *co = index ? lua_tothread(L, index) : NULL;
    if (!co || co == L || lua_costatus(L, co) == LUA_CONOR)
        return;
    Session *session = session_of(L);
    int status = lua_status(co), nesting = session->nesting;
    if (pick(L, 8) == 0) {
        lua_resetthread(co);
        FUZZ_CHECK(lua_isthreadreset(co), "not reset");
        return;
    }
    if (status != LUA_OK && status != LUA_YIELD)
        return;
    lua_rawcheckstack(co, 4);
    if (status == LUA_OK) {
        if (function == 0)
            return;
        lua_settop(co, 0);
        lua_xpush(L, co, function);
    } else {
        lua_settop(co, 0);
    }
    lua_pushvalue(L, any_index(L));
    lua_xmove(L, co, 1);
    status = lua_resume(co, L, 1);
    session->nesting = nesting;
    if (status == LUA_KILLED)
        luau_poll(L);
    FUZZ_CHECK(status == LUA_KILLED || lua_status(co) == status, "status %d, %d", status,
               lua_status(co));
    if (lua_gettop(co) > 0 && status != LUA_KILLED)
        lua_xpush(co, L, -1);
}

static void op_reference(lua_State *L)
{
    Session *session = session_of(L);
    unsigned slot = pick(L, REFS_MAX);
    int ref = session->refs[slot];
    if (ref == LUA_NOREF) {
        int index = any_index(L);
        ref = lua_ref(L, index);
        session->ref_types[slot] = lua_type(L, index);
        session->refs[slot] = ref;
    } else if (pick(L, 2)) {
        int top = lua_gettop(L);
        lua_getref(L, ref);
        FUZZ_CHECK(lua_gettop(L) == top + 1 && lua_type(L, -1) == session->ref_types[slot], "ref");
    } else {
        session->refs[slot] = LUA_NOREF;
        lua_unref(L, ref);
    }
}

static void op_text(lua_State *L)
{
    int top = lua_gettop(L);
    luaL_Strbuf b;
    size_t length, sum = 0;
    luaL_buffinit(L, &b);
    for (unsigned i = pick(L, 6); i > 0; i--) {
        switch (pick(L, 4)) {
        case 0: {
            const char *text = bytes_text(&session_of(L)->input, 200, &length);
            luaL_addlstring(&b, text, length);
            break;
        }
        case 1:
            length = pick(L, 256) * 8;
            memset(luaL_prepbuffsize(&b, length), 'x', length);
            b.p += length;
            break;
        case 2:
            lua_pushinteger(L, 12345);
            luaL_addvalue(&b);
            length = 5;
            break;
        default:
            luaL_addchar(&b, 'c');
            length = 1;
            break;
        }
        sum += length;
    }
    luaL_pushresult(&b);
    FUZZ_CHECK(lua_gettop(L) == top + 1 && lua_objlen(L, -1) == (int)sum, "buffer");
}

static void op_vm(lua_State *L)
{
    Session *session = session_of(L);
    switch (pick(L, 8)) {
    case 0: lua_gc(L, LUA_GCCOLLECT, 0); break;
    case 1: lua_gc(L, LUA_GCSTEP, (int)pick(L, 20)); break;
    case 2: {
        luau_charge(L, 500);
        session->charged += 500;
        break;
    }
    case 3:
        luau_charge(L, -session->charged);
        session->charged = 0;
        break;
    case 4: luau_failalloc(L, pick(L, 40)); break;
    case 5: luau_traceback(L, L, "trace", 0, 10); break;
    case 6: luau_preempt(L); break;
    default: {
        int count = 2 + (int)pick(L, 3);
        for (int i = 0; i < count; i++)
            pick(L, 2) ? lua_pushinteger(L, i) : lua_pushliteral(L, "piece");
        lua_concat(L, count);
        break;
    }
    }
}

static void operate(lua_State *L, int count)
{
    static void (*const operations[])(lua_State *) = {
        op_push, op_push,  op_push,   op_arrange,   op_read, op_compare, op_get,
        op_set,  op_table, op_resume, op_reference, op_text, op_vm,      op_call,
    };
    Session *session = session_of(L);
    lua_rawcheckstack(L, 3 * DEPTH_MAX);
    for (int i = 0; i < count && bytes_left(&session->input); i++) {
        if (++session->operations > OPERATIONS_MAX)
            return;
        if (lua_gettop(L) > DEPTH_MAX)
            lua_settop(L, DEPTH_MAX / 2);
        if (lua_gettop(L) == 0)
            op_push(L);
        else
            operations[pick(L, sizeof(operations) / sizeof(*operations))](L);
    }
}

/* ---- running --------------------------------------------------------------------------------- */

static void protected_part(lua_State *L, void *arg)
{
    (void)arg;
    operate(L, 1000);
}

static void work(lua_State *L, void *arg)
{
    Session *session = arg;
    for (int i = 0; i < PARTS_MAX && bytes_left(&session->input); i++) {
        session->nesting = 0;
        int status = luau_protect(L, protected_part, NULL);
        if (status == LUA_KILLED)
            luau_clearkill(L);
        FUZZ_CHECK(lua_gettop(L) >= (status == LUA_OK ? 0 : 1), "status %d, empty stack", status);
        lua_settop(L, 0);
        luau_failalloc(L, 0);
        const char *fault = luau_checkheap(L);
        FUZZ_CHECK(!fault, "%s", fault);
    }
}

static void on_print(lua_State *L, int level, const char *text, size_t length)
{
    (void)L, (void)level, (void)text, (void)length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Session session = {.input = bytes_of(data, size)};
    for (int i = 0; i < REFS_MAX; i++)
        session.refs[i] = LUA_NOREF;
    unsigned flags = bytes_u8(&session.input), quota = bytes_u8(&session.input);
    luau_VmOptions options = {.image = image, .userdata = &session};
    if (flags & 4)
        options.memory_max_bytes = (size_t)(8 + quota) << 10;
    lua_State *L = luau_newvm(&options);
    FUZZ_CHECK(L, "no VM");
    lua_callbacks(L)->print = on_print;
    luau_testmode(L, (int)(flags & 3));
    FUZZ_CHECK(luau_run(fibers, L, work, &session) != LUAU_NOSTACK, "no stack");
    while (luau_isparked(L))
        luau_continue(L);
    if (!(flags & 8))
        luau_shrink(L);
    const char *fault = luau_checkheap(L);
    FUZZ_CHECK(!fault, "%s", fault);
    lua_close(L);
    FUZZ_CHECK(session.made == session.destroyed, "%ld userdata made, %ld destroyed", session.made,
               session.destroyed);
    return 0;
}
