/* ctx.KV: what it takes and gives, what it allows, and that nothing is lost or leaks when runs end
 * in the middle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "khronos/runtime.h"
#include "plugin_store.h"

typedef struct Case {
    const char *source, *want;
} Case;

static void expect_all(StoreHost *host, const Case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++)
        host_expect(host, cases[i].source, cases[i].want);
}

static void fails_all(StoreHost *host, const Case *cases, size_t count)
{
    for (size_t i = 0; i < count; i++)
        host_fails(host, cases[i].source, cases[i].want);
}

#define EXPECT(host, cases) expect_all(host, cases, BASE_ARRAY_COUNT(cases))
#define FAILS(host, cases) fails_all(host, cases, BASE_ARRAY_COUNT(cases))

/* ---- What it does -----------------------------------------------------------------------------
 */

static void test_records(void **state)
{
    static const Case cases[] = {
        {"return kv:get('k', {'a'})", "[null,false]"},
        {"local r = kv:set('k', {1, 'two'}, {'b', 'a'}) return r.exists, type(r.id)",
         "[false,\"string\"]"},
        {"local r = kv:set('k', {x = true}, {'a', 'b', 'a'}) return r.exists", "true"},
        {"return kv:get('k', {'a', 'b'})", "[{\"x\":true},true]"},
        {"return kv:get('k', {'a'})", "[{\"x\":true},true]"},
        {"return kv:get('k', {'a', 'c'})", "[null,false]"},
        {"return kv:exists('k', {'b'}), kv:exists('l', {'b'})", "[true,false]"},
        {"kv:set('n', nil, {'a'}) return kv:get('n', {'a'})", "[null,true]"},
        {"kv:set('n', interop.null, {'a'}) return kv:get('n', {'a'})", "[null,true]"},
        {"kv:set('é%_\\\\ ', 'ü', {' '}) return kv:get('é%_\\\\ ', {' '})", "[\"ü\",true]"},
        {"return kv:delete('k', {'a'}), kv:delete('k', {'a'})", "[true,false]"},
        {"local r = kv:getrecord('k', {'a'}) return r.exists, r.key, r.scopes, r.id, r.resume",
         "[false,\"k\",[\"a\"],null,false]"},
        {"kv:set('k', 5, {'b', 'a'}, nil, true) local r = kv:getrecord('k', {'a'}) "
         "return r.key, r.scopes, r.value, r.exists, r.resume, r.created_at, r.last_updated_at, "
         "r.expires_at, r.expiry_failed, r.id == kv:set('k', 6, {'a', 'b'}).id",
         "[\"k\",[\"a\",\"b\"],5,true,true,\"1970-01-01T00:16:40Z\",\"1970-01-01T00:16:40Z\",null,"
         "false,true]"},
        {"return kv:getrecord('k', {'a'}).resume, kv:set('k', 6, {'a', 'b'}, nil, false).exists, "
         "kv:getrecord('k', {'a'}).resume",
         "[true,true,false]"},
        {"local a = kv local b = ctx.KV local c = require('@antiraid/kv').new(ctx) "
         "return a:get('k', {'a'}), b:get('k', {'a'}), (c:get('k', {'a'}))",
         "[6,6,6]"},
        {"return typeof(kv), tostring(kv), getmetatable(kv)",
         "[\"KV\",\"KV\",\"The metatable is locked\"]"},
    };
    EXPECT(*state, cases);
}

static void test_ids(void **state)
{
    static const Case cases[] = {
        {"local id = kv:set('k', 'v', {'a'}).id local v, found = kv:getbyid(id) "
         "local r = kv:getrecordbyid(id) return v, found, r.key, r.id == id, r.exists",
         "[\"v\",true,\"k\",true,true]"},
        {"local id = kv:getrecord('k', {'a'}).id local r = kv:setbyid(id, 'w', 2000) "
         "return r.exists, r.id == id, kv:get('k', {'a'}), kv:getrecordbyid(id).expires_at",
         "[true,true,\"w\",\"1970-01-01T00:33:20Z\"]"},
        {"local id = kv:getrecord('k', {'a'}).id return kv:setexpirybyid(id, nil), "
         "kv:getrecordbyid(id).expires_at, kv:deletebyid(id), kv:deletebyid(id), kv:getbyid(id)",
         "[true,null,true,false,null,false]"},
        {"local r = kv:getrecordbyid('77') return r.exists, r.id, r.key", "[false,\"77\",null]"},
        {"local r = kv:setbyid('77', 1) return r.exists, r.id", "[false,null]"},
        {"return kv:setexpirybyid('9223372036854775807', 5)", "false"},
    };
    static const Case errors[] = {
        {"kv:getbyid('')", "invalid 'id': a string of digits expected"},
        {"kv:getbyid('0')", "invalid 'id': a string of digits expected"},
        {"kv:getbyid('-1')", "invalid 'id': a string of digits expected"},
        {"kv:getbyid('1x')", "invalid 'id': a string of digits expected"},
        {"kv:getbyid(1)", "invalid 'id': a string of digits expected, as records have it, got "
                          "number"},
        {"kv:getbyid('9223372036854775808')", "invalid 'id'"},
        {"kv:getbyid('99999999999999999999999999999999')", "invalid 'id'"},
        {"kv:getbyid()", "got nil"},
    };
    EXPECT(*state, cases);
    FAILS(*state, errors);
}

