/* One execution inside the VM, in this order:
 *
 *     validate       check_template; the event was read, and checked, by event_read
 *     compile        compile_entry: the code cache has it, or the VM's time pays for it
 *     check limits   task_enter: processor and wall time; memory is the VM's quota, at each step
 *     thread         make_thread: a Luau thread of its own,
 *     environment      with the template's global table, the event and the context
 *     run            task_resume, now and whenever it waited
 *     account        run_ended, run_finish: result or error, time, memory
 *
 * Whatever it owns outside the VM hangs on the execution, the run or the runtime, because a kill
 * leaves it without a word. */
#include <stdio.h>
#include <string.h>

#include "khronos/context.h"
#include "khronos/interop.h"
#include "khronos/runtime.h"

enum { TRACEBACK_FRAMES = 20, RESULTS_MAX = 1000, MESSAGE_MAX = 8192 };

static void put_message(Strbuf *out, const char *text, size_t length)
{
    strbuf_put(out, text, length < MESSAGE_MAX ? length : MESSAGE_MAX);
}

/* Those of the innermost Luau function on the thread's stack. */
void run_place(lua_State *co, KhronosExecution *x)
{
    lua_Debug ar;
    for (int level = 0; lua_getinfo(co, level, "sl", &ar); level++) {
        if (ar.currentline > 0) {
            x->line = ar.currentline;
            snprintf(x->path, sizeof(x->path), "%s", ar.short_src);
            return;
        }
    }
}

static void report_error(lua_State *L, lua_State *co, KhronosExecution *x)
{
    size_t length;
    x->status = KHRONOS_RUNTIME_ERROR;
    int type = lua_type(co, -1);
    if (type == LUA_TSTRING || type == LUA_TNUMBER) {
        const char *text = lua_tolstring(co, -1, &length);
        put_message(&x->message, text, length);
    } else {
        strbuf_printf(&x->message, "(error object is a %s value)", luaL_typename(co, -1));
    }
    run_place(co, x);
    luau_traceback(L, co, NULL, 0, TRACEBACK_FRAMES);
    const char *trace = lua_tolstring(L, -1, &length);
    put_message(&x->traceback, trace, length);
    lua_pop(L, 1);
}

static bool encode_one(lua_State *L, KhronosExecution *x, int index, const char *root)
{
    InteropWriter writer = {.out = x->out, .root = root};
    InteropError error;
    if (interop_encode(L, index, &writer, &error))
        return true;
    x->status = KHRONOS_INVALID_RESULT;
    if (x->out->failed)
        strbuf_printf(&x->message, "%s: longer than %zu bytes of JSON", root,
                      khronos_of(L)->limits->result_max_bytes);
    else
        strbuf_puts(&x->message, error.text);
    return false;
}

static bool encode_results(lua_State *L, KhronosExecution *x, int first, int count)
{
    x->result_count = count;
    if (count == 0) {
        strbuf_puts(x->out, "null");
        return true;
    }
    if (count == 1)
        return encode_one(L, x, first, "result");
    strbuf_putc(x->out, '[');
    for (int i = 0; i < count; i++) {
        char root[32];
        snprintf(root, sizeof(root), "result[%d]", i + 1);
        if (i > 0)
            strbuf_putc(x->out, ',');
        if (!encode_one(L, x, first + i, root))
            return false;
    }
    strbuf_putc(x->out, ']');
    return true;
}

