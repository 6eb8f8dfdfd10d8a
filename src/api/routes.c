#include "api/routes.h"

#include <stdio.h>

#include "base/base.h"
#include "base/jsontext.h"

/* Bits of QUERIES. */
enum Query { QUERY_LOGS = 1, QUERY_WAIT = 2, QUERY_WAIT_MS = 4 };

static bool healthz(ApiCall *call)
{
    strbuf_puts(&call->response, "{\"status\":\"ok\",\"version\":\"" LUAU_VERSION "\"}");
    call_succeed(call, 200);
    return false;
}

static const Route ROUTES[] = {
    {"POST", "/execute", QUERY_LOGS | QUERY_WAIT, true, true, execute_start},
    {"POST", "/guilds/{guild}/events", QUERY_LOGS | QUERY_WAIT | QUERY_WAIT_MS, true, false,
     events_start},
    {"GET", "/executions/{id}", QUERY_LOGS, false, true, execution_get},
    {"DELETE", "/executions/{id}", 0, false, true, execution_cancel},
    {"GET", "/guilds/{guild}/vm", 0, false, true, vm_get},
    {"DELETE", "/guilds/{guild}/vm", 0, false, true, vm_destroy},
    {"PATCH", "/guilds/{guild}/limits", 0, true, true, limits_start},
    {"GET", "/vms", 0, false, true, vms_get},
    {"GET", "/healthz", 0, false, true, healthz},
};

/* ---- Paths ------------------------------------------------------------------------------------
 */

static size_t segment_length(const char *path)
{
    return strcspn(path, "/");
}

/* Where the value of the parameter begins, and its end; `path` where there is none. */
typedef struct PathMatch {
    const char *guild, *id;
} PathMatch;

static bool match(const char *pattern, const char *path, PathMatch *found)
{
    *found = (PathMatch){NULL, NULL};
    for (;;) {
        size_t length = segment_length(pattern), other = segment_length(path);
        if (pattern[0] == '{') {
            if (other == 0)
                return false;
            *(pattern[1] == 'g' ? &found->guild : &found->id) = path;
        } else if (length != other || memcmp(pattern, path, length) != 0) {
            return false;
        }
        pattern += length;
        path += other;
        if (*pattern == '\0' || *path == '\0')
            return *pattern == *path;
        pattern++;
        path++;
    }
}

static bool read_parameters(ApiCall *call, const PathMatch *found)
{
    call->id = found->id; /* the last of its path: it ends with the text */
    if (!found->guild)
        return true;
    call->guild_id = guild_id_read(found->guild, segment_length(found->guild));
    if (call->guild_id == 0)
        call_fail_text(call, 400, "invalid_request",
                       "path: expected a guild id, a decimal 64-bit number, behind /guilds/");
    return call->guild_id != 0;
}

void route_allowed(const ApiCall *call, char *text, size_t size)
{
    size_t length = 0;
    text[0] = '\0';
    for (size_t i = 0; call->route && i < BASE_ARRAY_COUNT(ROUTES) && length < size; i++)
        if (strcmp(ROUTES[i].path, call->route->path) == 0)
            length += (size_t)snprintf(text + length, size - length, "%s%s", length > 0 ? ", " : "",
                                       ROUTES[i].method);
}

/* ---- Queries ----------------------------------------------------------------------------------
 */

static bool read_flag(const char *text, bool *flag)
{
    *flag = strcmp(text, "1") == 0 || strcmp(text, "true") == 0;
    return *flag || strcmp(text, "0") == 0 || strcmp(text, "false") == 0;
}

static bool read_wait_ms(const char *text, unsigned *wait_ms)
{
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 6 || text[digits] != '\0')
        return false;
    *wait_ms = 0;
    for (size_t i = 0; i < digits; i++)
        *wait_ms = *wait_ms * 10 + (unsigned)(text[i] - '0');
    return *wait_ms >= 1 && *wait_ms <= WAIT_MS_MAX;
}

static const char *const QUERIES[] = {"logs", "wait", "wait_ms"};
enum { QUERY_COUNT = BASE_ARRAY_COUNT(QUERIES) };

/* NULL, or what was expected. */
static const char *read_query(ApiCall *call, int query, const char *value)
{
    bool good;
    switch (1u << query) {
    case QUERY_WAIT_MS: good = read_wait_ms(value, &call->query.wait_ms); break;
    case QUERY_WAIT: good = read_flag(value, &call->query.wait); break;
    default: good = read_flag(value, &call->query.logs); break;
    }
    return good                           ? NULL
           : 1u << query == QUERY_WAIT_MS ? "an integer from 1 to 600000"
                                          : "1, true, 0 or false";
}

static void fail_unknown_query(ApiCall *call, const char *name)
{
    char text[192];
    int length = snprintf(text, sizeof(text), "unknown query parameter: %.64s; this path has ",
                          name);
    if (call->route->queries == 0)
        snprintf(text + length, sizeof(text) - (size_t)length, "none");
    bool first = true;
    for (int i = 0; i < QUERY_COUNT; i++) {
        if (!(call->route->queries & 1u << i))
            continue;
        length += snprintf(text + length, sizeof(text) - (size_t)length, "%s%s", first ? "" : ", ",
                           QUERIES[i]);
        first = false;
    }
    call_fail_text(call, 400, "invalid_request", text);
}

static enum MHD_Result check_query(void *arg, enum MHD_ValueKind kind, const char *name,
                                   const char *value)
{
    ApiCall *call = arg;
    char text[96];
    (void)kind;
    for (int i = 0; i < QUERY_COUNT; i++) {
        if (!(call->route->queries & 1u << i) || strcmp(QUERIES[i], name) != 0)
            continue;
        const char *expected = read_query(call, i, value ? value : "");
        if (call->query.seen & 1u << i)
            snprintf(text, sizeof(text), "query parameter %s: given twice", name);
        else if (expected)
            snprintf(text, sizeof(text), "query parameter %s: expected %s", name, expected);
        else
            text[0] = '\0';
        call->query.seen |= 1u << i;
        if (text[0] == '\0')
            return MHD_YES;
        call_fail_text(call, 400, "invalid_request", text);
        return MHD_NO;
    }
    fail_unknown_query(call, name);
    return MHD_NO;
}

/* ---- Finding ----------------------------------------------------------------------------------
 */

bool route_find(ApiCall *call, const char *method, const char *path)
{
    PathMatch found;
    bool known = false;
    if (strcmp(method, "HEAD") == 0)
        method = "GET";
    for (size_t i = 0; i < BASE_ARRAY_COUNT(ROUTES) && !known; i++) {
        if (!match(ROUTES[i].path, path, &found))
            continue;
        call->route = &ROUTES[i];
        known = strcmp(ROUTES[i].method, method) == 0;
    }
    if (!call->route) {
        call_fail_text(call, 404, "not_found", "there is no such path");
        return false;
    }
    if (!known) {
        call_fail_text(call, 405, "method_not_allowed", "this path has no such method");
        return false;
    }
    if (!read_parameters(call, &found))
        return false;
    call->query.wait = call->route->wait;
    MHD_get_connection_values(call->connection, MHD_GET_ARGUMENT_KIND, check_query, call);
    return call->status == 0;
}