/* The store's clock stands at 1,000,000 ms. */
static void test_expiry(void **state)
{
    static const Case cases[] = {
        {"kv:set('k', 1, {'a'}, 1234.5) return kv:getrecord('k', {'a'}).expires_at",
         "\"1970-01-01T00:20:34.5Z\""},
        {"kv:set('k', 2, {'a'}) return kv:getrecord('k', {'a'}).expires_at",
         "\"1970-01-01T00:20:34.5Z\""},
        {"local at = kv:getrecord('k', {'a'}).expires_at kv:set('l', 2, {'a'}, at) "
         "return kv:getrecord('l', {'a'}).expires_at == at",
         "true"},
        {"kv:set('k', 2, {'a'}, '2030-01-02T03:04:05+01:00') "
         "return kv:getrecord('k', {'a'}).expires_at",
         "\"2030-01-02T02:04:05Z\""},
        {"kv:set('k', 2, {'a'}, interop.null) return kv:getrecord('k', {'a'}).expires_at", "null"},
        {"return kv:setexpiry('k', {'a'}, 3000), kv:getrecord('k', {'a'}).expires_at",
         "[true,\"1970-01-01T00:50:00Z\"]"},
        {"return kv:setexpiry('k', {'a'}), kv:getrecord('k', {'a'}).expires_at", "[true,null]"},
        {"kv:setexpiry('k', {'a'}, 3000) return kv:setexpiry('k', {'a'}, interop.null), "
         "kv:getrecord('k', {'a'}).expires_at",
         "[true,null]"},
        {"return kv:setexpiry('none', {'a'}, 3000)", "false"},
    };
    static const Case errors[] = {
        {"kv:set('k', 1, {'a'}, 'tomorrow')", "invalid 'expires_at': a DateTime, an RFC 3339"},
        {"kv:set('k', 1, {'a'}, {})", "invalid 'expires_at'"},
        {"kv:set('k', 1, {'a'}, 0/0)", "invalid 'expires_at'"},
        {"kv:set('k', 1, {'a'}, 1e300)", "invalid 'expires_at'"},
        {"kv:setexpiry('k', {'a'}, true)", "invalid 'expires_at'"},
        {"kv:set('k', 1, {'a'}, nil, 1)", "invalid 'resume': a boolean expected, got number"},
        {"kv:set('k', 1, {'a'}, nil, interop.null)", "invalid 'resume'"},
    };
    EXPECT(*state, cases);
    FAILS(*state, errors);
}

static void test_pages(void **state)
{
    static const Case cases[] = {
        {"for i = 1, 7 do kv:set('k' .. i, i, {'a', i % 2 == 0 and 'even' or 'odd'}) end "
         "kv:set('k_', 0, {'a'}) return kv:keys({'a'})",
         "[[\"k1\",\"k2\",\"k3\",\"k4\",\"k5\",\"k6\",\"k7\",\"k_\"],null]"},
        {"return kv:keys({'a', 'even'})", "[[\"k2\",\"k4\",\"k6\"],null]"},
        {"return kv:keys({'nothing'})", "[[],null]"},
        {"return kv:list_scopes()", "[[\"a\",\"even\",\"odd\"],null]"},
        {"local a, next = kv:list_scopes({limit = 2}) return a, kv:list_scopes({after = next})",
         "[[\"a\",\"even\"],[\"odd\"],null]"},
        {"local list, next = kv:find('k_', {'odd'}) local t = {} for i, r in list do "
         "t[i] = r.key .. '=' .. r.value .. table.concat(r.scopes, '+') end return t, next",
         "[[\"k1=1a+odd\",\"k3=3a+odd\",\"k5=5a+odd\",\"k7=7a+odd\"],null]"},
        {"local list = kv:find('k\\\\_', {'a'}) return #list, list[1].key", "[1,\"k_\"]"},
        {"return #kv:find('%', {'a'}), #kv:find('x%', {'a'}), #kv:find('%5', {'a'})", "[8,0,1]"},
        {"local seen, after, pages = {}, nil, 0 repeat local list, next = "
         "kv:find('%', {'a'}, {after = after, limit = 3}) pages += 1 "
         "for _, r in list do table.insert(seen, r.value) end after = next until not next "
         "return table.concat(seen, ' '), pages >= 3",
         "[\"1 2 3 4 5 6 7 0\",true]"},
    };
    static const Case errors[] = {
        {"kv:find('', {'a'})", "invalid 'pattern': 1 to 1024 bytes expected, got 0"},
        {"kv:find(('x'):rep(1025), {'a'})", "invalid 'pattern': 1 to 1024 bytes expected"},
        {"kv:find('\\255', {'a'})", "invalid 'pattern': invalid UTF-8 at byte 1"},
        {"kv:find(5, {'a'})", "invalid 'pattern': a string expected, got number"},
        {"kv:find('x\\\\', {'a'})", "the pattern ends with a"},
        {"kv:find('x', {})", "invalid 'scopes'"},
        {"kv:find('x', {'a'}, 5)", "invalid 'options': a table expected, got number"},
        {"kv:find('x', {'a'}, {limit = 0})", "invalid 'limit': a whole number from 1 to 100"},
        {"kv:find('x', {'a'}, {limit = 101})", "invalid 'limit'"},
        {"kv:find('x', {'a'}, {limit = 1.5})", "invalid 'limit'"},
        {"kv:find('x', {'a'}, {limit = '5'})", "invalid 'limit'"},
        {"kv:find('x', {'a'}, {limits = 5})", "only 'after' and 'limit' are known"},
        {"kv:find('x', {'a'}, {5})", "only 'after' and 'limit' are known"},
        {"kv:find('x', {'a'}, {after = 5})", "invalid 'after'"},
        {"kv:find('x', {'a'}, {after = ('x'):rep(2000)})", "invalid 'after': 1 to 1024 bytes"},
        {"kv:find('x', {'a'}, {after = 'nonsense'})", "init.luau:1: "},
        {"kv:keys('a')", "invalid 'scopes': a list of 1 to 32 strings expected, got string"},
        {"kv:list_scopes('a')", "invalid 'options'"},
    };
    EXPECT(*state, cases);
    FAILS(*state, errors);
}

