#include "plugins/store_call.h"

#include <stdio.h>
#include <stdlib.h>

/* What an answer may weigh that nobody has seen yet, as far as calls under way are bounded by it.
 * Most are far smaller than they may be: these are a quarter of that, so what the answers of a
 * guild weigh together is at most four times the bound (CALLS_BYTES_MAX), about as much as its VM.
 */
enum {
    GUESSED_VALUE_BYTES = STORE_VALUE_MAX / 4,
    GUESSED_TEMPLATE_BYTES = 2 << 20, /* with its files */
    GUESSED_LIST_BYTES = 128 << 10
};

static StoreCall *of(KhronosCall *call)
{
    return (StoreCall *)call;
}

/* ---- The answer -------------------------------------------------------------------------------
 */

/* Was the text of the failure written for who asked? */
static bool is_for_tenants(const StoreCall *call)
{
    StoreStatus status = call->request->status;
    return call->refused || status == STORE_INVALID || status == STORE_TOO_MANY ||
           status == STORE_CONFLICT;
}

static int push(lua_State *L, KhronosCall *base)
{
    const StoreCall *call = of(base);
    StoreRequest *request = call->request;
    bool missing = request->status == STORE_NOT_FOUND && call->takes_missing;
    if (!call->refused && (request->status == STORE_OK || missing))
        return call->results(L, request);
    lua_pushstring(L, call->where);
    if (is_for_tenants(call) && request->message.data)
        lua_pushlstring(L, request->message.data, request->message.length);
    else
        lua_pushstring(L, store_status_text(request->status));
    lua_concat(L, 2);
    lua_error(L);
}

static void drop(KhronosCall *base)
{
    store_request_free(of(base)->request);
    free(base);
}

static void refuse(KhronosCall *base, const char *text)
{
    of(base)->refused = true;
    store_request_fail(of(base)->request, STORE_QUEUE_FULL, text);
}

/* ---- To another process and back --------------------------------------------------------------
 */

static void put_request(const KhronosCall *call, Strbuf *out)
{
    store_put_request(out, ((const StoreCall *)call)->request);
}

/* refused (1 byte) | the store's answer */
static void put_answer(const KhronosCall *base, Strbuf *out)
{
    const StoreCall *call = (const StoreCall *)base;
    strbuf_putc(out, call->refused ? 1 : 0);
    store_put_answer(out, call->request);
}

static bool read_answer(KhronosCall *base, const char *bytes, size_t length)
{
    if (length < 1 || (unsigned char)bytes[0] > 1)
        return false;
    of(base)->refused = bytes[0] == 1;
    return store_read_answer(of(base)->request, bytes + 1, length - 1);
}

static const KhronosCallKind KIND = {.number = STORE_CALL_KIND,
                                     .push = push,
                                     .drop = drop,
                                     .refuse = refuse,
                                     .put_request = put_request,
                                     .put_answer = put_answer,
                                     .read_answer = read_answer};

/* ---- Making one -------------------------------------------------------------------------------
 */

static size_t guessed_answer_bytes(const StoreRequest *request)
{
    size_t guess = 0;
    switch (request->op) {
    case STORE_KV:
        for (int i = 0; i < request->op_count; i++)
            if (request->ops[i].kind == STORE_KV_GET)
                guess += GUESSED_VALUE_BYTES;
        return guess;
    case STORE_KV_FIND: return STORE_PAGE_BYTES_MAX;
    case STORE_GET: return GUESSED_TEMPLATE_BYTES;
    case STORE_KV_KEYS:
    case STORE_KV_SCOPES:
    case STORE_LIST:
    case STORE_VERSIONS: return GUESSED_LIST_BYTES;
    default: return 0;
    }
}

/* NULL: no memory, and the request is gone. */
static StoreCall *new_call(StoreRequest *request)
{
    StoreCall *call = calloc(1, sizeof(*call));
    if (!call) {
        store_request_free(request);
        return NULL;
    }
    call->call.kind = &KIND;
    call->call.bytes = sizeof(*call) + request->bytes + guessed_answer_bytes(request);
    call->request = request;
    return call;
}

int store_call(lua_State *L, StoreRequest *request, bool takes_missing,
               int (*results)(lua_State *L, StoreRequest *request))
{
    lua_Debug ar;
    StoreCall *call = new_call(request);
    if (!call)
        luaL_error(L, "not enough memory");
    call->results = results;
    call->takes_missing = takes_missing;
    if (lua_getinfo(L, 1, "sl", &ar) && ar.currentline >= 0)
        snprintf(call->where, sizeof(call->where), "%s:%d: ", ar.short_src, ar.currentline);
    return khronos_call(L, &call->call);
}

KhronosCall *store_call_read(const char *bytes, size_t length)
{
    StoreRequest *request = store_read_request(bytes, length);
    StoreCall *call = request ? new_call(request) : NULL;
    return call ? &call->call : NULL;
}
