/* store_call.h: a template's request to the store, as a call (KhronosCall). */
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
};

/* Takes the request, also when it raises. Ends the native: `return store_call(L, ...)`. For the
 * push of the call: other statuses raise what message or store_status_text say. */
int store_call(lua_State *L, StoreRequest *request, bool takes_missing,
               int (*results)(lua_State *L, StoreRequest *request));
/* WorkerCalls.read of this kind: a call that has no `results`. NULL: bad, or no memory. */
KhronosCall *store_call_read(const char *bytes, size_t length);

#endif