/* ---- Values -----------------------------------------------------------------------------------
 */

#define ROUND "kv:set('v', v, {'a'}) local w = kv:get('v', {'a'}) "

static void test_values(void **state)
{
    static const Case cases[] = {
        {"local v = buffer.fromstring('\\0\\255abc') " ROUND
         "return type(w), buffer.tostring(w) == '\\0\\255abc', buffer.len(w)",
         "[\"buffer\",true,5]"},
        {"local v = {b = buffer.create(0), c = {buffer.fromstring('x')}} " ROUND
         "return buffer.len(w.b), buffer.tostring(w.c[1])",
         "[0,\"x\"]"},
        {"local v = buffer.create(150000) buffer.writeu32(v, 149996, 0xDEADBEEF) " ROUND
         "return buffer.len(w), buffer.readu32(w, 149996) == 0xDEADBEEF, buffer.readu8(w, 7)",
         "[150000,true,0]"},
        {"local v = {['$buffer'] = 'YWJj'} " ROUND
         "return type(w), w['$buffer'], next(w, '$buffer')",
         "[\"table\",\"YWJj\",null]"},
        {"local v = {['$buffer'] = 5, ['$$buffer'] = 'x', ['$$$buffer'] = 1, ['$buffe'] = 2, "
         "['$$bufferx'] = 3} " ROUND "return w",
         "{\"$buffe\":2,\"$buffer\":5,\"$$$buffer\":1,\"$$bufferx\":3,\"$$buffer\":\"x\"}"},
        {"local v = {['$buffer'] = buffer.fromstring('in')} " ROUND
         "return type(w), buffer.tostring(w['$buffer'])",
         "[\"table\",\"in\"]"},
        {"local v = {1, interop.null, {}, interop.array(), 'é', 1e300, -0.5, 2^53} " ROUND
         "return w",
         "[1,null,{},[],\"é\",1e300,-0.5,9007199254740992]"},
        {"local x = require('@antiraid/typesext') local v = {x.U64('18446744073709551615')} " ROUND
         "return typeof(w[1]), tostring(w[1])",
         "[\"U64\",\"18446744073709551615\"]"},
        {"local v = setmetatable({a = 1}, {__index = error, __iter = error, __len = error}) " ROUND
         "return w",
         "{\"a\":1}"},
        {"local v = {created = kv:getrecord('v', {'a'}).created_at} " ROUND "return w",
         "{\"created\":\"1970-01-01T00:16:40Z\"}"},
    };
    static const Case errors[] = {
        {"kv:set('k', print, {'a'})",
         "init.luau:1: invalid 'value': value: a function has no JSON form"},
        {"kv:set('k', {x = {0/0}}, {'a'})", "invalid 'value': value.x[1]: NaN"},
        {"kv:set('k', '\\255', {'a'})", "invalid 'value': value: invalid UTF-8"},
        {"local t = {} t.t = t kv:set('k', t, {'a'})", "nested more than 64 deep"},
        {"local t = buffer.create(1) for i = 1, 64 do t = {t} end kv:set('k', t, {'a'})",
         "nested more than 64 deep"},
        {"kv:set('k', kv, {'a'})", "has no JSON form"},
        {"kv:set('k', ctx, {'a'})", "the context has no JSON form"},
        {"kv:set('k', ('x'):rep(262143), {'a'})",
         "invalid 'value': 262145 bytes as JSON, at most 262144 can be stored"},
        {"kv:set('k', buffer.create(200000), {'a'})", "at most 262144 can be stored"},
        {"return kv:get('k', {'a'}), buffer.create(1)", "a buffer has no JSON form"},
    };
    StoreHost *host = *state;
    EXPECT(host, cases);
    for (size_t i = 0; i + 1 < BASE_ARRAY_COUNT(errors); i++)
        host_fails(host, errors[i].source, errors[i].want);
    host_expect(host, "kv:set('k', ('x'):rep(262142), {'a'}) return #kv:get('k', {'a'})", "262142");
    host_expect(host,
                "local t = buffer.create(1) for i = 1, 63 do t = {t} end "
                "kv:set('k', t, {'a'}) t = kv:get('k', {'a'}) for i = 1, 63 do t = t[1] end "
                "return type(t)",
                "\"buffer\"");
}