static void take_results(lua_State *L, Run *run)
{
    lua_State *co = run->main.co;
    KhronosExecution *x = run->x;
    int count = lua_gettop(co);
    if (count > RESULTS_MAX || !lua_checkstack(L, count + LUA_MINSTACK)) {
        x->status = KHRONOS_INVALID_RESULT;
        strbuf_printf(&x->message, "the template returned %d values, %d at most", count,
                      RESULTS_MAX);
        return;
    }
    run->out_length = x->out->length;
    run->out_max = x->out->max;
    run->writing = true;
    int first = lua_gettop(L) + 1;
    lua_xmove(co, L, count);
    x->out->max = run->out_length + khronos_of(L)->limits->result_max_bytes;
    bool ok = encode_results(L, x, first, count);
    /* The buffer may have had more room than its new ceiling. */
    if (ok && (x->out->failed || x->out->length > x->out->max)) {
        ok = false;
        x->status = KHRONOS_INVALID_RESULT;
        strbuf_printf(&x->message, "result: longer than %zu bytes of JSON",
                      khronos_of(L)->limits->result_max_bytes);
    }
    if (!ok)
        run_unwrite(run);
    x->out->max = run->out_max;
    run->writing = false;
}

static void push_arguments(lua_State *L, KhronosRuntime *rt, KhronosExecution *x)
{
    event_push(L, x->event, x->id);
    context_push(L, rt->guild_id, x);
}

/* There must be something to run; false: x says why not. */
static bool check_template(KhronosExecution *x)
{
    KhronosTemplate *t = x->template_version;
    x->status = KHRONOS_COMPILE_ERROR;
    if (template_problem(t))
        strbuf_puts(&x->message, template_problem(t));
    else if (template_entry(t) < 0)
        strbuf_puts(&x->message, "the template has no init.luau");
    else
        return true;
    return false;
}

/* The code to run; NULL: x says why there is none. */
static luau_Module *compile_entry(lua_State *L, KhronosExecution *x)
{
    KhronosTemplate *t = x->template_version;
    luau_Diagnostic diagnostic;
    if (!check_template(x))
        return NULL;
    int entry = template_entry(t);
    luau_Module *module = template_compile(L, t, entry, &diagnostic);
    if (module)
        return module;
    strbuf_printf(&x->message, "%s:%d: %s", template_shown(t, entry), diagnostic.line,
                  diagnostic.message);
    snprintf(x->path, sizeof(x->path), "%s", template_shown(t, entry));
    x->line = diagnostic.line;
    x->column = diagnostic.column;
    return NULL;
}

/* Pushes the thread with all it needs. False: x says why not. */
static bool make_thread(lua_State *L, KhronosRuntime *rt, Run *run)
{
    KhronosExecution *x = run->x;
    luau_Module *module = compile_entry(L, x);
    if (!module)
        return false;
    x->status = KHRONOS_INTERNAL;
    run->instance = instance_get(L, &rt->instances, x->template_version);
    run->instance->runs++;
    lua_State *co = lua_newthread(L);
    lua_pushvalue(L, -2);
    lua_setfenv(L, -2);
    run->main.ref = lua_ref(L, -1);
    run->main.co = co;
    lua_setthreaddata(co, &run->main);
    luau_load(co, module, 0);
    push_arguments(L, rt, x);
    lua_xmove(L, co, 2);
    return true;
}

void run_start(lua_State *L, KhronosRuntime *rt, KhronosExecution *x)
{
    Run *run = run_new(rt, x);
    if (!run) {
        x->status = KHRONOS_INTERNAL;
        strbuf_puts(&x->message, "not enough memory");
        execution_done(rt, x);
        return;
    }
    Task *outer = task_enter(L, &run->main);
    bool made = make_thread(L, rt, run);
    if (!made) {
        run_finish(rt, run);
        run->main_alive = false;
        run_release(rt, run);
    } else {
        task_resume(L, &run->main, false, 2);
    }
    task_leave(L, outer);
}

void run_ended(lua_State *L, Run *run, int status)
{
    KhronosExecution *x = run->x;
    KhronosRuntime *rt = khronos_of(L);
    if (!x)
        return;
    if (status == LUA_OK) {
        x->status = KHRONOS_OK;
        take_results(L, run);
    } else {
        report_error(L, run->main.co, x);
    }
    run_finish(rt, run);
}
