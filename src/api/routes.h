/* routes.h: which handler a request is for. */
#ifndef API_ROUTES_H
#define API_ROUTES_H

#include "api/call.h"

typedef struct Route {
    const char *method;
    const char *path; /* {guild}: a guild's id; {id}: one segment, whatever it is */
    unsigned queries; /* what it understands: bits of enum Query (routes.c) */
    bool has_body;
    bool wait; /* what ?wait= is when it is not given */
    bool (*start)(ApiCall *call);
} Route;

/* Sets the call's route, and what the path and the query say. False: the response is there. */
bool route_find(ApiCall *call, const char *method, const char *path);
/* The methods that the path of the call's route has: "GET, DELETE". */
void route_allowed(const ApiCall *call, char *text, size_t size);

#endif