/* What others wrote under the reserved name is read as it is, unless it is a buffer. */
static void test_foreign_buffers(void **state)
{
    StoreHost *host = *state;
    static const struct {
        const char *json, *want;
    } cases[] = {
        {"{\"$buffer\":\"YWJj\"}", "\"abc\""},
        {"{\"\\u0024buffer\":\"YWI=\"}", "\"ab\""},
        {"{\"$buffer\":\"\"}", "\"\""},
        {"{\"$buffer\":\"YWJ\"}", "{\"$buffer\":\"YWJ\"}"},
        {"{\"$buffer\":\"YWJ=\"}", "{\"$buffer\":\"YWJ=\"}"}, /* bits that stand for nothing */
        {"{\"$buffer\":\"YW=j\"}", "{\"$buffer\":\"YW=j\"}"},
        {"{\"$buffer\":\"====\"}", "{\"$buffer\":\"====\"}"},
        {"{\"$buffer\":\"YW J\"}", "{\"$buffer\":\"YW J\"}"},
        {"{\"$buffer\":5}", "{\"$buffer\":5}"},
        {"{\"$buffer\":null}", "{}"},
        {"{\"$buffer\":\"YWJj\",\"x\":1}", "{\"x\":1,\"$buffer\":\"YWJj\"}"},
        {"{\"$buffer\":\"YWJj\",\"$buffer\":\"YWJk\"}", "{\"$buffer\":\"YWJk\"}"},
        {"{\"$$buffer\":\"YWJj\"}", "{\"$buffer\":\"YWJj\"}"},
        {"[{\"$buffer\":{\"$buffer\":\"YWJj\"}}]", "[{\"$buffer\":\"abc\"}]"},
    };
    for (size_t i = 0; i < BASE_ARRAY_COUNT(cases); i++) {
        kv_set(&host->kv, "f", "a", cases[i].json);
        host_expect(host,
                    "local function plain(v) if type(v) == 'buffer' then return buffer.tostring(v) "
                    "end if type(v) == 'table' then for k, x in v do v[k] = plain(x) end end "
                    "return v end return plain(kv:get('f', {'a'}))",
                    cases[i].want);
    }
}

/* ---- Arguments --------------------------------------------------------------------------------
 */

static void test_arguments(void **state)
{
    static const Case errors[] = {
        {"kv:get()", "init.luau:1: invalid 'key': a string of 1 to 512 bytes expected, got nil"},
        {"kv:get(5, {'a'})", "invalid 'key': a string of 1 to 512 bytes expected, got number"},
        {"kv:get('', {'a'})", "invalid 'key': 1 to 512 bytes expected, got 0"},
        {"kv:get(('x'):rep(513), {'a'})", "invalid 'key': 1 to 512 bytes expected, got 513"},
        {"kv:get('ab\\237\\160\\128', {'a'})", "invalid 'key': invalid UTF-8 at byte 3"},
        {"kv:get('a\\0b', {'a'})", "invalid 'key': a NUL at byte 2"},
        {"kv:get('k')", "invalid 'scopes': a list of 1 to 32 strings expected, got nil"},
        {"kv:get('k', {})", "invalid 'scopes': a list of 1 to 32 strings expected"},
        {"kv:get('k', 'a')", "invalid 'scopes': a list of 1 to 32 strings expected, got string"},
        {"kv:get('k', {a = 'a'})", "invalid 'scopes': a list of 1 to 32"},
        {"kv:get('k', {'a', b = 'b'})", "invalid 'scopes': a list of 1 to 32"},
        {"kv:get('k', table.create(33, 'a'))", "invalid 'scopes': a list of 1 to 32"},
        {"kv:get('k', {'a', 5})", "invalid 'scopes[2]': a string of 1 to 64 bytes expected, got "
                                  "number"},
        {"kv:get('k', {'a', ''})", "invalid 'scopes[2]': 1 to 64 bytes expected, got 0"},
        {"kv:get('k', {('x'):rep(65)})", "invalid 'scopes[1]': 1 to 64 bytes expected, got 65"},
        {"kv:get('k', {'\\255'})", "invalid 'scopes[1]': invalid UTF-8 at byte 1"},
        {"kv:get('k', {'a\\0'})", "invalid 'scopes[1]': a NUL at byte 2"},
        {"kv:get('k', setmetatable({}, {__index = {'a'}, __len = function() return 1 end}))",
         "invalid 'scopes': a list of 1 to 32"},
        {"kv:find('%', {'a'}, setmetatable({}, {__index = error})) error('fine')", "fine"},
        {"kv.get('k', {'a'})", "get must be called with a colon: ctx.KV:get(...)"},
        {"kv.find({}, 'k', {'a'})", "find must be called with a colon: ctx.KV:find(...)"},
        {"kv.get(ctx, 'k', {'a'})", "get must be called with a colon"},
        {"kv.get(ctx.Templates, 'k', {'a'})", "get must be called with a colon"},
        {"kv:nosuch()", "KV has no method 'nosuch'"},
        {"local x = kv[1]", "KV has no field of type number"},
        {"local x = kv[nil]", "KV has no field of type nil"},
        {"kv.get = 1", "KV cannot be modified"},
        {"require('@antiraid/kv').new({})", "TemplateContext expected, got table"},
        {"require('@antiraid/kv').new(kv)", "TemplateContext expected, got KV"},
        {"table.sort({1, 2}, function() return kv:get('k', {'a'}) end)", "cannot yield"},
    };
    StoreHost *host = *state;
    FAILS(host, errors);
    assert_int_equal(host->calls, 1); /* the one that is fine */
    host_expect(host,
                "local key, scope = ('k'):rep(512), ('s'):rep(64) "
                "kv:set(key, 1, table.create(32, scope)) return kv:get(key, {scope})",
                "[1,true]");
    host_expect(host,
                "local s = {} for i = 1, 32 do s[i] = 's' .. i end kv:set('k', 1, s) "
                "return #kv:getrecord('k', s).scopes",
                "32");
}

