/* store_call.h: a template's request to the store, as a call (KhronosCall).
 *
 *     native: arguments -> StoreRequest -> store_call    ... the thread waits, others go on ...
 *     whoever serves the call fills in the request's outcome, or refuses it
 *     push: the outcome -> the native's results, or an error that the template may catch
 *
 * An error says what the store says to whoever asked (its message, or what its status means to
 * anyone); texts that are meant for operators stay on this side. */
#ifndef PLUGINS_STORE_CALL_H
#define PLUGINS_STORE_CALL_H

#include "khronos/khronos.h"
#include "store/store.h"

enum { STORE_CALL_KIND = 1 };

typedef struct StoreCall StoreCall;
struct StoreCall {
    KhronosCall call;
    StoreRequest *request; /* its own */
    bool refused;          /* by who should have done it: request->message is the whole error */
    /* Pushes the results of a request that is STORE_OK (or NOT_FOUND, if the native set
     * takes_missing), or raises. */
    int (*results)(lua_State *L, StoreRequest *request);
    bool takes_missing;
    char where[LUA_IDSIZE + 16]; /* the line that called, for the error: `FILE:LINE: ` or "" */
};

/* Takes the request, also when it raises. Ends the native: `return store_call(L, ...)`. For the
 * push of the call: other statuses raise what message or store_status_text say. */
int store_call(lua_State *L, StoreRequest *request, bool takes_missing,
               int (*results)(lua_State *L, StoreRequest *request));
/* WorkerCalls.read of this kind: a call that has no `results`. NULL: bad, or no memory. Whose guild
 * the request is about is for the reader to compare with whose call it is. */
KhronosCall *store_call_read(const char *bytes, size_t length);

#endif
