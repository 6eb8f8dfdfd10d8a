/* debug.c: what runs, and where: lua_getinfo, tracebacks, positions in messages.
 *
 * Levels count frames from the running function (0) outwards; the host's own frame at the bottom of
 * each thread is none. */
#include <stdio.h>

#include "luau/api.h"
#include "luau/module.h"

int lua_stackdepth(lua_State *L)
{
    return (int)(L->ci - L->ci_base);
}

static CallInfo *frame_at(lua_State *L, int level)
{
    return level >= 0 && level < lua_stackdepth(L) ? L->ci - level : NULL;
}

/* ---- lua_getinfo ----------------------------------------------------------------------------- */

static void fill_source(lua_Debug *ar, const Closure *f)
{
    if (f->kind != CLOSURE_LUA) {
        ar->source = "=[C]";
        ar->what = "C";
        ar->linedefined = -1;
        memcpy(ar->ssbuf, "[C]", sizeof("[C]"));
    } else {
        const Proto *p = f->l.proto;
        ar->source = p->module->chunkname->data;
        ar->what = p == p->module->main ? "main" : "Lua";
        ar->linedefined = p->line_defined;
        snprintf(ar->ssbuf, sizeof(ar->ssbuf), "%s", p->module->shown_name);
    }
    ar->short_src = ar->ssbuf;
}

static int line_of(lua_State *L, const Closure *f, CallInfo *ci)
{
    if (f->kind != CLOSURE_LUA)
        return -1;
    return ci ? luD_currentline(L, ci) : f->l.proto->line_defined;
}

static const char *name_of(const Closure *f)
{
    if (f->kind != CLOSURE_LUA)
        return f->c.name;
    return f->l.proto->name ? f->l.proto->name->data : NULL;
}

static void fill_arguments(lua_Debug *ar, const Closure *f)
{
    bool lua = f->kind == CLOSURE_LUA;
    ar->nparams = lua ? f->l.proto->numparams : 0;
    ar->isvararg = lua ? f->l.proto->is_vararg != 0 : 1;
}

int lua_getinfo(lua_State *L, int level, const char *what, lua_Debug *ar)
{
    CallInfo *ci = NULL;
    Value function;
    if (level < 0) {
        function = luE_value(L, level);
        BASE_ASSERT(val_isfunction(function));
    } else {
        ci = frame_at(L, level);
        if (!ci)
            return 0;
        function = *ci->func;
    }
    const Closure *f = val_closure(function);
    for (; *what; what++) {
        switch (*what) {
        case 's': fill_source(ar, f); break;
        case 'l': ar->currentline = line_of(L, f, ci); break;
        case 'n': ar->name = name_of(f); break;
        case 'a': fill_arguments(ar, f); break;
        case 'u': ar->nupvals = f->nup; break;
        case 'f': api_push(L, function); break;
        default: api_check(L, false); break;
        }
    }
    return 1;
}

/* ---- positions ------------------------------------------------------------------------------- */

void luaL_where(lua_State *L, int level)
{
    CallInfo *ci = frame_at(L, level);
    if (ci && ci_isluau(ci))
        lua_pushfstring(L, "%s:%d: ", ci_closure(ci)->l.proto->module->shown_name,
                        luD_currentline(L, ci));
    else
        lua_pushliteral(L, "");
}

/* ---- tracebacks ------------------------------------------------------------------------------ */

enum { NAME_SHOWN_MAX = 255, FRAMES_PER_POLL = 64 };

/* `CHUNK:LINE function NAME`, without what there is not. */
static void add_frame(luaL_Strbuf *B, lua_State *L, CallInfo *ci)
{
    const Closure *f = ci_closure(ci);
    char line[LUA_IDSIZE + NAME_SHOWN_MAX + 40];
    int number = luD_currentline(L, ci);
    const char *name = name_of(f);
    int length = snprintf(line, sizeof(line), "%s", f->l.proto->module->shown_name);
    if (number > 0)
        length += snprintf(line + length, sizeof(line) - (size_t)length, ":%d", number);
    if (name && *name)
        length += snprintf(line + length, sizeof(line) - (size_t)length, " function %.*s",
                           NAME_SHOWN_MAX, name);
    line[length] = '\n';
    luaL_addlstring(B, line, (size_t)length + 1);
}

static int count_luau_frames(lua_State *L, int level, int depth)
{
    int count = 0;
    for (int i = level; i < depth; i++)
        count += ci_isluau(L->ci - i);
    return count;
}

void luau_traceback(lua_State *to, lua_State *L, const char *msg, int level, int max_frames)
{
    luaL_Strbuf B;
    luaL_buffinit(to, &B);
    if (msg) {
        luaL_addstring(&B, msg);
        luaL_addchar(&B, '\n');
    }
    int depth = lua_stackdepth(L);
    int count = count_luau_frames(L, level, depth);
    int skip_from = count, skip_to = count; /* of the Luau frames, counted from the innermost */
    if (max_frames > 0 && count > max_frames) {
        skip_from = (max_frames + 1) / 2;
        skip_to = count - max_frames / 2;
    }
    int shown = 0;
    for (int i = level; i < depth; i++) {
        if (!ci_isluau(L->ci - i))
            continue;
        if (shown == skip_from && skip_to > skip_from) {
            char text[40];
            snprintf(text, sizeof(text), "... (+%d frames)\n", skip_to - skip_from);
            luaL_addstring(&B, text);
        }
        if (shown < skip_from || shown >= skip_to)
            add_frame(&B, L, L->ci - i);
        if (++shown % FRAMES_PER_POLL == 0)
            luau_poll(to);
    }
    luaL_pushresult(&B);
}