/* ---- Capabilities -----------------------------------------------------------------------------
 */

static const struct {
    const char *capabilities, *source, *needed; /* NULL: it is allowed */
} GRANTS[] = {
    {"kv:get", "kv:get('k', {'a'})", NULL},
    {"kv:*", "kv:set('k', 1, {'a'})", NULL},
    {"kv:*", "kv:find('k', {'a[b]:c'})", NULL},
    {"kv[a]:get", "kv:get('k', {'a'})", NULL},
    {"kv[a]:* kv[b]:get", "kv:getrecord('k', {'b', 'a'})", NULL},
    {"kv.meta:keys", "kv:keys({'a'})", NULL},
    {"kv.meta[a]:keys", "kv:keys({'a'})", NULL},
    {"kv.meta:list_scopes", "kv:list_scopes()", NULL},
    {"kv.meta:id_ops kv:get", "kv:getbyid('1')", NULL},
    {"kv[a]:find", "kv:find('%', {'a'})", NULL},
    {"", "kv:get('k', {'a'})", "this call needs the capability 'kv:get' or 'kv[a]:get'"},
    {"kv:set kv[b]:get other:*", "kv:get('k', {'a'})", "'kv:get' or 'kv[a]:get'"},
    {"kv[a]:get", "kv:get('k', {'a', 'b'})", "'kv:get' or 'kv[b]:get'"},
    {"kv[a]:get", "kv:set('k', 1, {'a'})", "'kv:set' or 'kv[a]:set'"},
    {"kv:get", "kv:exists('k', {'a'})", "'kv:exists'"},
    {"kv:get", "kv:delete('k', {'a'})", "'kv:delete'"},
    {"kv:get", "kv:find('k', {'a'})", "'kv:find'"},
    {"kv:set", "kv:setexpiry('k', {'a'})", "'kv:setexpiry'"},
    {"kv:set", "kv:getrecord('k', {'a'})", "'kv:get'"},
    {"kv:*", "kv:keys({'a'})", "'kv.meta:keys' or 'kv.meta[a]:keys'"},
    {"kv:*", "kv:list_scopes()", "'kv.meta:list_scopes'"},
    {"kv:*", "kv:getbyid('1')", "this call needs the capability 'kv.meta:id_ops'"},
    {"kv.meta:*", "kv:getbyid('1')", "'kv:get'"},
    {"kv.meta:* kv:get", "kv:setbyid('1', 2)", "'kv:set'"},
    {"kv.meta:* kv:get", "kv:deletebyid('1')", "'kv:delete'"},
    {"kv.meta:* kv:get", "kv:setexpirybyid('1')", "'kv:setexpiry'"},
    {"kv[a]:* kv.meta:*", "kv:getbyid('1')", "'kv:get'"},
    /* Scopes that would move the brackets. */
    {"kv[a]:*", "kv:get('k', {'a]:x'})", "'kv:get': none names the scope 'a]:x'"},
    {"kv[a]:get", "kv:get('k', {'a]:get'})", "'kv:get': none names the scope"},
    {"kv[a:*", "kv:get('k', {'a:b'})", "'kv:get': none names the scope 'a:b'"},
    {"kv[a[b]]:get", "kv:get('k', {'a[b]'})", "'kv:get': none names the scope 'a[b]'"},
    {"kv[a]:*", "kv:get('k', {'*'})", "'kv:get': none names the scope '*'"},
    {"kv[a]:*", "kv:get('k', {'a', 'a]:x'})", "'kv:get': none names the scope 'a]:x'"},
    {"kv.meta[a]:*", "kv:keys({'a]:x'})", "'kv.meta:keys': none names the scope"},
    /* In lists, each for itself. */
    {"kv[a]:get kv[b]:set",
     "kv:atomic({{op = 'get', key = 'k', scopes = {'a'}}, {op = 'set', key = 'k', "
     "scopes = {'b'}}})",
     NULL},
    {"kv[a]:get kv[b]:set",
     "kv:atomic({{op = 'get', key = 'k', scopes = {'a'}}, {op = 'set', key = 'k', "
     "scopes = {'a'}}})",
     "operation 2: this call needs the capability 'kv:set' or 'kv[a]:set'"},
    {"kv:get", "kv:atomic({{op = 'get', id = '1'}})",
     "operation 1: this call needs the "
     "capability 'kv.meta:id_ops'"},
    /* What was narrowed stays narrowed. */
    {"kv:*", "ctx:withlimits({capabilities = {'kv:get'}}).KV:set('k', 1, {'a'})", "'kv:set'"},
    {"kv:*", "ctx:withlimits({capabilities = {'kv:get'}}).KV:get('k', {'a'})", NULL},
    {"*", "ctx:withlimits({capabilities = {}}).KV:get('k', {'a'})", "'kv:get'"},
};

