/* The functions with patterns: find, match, gmatch, gsub. */
#include <string.h>

#include "luau/lib/lib_strmatch.h"

/* ---- Captures as values ---- */

/* Capture i of the match from s to end (the whole match if the pattern has none). */
static void push_capture(Match *m, int i, const char *s, const char *end)
{
    if (i >= m->level) {
        if (i != 0)
            luaL_error(m->L, "invalid capture index");
        lua_pushlstring(m->L, s, (size_t)(end - s));
        return;
    }
    ptrdiff_t length = m->capture[i].length;
    if (length == CAPTURE_UNFINISHED)
        luaL_error(m->L, "unfinished capture");
    if (length == CAPTURE_POSITION)
        lua_pushinteger(m->L, (int)(m->capture[i].start - m->start) + 1);
    else
        lua_pushlstring(m->L, m->capture[i].start, (size_t)length);
}

/* All captures, or with `whole` the match itself if there are none. Returns how many. */
static int push_captures(Match *m, const char *s, const char *end, bool whole)
{
    int count = m->level == 0 && whole ? 1 : m->level;
    luaL_checkstack(m->L, count, "too many captures");
    for (int i = 0; i < count; i++)
        push_capture(m, i, s, end);
    return count;
}

/* ---- find, match ---- */

static bool has_specials(lua_State *L, const char *p, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        switch (p[i]) {
        case '^':
        case '$':
        case '*':
        case '+':
        case '?':
        case '.':
        case '(':
        case '[':
        case '%':
        case '-': return true;
        default:
            if (i % STRING_POLL_BYTES == STRING_POLL_BYTES - 1)
                luY_poll(L);
        }
    }
    return false;
}

static int find_or_match(lua_State *L, bool find)
{
    size_t length, pattern_length;
    const char *s = luStr_check(L, 1, &length);
    const char *p = luStr_check(L, 2, &pattern_length);
    ptrdiff_t init = luStr_position(lib_optint(L, 3, 1), length);
    if (init < 1)
        init = 1;
    if (init > (ptrdiff_t)length + 1) {
        lua_pushnil(L);
        return 1;
    }
    const char *from = s + init - 1;
    if (find && (lua_toboolean(L, 4) || !has_specials(L, p, pattern_length))) {
        size_t left = length - (size_t)(init - 1);
        const char *hit = luStr_search(L, from, left, p, pattern_length);
        if (!hit) {
            lua_pushnil(L);
            return 1;
        }
        luD_push(L, val_number((double)(hit - s + 1)));
        luD_push(L, val_number((double)(hit - s) + (double)pattern_length));
        return 2;
    }
    Match m;
    luStr_matchinit(&m, L, s, length, p, pattern_length);
    bool anchored = *p == '^';
    const char *end = luStr_matchsearch(&m, &from, p + anchored, anchored);
    if (!end) {
        lua_pushnil(L);
        return 1;
    }
    if (!find)
        return push_captures(&m, from, end, true);
    luD_push(L, val_number((double)(from - s + 1)));
    luD_push(L, val_number((double)(end - s)));
    return 2 + push_captures(&m, from, end, false);
}

int luStr_find(lua_State *L)
{
    return find_or_match(L, true);
}

int luStr_match(lua_State *L)
{
    return find_or_match(L, false);
}

/* ---- gmatch ---- */

/* Upvalues: subject, pattern, offset at which to go on. */
static int gmatch_next(lua_State *L)
{
    Value *up = ci_closure(L->ci)->c.up;
    const String *subject = val_string(up[0]), *pattern = val_string(up[1]);
    if (up[2].n > subject->length)
        return 0;
    const char *s = subject->data + (size_t)up[2].n;
    Match m;
    luStr_matchinit(&m, L, subject->data, subject->length, pattern->data, pattern->length);
    const char *end = luStr_matchsearch(&m, &s, pattern->data, false);
    if (!end) {
        up[2] = val_number((double)subject->length + 1);
        return 0;
    }
    up[2] = val_number((double)(end - subject->data + (end == s)));
    return push_captures(&m, s, end, true);
}