static void test_capabilities(void **state)
{
    StoreHost *host = *state;
    for (size_t i = 0; i < BASE_ARRAY_COUNT(GRANTS); i++) {
        int before = host->calls;
        host->capabilities = GRANTS[i].capabilities;
        if (GRANTS[i].needed) {
            host_fails(host, GRANTS[i].source, GRANTS[i].needed);
            assert_int_equal(host->calls, before); /* refused before any call */
            continue;
        }
        host_run(host, GRANTS[i].source);
        if (host->status != KHRONOS_OK)
            fail_msg("%s with %s: %s", GRANTS[i].source, GRANTS[i].capabilities, host->text.data);
        assert_int_equal(host->calls, before + 1);
    }
}

/* ---- Lists of operations ----------------------------------------------------------------------
 */

static void test_atomic(void **state)
{
    static const Case cases[] = {
        {"local r = kv:atomic({{op = 'set', key = 'a', value = 1, scopes = {'s'}}, "
         "{op = 'get', key = 'a', scopes = {'s'}}, {op = 'exists', key = 'b', scopes = {'s'}}, "
         "{op = 'set', key = 'a', value = {2}, scopes = {'s'}, expires_at = 5000, resume = true}, "
         "{op = 'get', key = 'a', scopes = {'s'}}}) return #r, r[1].exists, r[1].id == r[4].id, "
         "r[2].exists, r[2].value, r[3].exists, r[3].id, r[4].exists, r[5].value",
         "[5,false,true,true,1,false,null,true,[2]]"},
        {"local r = kv:getrecord('a', {'s'}) return r.resume, r.expires_at, r.value",
         "[true,\"1970-01-01T01:23:20Z\",[2]]"},
        {"local id = kv:getrecord('a', {'s'}).id local r = kv:atomic({"
         "{op = 'setexpiry', id = id}, {op = 'delete', id = id}, {op = 'get', id = id}}) "
         "return r[1].exists, r[2].exists, r[2].id == id, r[3].exists, r[3].value",
         "[true,true,true,false,null]"},
        {"local v = buffer.fromstring('xyz') local r = kv:atomic({{op = 'set', key = 'a', value = v, "
         "scopes = {'s'}}, {op = 'set', key = 'b', value = 'second', scopes = {'s'}}, "
         "{op = 'get', key = 'a', scopes = {'s'}}, {op = 'get', key = 'b', scopes = {'s'}}}) "
         "return buffer.tostring(r[3].value), r[4].value",
         "[\"xyz\",\"second\"]"},
        /* All or none. */
        {"local ok, e = pcall(kv.atomic, kv, {{op = 'set', key = 'new', value = 1, scopes = {'s'}}, "
         "{op = 'set', id = '4711', value = 2}}) return ok, e, kv:exists('new', {'s'})",
         "[false,\"there is no record with the id that one of the operations sets; nothing was "
         "done\",false]"},
        {"local t = {} for i = 1, 64 do t[i] = {op = 'set', key = 'k' .. i, value = i, "
         "scopes = {'many'}} end local r = kv:atomic(t) return #r, kv:get('k64', {'many'})",
         "[64,64,true]"},
    };
    static const Case errors[] = {
        {"kv:atomic()", "invalid 'operations': a list of 1 to 64 tables expected"},
        {"kv:atomic({})", "invalid 'operations'"},
        {"kv:atomic(table.create(65, {op = 'get', key = 'k', scopes = {'a'}}))",
         "invalid 'operations'"},
        {"kv:atomic({5})", "operation 1: a table expected, got number"},
        {"kv:atomic({{op = 'get', key = 'k', scopes = {'a'}}, {}})",
         "operation 2: invalid 'op': get, exists, set, delete or setexpiry expected"},
        {"kv:atomic({{op = 'frob', key = 'k', scopes = {'a'}}})", "operation 1: invalid 'op'"},
        {"kv:atomic({{op = 'get', key = 'k'}})", "operation 1: invalid 'scopes'"},
        {"kv:atomic({{op = 'get', scopes = {'a'}}})", "operation 1: invalid 'key'"},
        {"kv:atomic({{op = 'get', id = 'x'}})", "operation 1: invalid 'id'"},
        {"kv:atomic({{op = 'get', id = '1', key = 'k'}})", "it stands in the place of 'key'"},
        {"kv:atomic({{op = 'get', key = 'k', scopes = {'a'}, value = 1}})",
         "operation 1: its op has no 'value'"},
        {"kv:atomic({{op = 'delete', key = 'k', scopes = {'a'}, expires_at = 1}})",
         "operation 1: its op has no 'expires_at'"},
        {"kv:atomic({{op = 'setexpiry', key = 'k', scopes = {'a'}, resume = true}})",
         "operation 1: its op has no 'resume'"},
        {"kv:atomic({{op = 'set', key = 'k', scopes = {'a'}, vlaue = 1}})",
         "operation 1: unknown field 'vlaue'"},
        {"kv:atomic({{op = 'set', key = 'k', scopes = {'a'}, 1}})", "operation 1: unknown field"},
        {"kv:atomic({{op = 'set', key = 'k', scopes = {'a'}, value = print}})",
         "operation 1: invalid 'value': value: a function"},
        {"kv:atomic({{op = 'set', key = 'k', scopes = {'a'}, value = 1, expires_at = 'x'}})",
         "operation 1: invalid 'expires_at'"},
        {"kv:atomic({setmetatable({}, {__index = {op = 'get', key = 'k', scopes = {'a'}}})})",
         "operation 1: invalid 'op'"},
        {"local v = ('x'):rep(262142) local t = {} for i = 1, 64 do t[i] = {op = 'set', key = 'k', "
         "scopes = {'a'}, value = v} end kv:atomic(t)",
         "too many bytes"},
    };
    StoreHost *host = *state;
    EXPECT(host, cases);
    int before = host->calls;
    FAILS(host, errors);
    assert_int_equal(host->calls, before);
}

/* What operations borrow lives until it is copied, also if it is only in weak tables. */
static void test_weak_lists(void **state)
{
    StoreHost *host = *state;
    host->testmode = LUAU_TEST_GC_ALWAYS | LUAU_TEST_STACK_MOVES;
    host_renew(host);
    host_expect(host,
                "local function weak(t) return setmetatable(t, {__mode = 'kv'}) end local n = 0 "
                "for i = 1, 5 do local ok, e = pcall(kv.atomic, kv, weak({weak({op = 'set', "
                "key = 'key ' .. i, value = weak({'v' .. i}), scopes = weak({'s' .. i, 'all'})}), "
                "{op = 'exists', key = 'key ' .. i, scopes = {'all' .. ''}}})) "
                "n += ok and 1 or 0 end return #kv:keys({'all'}) == n",
                "true");
    host_expect(host,
                "kv:set('w', {1}, setmetatable({'a' .. 1}, {__mode = 'v'})) "
                "return kv:get('w', {'a1'})",
                "[[1],true]");
}

/* ---- Ends in the middle -----------------------------------------------------------------------
 */

static bool hold(StoreHost *host, StoreCall *call)
{
    (void)host, (void)call;
    return false;
}

/* Who is cancelled waits no more; what it asked for is done, and its answer is dropped. */
static void test_cancel(void **state)
{
    StoreHost *host = *state;
    host->serve = hold;
    KhronosExecution *x = host_begin(host, "kv:set('k', 'done', {'a'}) return 1");
    host_turn(host);
    assert_int_equal(host->held_count, 1);
    assert_true(khronos_cancel(host->rt, "run"));
    host_turn(host);
    host_end(host, x);
    assert_int_equal(host->status, KHRONOS_CANCELLED);
    host_answer(host, host->held[--host->held_count]);
    host_turn(host);
    host->serve = NULL;
    host_expect(host, "return kv:get('k', {'a'})", "[\"done\",true]");
}

/* The VM goes while calls are out, or are answered and not yet pushed. */
static void test_end_of_vm(void **state)
{
    StoreHost *host = *state;
    for (int answered = 0; answered < 2; answered++) {
        host->serve = hold;
        KhronosExecution *x = host_begin(host, "task.spawn(function() kv:get('k', {'b'}) end) "
                                               "return kv:find('%', {'a'})");
        host_turn(host);
        assert_int_equal(host->held_count, 2);
        if (answered)
            host_answer(host, host->held[--host->held_count]);
        khronos_break(host->rt, KHRONOS_BROKEN, "the end");
        host_end(host, x);
        assert_int_equal(host->status, KHRONOS_BROKEN);
        host_renew(host);
        while (host->held_count > 0) { /* they find another VM there */
            StoreCall *call = host->held[--host->held_count];
            store_wait(host->kv.store, call->request);
            assert_false(khronos_answer(host->rt, &call->call));
        }
    }
}