int luStr_gmatch(lua_State *L)
{
    luaL_checkstring(L, 1);
    luaL_checkstring(L, 2);
    lua_settop(L, 2);
    lua_pushinteger(L, 0);
    lua_pushcclosurek(L, gmatch_next, NULL, 3, NULL);
    return 1;
}

/* ---- gsub ---- */

typedef struct Substitution {
    Match m;
    luaL_Strbuf b;
    int type;         /* of the replacement, argument 3 */
    const char *text; /* of a string replacement */
    size_t text_length;
    bool plain; /* no `%` in it */
} Substitution;

/* A replacement string with its %0..%9 and %%. */
static void add_template(Substitution *sub, const char *s, const char *end)
{
    const char *p = sub->text, *text_end = p + sub->text_length;
    for (;;) {
        const char *percent = luY_find(p, '%', (size_t)(text_end - p));
        luaL_addlstring(&sub->b, p, (size_t)((percent ? percent : text_end) - p));
        if (!percent)
            return;
        match_spend(&sub->m, 1);
        char c = percent[1]; /* at the end: the NUL */
        p = percent + 2;
        if (c == '%') {
            luaL_addchar(&sub->b, '%');
        } else if (!luStr_isdigit(c)) {
            luaL_error(sub->m.L, "invalid use of '%%' in replacement string");
        } else if (c == '0') {
            luaL_addlstring(&sub->b, s, (size_t)(end - s));
        } else {
            push_capture(&sub->m, c - '1', s, end);
            luaL_addvalue(&sub->b);
        }
    }
}

/* Adds what replaces the match from s to end. false: the match stays as it is. */
static bool add_replacement(Substitution *sub, const char *s, const char *end)
{
    lua_State *L = sub->m.L;
    if (sub->plain) {
        luaL_addlstring(&sub->b, sub->text, sub->text_length);
        return true;
    }
    if (sub->type == LUA_TTABLE) {
        push_capture(&sub->m, 0, s, end);
        lua_gettable(L, 3);
    } else if (sub->type == LUA_TFUNCTION) {
        lua_pushvalue(L, 3);
        lua_call(L, push_captures(&sub->m, s, end, true), 1);
    } else {
        add_template(sub, s, end);
        return true;
    }
    if (!lua_toboolean(L, -1)) {
        lua_pop(L, 1);
        return false;
    }
    if (!lua_isstring(L, -1))
        luaL_error(L, "invalid replacement value (a %s)", luaL_typename(L, -1));
    luaL_addvalue(&sub->b);
    return true;
}

int luStr_gsub(lua_State *L)
{
    size_t length, pattern_length;
    const char *s = luStr_check(L, 1, &length);
    const char *p = luStr_check(L, 2, &pattern_length);
    int count_max = lib_optint(L, 4, (int)length + 1);
    Substitution sub; /* large: what is used is set */
    sub.type = lua_type(L, 3);
    sub.plain = false;
    luaL_argexpected(L,
                     sub.type == LUA_TNUMBER || sub.type == LUA_TSTRING ||
                         sub.type == LUA_TFUNCTION || sub.type == LUA_TTABLE,
                     3, "string/function/table");
    if (sub.type == LUA_TNUMBER || sub.type == LUA_TSTRING) {
        sub.text = luStr_check(L, 3, &sub.text_length);
        sub.plain = !luY_find(sub.text, '%', sub.text_length);
    }
    bool anchored = *p == '^';
    luStr_matchinit(&sub.m, L, s, length, p, pattern_length);
    luaL_buffinit(L, &sub.b);

    const char *kept = s; /* from here on the subject is still to be copied */
    int count = 0;
    while (count < count_max) {
        const char *end = luStr_matchsearch(&sub.m, &s, p + anchored, anchored);
        if (!end)
            break;
        count++;
        luaL_addlstring(&sub.b, kept, (size_t)(s - kept));
        kept = add_replacement(&sub, s, end) ? end : s;
        if (end > s)
            s = end;
        else if (s < sub.m.end)
            s++;
        else
            break;
        if (anchored)
            break;
    }
    if (count == 0) {
        lua_pushvalue(L, 1);
    } else {
        luaL_addlstring(&sub.b, kept, (size_t)(sub.m.end - kept));
        luaL_pushresult(&sub.b);
    }
    lua_pushinteger(L, count);
    return 2;
}