/* Values on the way back count: a guild that reads more than it may hold is ended, not the host. */
static void test_quota(void **state)
{
    StoreHost *host = *state;
    host_expect(host,
                "local t = {} for i = 1, 20000 do t[i] = {} end kv:set('big', t, {'a'}) "
                "return 1",
                "1");
    host->limits.memory_max_bytes = 1 << 20;
    host_renew(host);
    host_run(host, "return #kv:get('big', {'a'})");
    assert_int_equal(host->status, KHRONOS_MEMORY_LIMIT);
    host_renew(host);
    host_run(host, "return #kv:find('%', {'a'})");
    assert_int_equal(host->status, KHRONOS_MEMORY_LIMIT);
    host_renew(host);
    host_run(host, "return #kv:atomic({{op = 'get', key = 'big', scopes = {'a'}}})");
    assert_int_equal(host->status, KHRONOS_MEMORY_LIMIT);
    host_renew(host);
    host_run(host, "kv:set('k', table.create(40000, 'not very short'), {'a'})");
    assert_int_equal(host->status, KHRONOS_MEMORY_LIMIT);
}

/* The k-th allocation fails, for every k: the run ends, and nothing is lost or leaks. */
static void test_no_memory(void **state)
{
    static const char SCRIPT[] =
        "kv:set('k', {b = buffer.create(100), x = {1, 2}, ['$buffer'] = 1}, {'a', 'b'}, 5000) "
        "local r = kv:atomic({{op = 'get', key = 'k', scopes = {'a'}}, {op = 'exists', key = 'k', "
        "scopes = {'b'}}}) local list = kv:find('%', {'a'}) "
        "return #list, #kv:keys({'b'}), #kv:list_scopes(), kv:getrecord('k', {'a'}).exists";
    StoreHost *host = *state;
    bool failed = true;
    for (uint64_t k = 1; failed; k++) {
        host_renew(host);
        KhronosExecution *x = host_begin(host, SCRIPT);
        luau_failalloc(host->rt->L, k);
        host_turn(host);
        luau_failalloc(host->rt->L, 0);
        host_end(host, x);
        failed = host->status != KHRONOS_OK;
        if (failed && host->status != KHRONOS_MEMORY_LIMIT)
            fail_msg("allocation %d: %s", (int)k, host->text.data);
        assert_true(k < 5000);
    }
    assert_string_equal(host->text.data, "[1,1,2,true]");
}

/* Parked at every poll, and cancelled while it is parked in the middle of a native. */
static void test_parks(void **state)
{
    StoreHost *host = *state;
    host->limits.slice_ns = 1;
    host->testmode = LUAU_TEST_POLL_ALWAYS;
    host_renew(host);
    host_expect(host,
                "local t = {} for i = 1, 3000 do t[i] = 'item ' .. i end kv:set('k', t, {'a'}) "
                "kv:atomic({{op = 'set', key = 'b', value = buffer.create(150000), "
                "scopes = {'a'}}, {op = 'set', key = 'c', value = t, scopes = {'a'}}}) "
                "local list = kv:find('%', {'a'}) return #list, #kv:get('k', {'a'}), "
                "buffer.len(kv:get('b', {'a'}))",
                "[3,3000,150000]");
    for (int steps = 1; steps < 60; steps += 3) {
        KhronosExecution *x = host_begin(host, "local t = table.create(9000, 'x') "
                                               "kv:set('k', t, {'a'}) return kv:get('k', {'a'})");
        for (int i = 0; i < steps; i++) {
            khronos_step(host->rt, host->fibers);
            for (KhronosCall *call; (call = khronos_take_call(host->rt)) != NULL;)
                host_answer(host, (StoreCall *)call);
        }
        bool cancelled = khronos_cancel(host->rt, "run");
        host_turn(host);
        host_end(host, x);
        assert_int_equal(host->status, cancelled ? KHRONOS_CANCELLED : KHRONOS_OK);
    }
}

static void test_too_many_calls(void **state)
{
    StoreHost *host = *state;
    host_expect(host,
                "local errors, done = {}, 0 for i = 1, 70 do task.spawn(function() "
                "local ok, e = pcall(kv.exists, kv, 'k', {'a'}) if ok then done += 1 else "
                "table.insert(errors, e) end end) end task.wait() task.wait() "
                "return done, #errors, errors[1]:match('too many calls')",
                "[64,6,\"too many calls\"]");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, host_setup, host_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_records),        TEST(test_ids),          TEST(test_expiry),
        TEST(test_pages),          TEST(test_values),       TEST(test_foreign_buffers),
        TEST(test_arguments),      TEST(test_capabilities), TEST(test_atomic),
        TEST(test_weak_lists),     TEST(test_cancel),       TEST(test_end_of_vm),
        TEST(test_quota),          TEST(test_no_memory),    TEST(test_parks),
        TEST(test_too_many_calls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
