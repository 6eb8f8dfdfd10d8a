/* @antiraid/datamgmt: base64, hashes, gzip, tar: known values, hostile inputs, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "plugin_disturb.h"

/* str(x): a string of either kind; hex(s); refused(f, ...): does it raise an error? noise(n): n
 * bytes that do not compress. */
#define PRELUDE                                                                                    \
    "local dm = require('@antiraid/datamgmt') "                                                    \
    "local function str(x) return type(x) == 'buffer' and buffer.tostring(x) or x end "            \
    "local function buf(s) return buffer.fromstring(s) end "                                       \
    "local function hex(s) return (s:gsub('.', function(c) "                                       \
    "return ('%02x'):format(c:byte()) end)) end "                                                  \
    "local function noise(n) local b, x = buffer.create(n), 1 for i = 0, n - 1 do "                \
    "x = (x * 16807) % 2147483647 buffer.writeu8(b, i, bit32.rshift(x, 8) % 256) end "             \
    "return buffer.tostring(b) end "

#define CASES(vm, cases) plugin_cases(vm, PRELUDE, cases, BASE_ARRAY_COUNT(cases))
#define ERRORS(vm, cases) plugin_errors(vm, PRELUDE, cases, BASE_ARRAY_COUNT(cases))

/* ---- base64 -----------------------------------------------------------------------------------
 */

static void test_base64(void **state)
{
    static const PluginCase cases[] = {
        {"local out = {} for _, s in {'', 'f', 'fo', 'foo', 'foob', 'fooba', 'foobar'} do "
         "local text = dm.base64encode(s) assert(dm.base64decode(text) == s) "
         "table.insert(out, text) end return table.concat(out, ' ')",
         " Zg== Zm8= Zm9v Zm9vYg== Zm9vYmE= Zm9vYmFy"},
        {"dm.base64encode('\\251\\255\\254'), dm.base64encode('\\251\\255\\254', true)",
         "+//+,-__-"},
        {"dm.base64encode('f', true), dm.base64encode('fo', true)", "Zg,Zm8"},
        {"dm.base64decode('-__-', true) == '\\251\\255\\254'", "true"},
        {"dm.base64decode('Zg'), dm.base64decode('Zm8'), dm.base64decode('Zg==', true)", "f,fo,f"},
        {"dm.base64encode(buf('foo')), typeof(dm.base64decode(buf('Zm9v')))", "Zm9v,buffer"},
        {"str(dm.base64decode(buf('Zm9v'))), #dm.base64decode(''), "
         "buffer.len(dm.base64decode(buf('')))",
         "foo,0,0"},
        {"for n = 0, 700 do local s = noise(n) for _, url in {false, true} do "
         "assert(dm.base64decode(dm.base64encode(s, url), url) == s) end end return 1",
         "1"},
        {"local s = noise(300000) return dm.base64decode(dm.base64encode(buf(s))) == s", "true"},
    };
    static const PluginCase errors[] = {
        {"dm.base64decode('Zg=')", "no base64: the text ends too early at byte 4"},
        {"dm.base64decode('Z')", "the text ends too early at byte 2"},
        {"dm.base64decode('Zm9vZ')", "the text ends too early"},
        {"dm.base64decode('Z===')", "does not belong there at byte 2"},
        {"dm.base64decode('====')", "does not belong there at byte 1"},
        {"dm.base64decode('=')", "the text ends too early"},
        {"dm.base64decode('Zh==')", "bits that belong to no byte at byte 2"},
        {"dm.base64decode('Zm9=')", "bits that belong to no byte at byte 3"},
        {"dm.base64decode('Zm9v Zm9v')", "ends too early"},
        {"dm.base64decode('Zm 9')", "a character that does not belong there at byte 3"},
        {"dm.base64decode('Zg==Zg==')", "a character that does not belong there at byte 3"},
        {"dm.base64decode('-__-')", "does not belong there at byte 1"},
        {"dm.base64decode('+//+', true)", "does not belong there at byte 1"},
        {"dm.base64decode('Zm9\\0')", "at byte 4"},
        {"dm.base64decode('Zm\\2559')", "at byte 3"},
        {"dm.base64decode(5)", "string or buffer expected, got number"},
        {"dm.base64encode()", "missing argument #1"},
        {"dm.base64encode({})", "string or buffer expected, got table"},
        {"dm.base64encode('x', 1)", "boolean expected, got number"},
    };
    CASES(*state, cases);
    ERRORS(*state, errors);
}

/* ---- Hashes -----------------------------------------------------------------------------------
 */

static void test_hashes(void **state)
{
    static const PluginCase cases[] = {
        /* FIPS 180-2 */
        {"dm.sha256('')", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"dm.sha256('abc')", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"dm.sha256('abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq')",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"dm.sha256(buf(('a'):rep(1e6)))",
         "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
        {"typeof(dm.sha256('abc', true)), hex(str(dm.sha256('abc', true)))",
         "buffer,ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        /* RFC 4231, 1, 2, 3, 4, 6, 7 */
        {"dm.hmac_sha256(('\\11'):rep(20), 'Hi There')",
         "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
        {"dm.hmac_sha256('Jefe', 'what do ya want for nothing?')",
         "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
        {"dm.hmac_sha256(('\\170'):rep(20), ('\\221'):rep(50))",
         "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
        {"dm.hmac_sha256('\\1\\2\\3\\4\\5\\6\\7\\8\\9\\10\\11\\12\\13\\14\\15\\16\\17\\18\\19\\20"
         "\\21\\22\\23\\24\\25', ('\\205'):rep(50))",
         "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
        {"dm.hmac_sha256(('\\170'):rep(131), 'Test Using Larger Than Block-Size Key - Hash Key "
         "First')",
         "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
        {"dm.hmac_sha256(buf(('\\170'):rep(131)), buf('This is a test using a larger than "
         "block-size key and a larger than block-size data. The key needs to be hashed before "
         "being used by the HMAC algorithm.'))",
         "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
        {"dm.hmac_sha256('', '')",
         "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad"},
        {"typeof(dm.hmac_sha256('k', 'x', true)), "
         "hex(str(dm.hmac_sha256('k', 'x', true))) == dm.hmac_sha256('k', 'x')",
         "buffer,true"},
    };
    static const PluginCase errors[] = {
        {"dm.sha256()", "missing argument #1"},
        {"dm.sha256(5)", "string or buffer expected, got number"},
        {"dm.sha256('x', 'raw')", "boolean expected"},
        {"dm.hmac_sha256('k')", "missing argument #2"},
        {"dm.hmac_sha256(nil, 'x')", "#1 to 'hmac_sha256'"},
    };
    CASES(*state, cases);
    ERRORS(*state, errors);
}

/* ---- gzip -------------------------------------------------------------------------------------
 */

#define HELLO "H4sIAAAAAAACA8tIzcnJ11HIQKHK84tyUrgAw3CjwhsAAAA="

static void test_gzip(void **state)
{
    static const PluginCase cases[] = {
        {"dm.decompressgzip(dm.base64decode('" HELLO "'))", "hello, hello, hello, world\n"},
        {"dm.decompressgzip(dm.base64decode('H4sIHgAAAAAAAwQAYWJjZGZpbGUudHh0AGNvbW1lbnQAOiXLS8xN"
         "TQEAh8zgcQUAAAA='))",
         "named"},
        {"for level = 0, 9 do for _, s in {'', 'a', ('abc'):rep(50000), noise(100000)} do "
         "local z = dm.compressgzip(s, level) assert(z:sub(1, 2) == '\\31\\139') "
         "assert(dm.decompressgzip(z) == s) end end return 1",
         "1"},
        {"local z = dm.compressgzip(buf('text')) "
         "return typeof(z), typeof(dm.decompressgzip(z)), str(dm.decompressgzip(z))",
         "buffer,buffer,text"},
        {"#dm.compressgzip(('x'):rep(1e6)) < 2000, #dm.compressgzip('', 0) < 40", "true,true"},
        {"#dm.compressgzip(('abcdefgh'):rep(9999), 9) < #dm.compressgzip(('abcdefgh'):rep(9999), 0)",
         "true"},
        {"local z = dm.compressgzip('one,') .. dm.compressgzip('') .. dm.compressgzip('two') "
         "return dm.decompressgzip(z), dm.decompressgzip(z, 7)",
         "one,two,one,two"},
        {"dm.decompressgzip(dm.compressgzip(''), 0) == ''", "true"},
        {"#dm.decompressgzip(dm.compressgzip(''):rep(5000))", "0"},
    };
    static const PluginCase errors[] = {
        {"dm.decompressgzip('')", "no gzip data: it ends in the middle at byte 1"},
        {"dm.decompressgzip('hello')", "no gzip data: incorrect header check"},
        {"dm.decompressgzip('\\31\\139')", "it ends in the middle"},
        {"dm.decompressgzip(dm.compressgzip('x') .. 'y')", "no gzip data"},
        {"dm.decompressgzip(dm.compressgzip('x') .. '\\0')", "no gzip data"},
        {"dm.decompressgzip(dm.compressgzip('12345678'), 7)",
         "the data decompresses to more than 7 bytes"},
        {"dm.decompressgzip('x', -1)", "max_bytes is a whole number from 0 to 1073741824"},
        {"dm.decompressgzip('x', 0/0)", "max_bytes is"},
        {"dm.decompressgzip('x', 2^31)", "max_bytes is"},
        {"dm.decompressgzip('x', 0.5)", "max_bytes is"},
        {"dm.compressgzip('x', 10)", "a level is a whole number from 0 to 9"},
        {"dm.compressgzip('x', -1)", "a level is"},
        {"dm.compressgzip('x', 0/0)", "a level is"},
        {"dm.compressgzip('x', 'y')", "number expected, got string"},
        {"dm.compressgzip()", "missing argument #1"},
        {"dm.decompressgzip({})", "string or buffer expected, got table"},
    };
    CASES(*state, cases);
    ERRORS(*state, errors);
}

/* Whatever is wrong with the data is an error, and never other data. */
static void test_gzip_corrupt(void **state)
{
    plugin_expect(
        *state,
        PRELUDE
        "local text = ('some text, '):rep(20) .. noise(200) local z = dm.compressgzip(text) "
        "for n = 0, #z - 1 do assert(not pcall(dm.decompressgzip, z:sub(1, n)), n) end "
        "local same = 0 for i = 1, #z do for _, bit in {1, 128, 255} do "
        "local c = string.char(bit32.bxor(z:byte(i), bit)) "
        "local ok, s = pcall(dm.decompressgzip, z:sub(1, i - 1) .. c .. z:sub(i + 1)) "
        "if ok then assert(s == text, i) same += 1 end end end return same > 0 and same < 40",
        "true");
}

/* What is small and becomes large is found out before memory is taken for it. */
static void test_bombs(void **state)
{
    static const PluginCase cases[] = {
        {"#dm.decompressgzip(dm.compressgzip(('\\0'):rep(1048576)))", "1048576"},
        {"#dm.decompressgzip(dm.compressgzip(('\\0'):rep(2e6)), 2e6)", "2000000"},
    };
    static const PluginCase errors[] = {
        {"dm.decompressgzip(dm.compressgzip(('\\0'):rep(1200000)))",
         "the data decompresses to more than 200 times its size"},
        /* ten gigabytes of zeros */
        {"dm.decompressgzip(dm.compressgzip(('\\0'):rep(1e6)):rep(9000))",
         "more than 200 times its size: if that is right, say how much may come out with "
         "max_bytes"},
        {"dm.decompressgzip(dm.compressgzip(noise(1e6)):rep(9))",
         "the data decompresses to more than 8388608 bytes, ask for more with max_bytes"},
        {"dm.decompressgzip(dm.compressgzip(('\\0'):rep(1e6)):rep(60), 2^30)",
         "the result needs 60000000 bytes, of the guild's memory"},
        {"dm.base64encode(('x'):rep(9000000))", "the result needs 12000000 bytes, of the guild's"},
        {"local s = noise(1e6):rep(9) return #dm.compressgzip(s)", "the result needs"},
        {"local s = ('x'):rep(11e6) return dm.tarwrite({{name = 'x', data = s}})",
         "the result needs 11001856 bytes"},
    };
    PluginVm *vm = *state;
    CASES(vm, cases);
    for (size_t i = 0; i < BASE_ARRAY_COUNT(errors); i++) {
        plugin_renew(vm);
        plugin_errors(vm, PRELUDE, &errors[i], 1);
        plugin_expect(vm, "return 'alive'", "alive");
    }
}

/* ---- tar --------------------------------------------------------------------------------------
 */

/* head(name, size, type, change?): a header as old archives have it; change(fields) may alter it
 * before the sum is made. pad(s): filled up to whole blocks. */
#define TAR_PRELUDE                                                                                \
    PRELUDE                                                                                        \
    "local function head(name, size, kind, change) local f = {name = name, mode = '0000644\\0', "  \
    "size = ('%011o\\0'):format(size), mtime = '00000000012 ', magic = 'ustar\\0' .. '00', "       \
    "prefix = ''} if change then change(f) end local function z(s, n) return s .. "                \
    "('\\0'):rep(n - #s) end "                                                                     \
    "local a = z(f.name, 100) .. f.mode .. z('', 16) .. f.size .. f.mtime local b = kind .. "      \
    "z('', 100) .. z(f.magic, 8) .. z('', 80) .. z(f.prefix, 155) .. z('', 12) local sum = 256 "   \
    "for i = 1, #a do sum += a:byte(i) end for i = 1, #b do sum += b:byte(i) end "                 \
    "return a .. (f.sum or ('%06o\\0 '):format(sum)) .. b end "                                    \
    "local function pad(s) return s .. ('\\0'):rep(-#s % 512) end "                                \
    "local function file(name, data, change) return head(name, #data, '0', change) .. pad(data) "  \
    "end local function ahead(kind, data) return head('x', #data, kind) .. pad(data) end "         \
    "local function show(list) local out = {} for _, f in list do table.insert(out, "              \
    "`{f.name}={str(f.data)}:{f.mode}:{f.mtime}`) end return table.concat(out, ' ') end "

static void tar_cases(PluginVm *vm, const PluginCase *cases, size_t count)
{
    plugin_cases(vm, TAR_PRELUDE, cases, count);
}

static void test_tar(void **state)
{
    static const PluginCase cases[] = {
        {"show(dm.tarread(dm.tarwrite({{name = 'a.txt', data = 'hello'}, "
         "{name = 'b/c', data = buf(''), mode = 493, mtime = 1743296400.9}})))",
         "a.txt=hello:420:0 b/c=:493:1743296400"},
        {"buffer.len(dm.tarwrite({})), #dm.tarread(dm.tarwrite({})), #dm.tarread('')", "1024,0,0"},
        {"buffer.len(dm.tarwrite({{name = 'x', data = ('y'):rep(512)}}))", "2048"},
        {"local a = dm.tarwrite({{name = 'x', data = 'y'}}) "
         "return typeof(dm.tarread(a)[1].data), typeof(dm.tarread(str(a))[1].data)",
         "buffer,string"},
        /* names of all lengths: in one piece, in two, in a header before */
        {"for _, n in {1, 99, 100, 101, 155, 156, 200, 255, 256, 257, 985, 986, 987, 4096} do for _, "
         "sep in {'/', 'x'} do local name = ('d'):rep(n // 2) .. sep .. ('f'):rep(n - n // 2 - 1) "
         "name = name:sub(1, n):gsub('/$', 'x') local a = dm.tarwrite({{name = name, data = 'data'}, "
         "{name = 'z', data = ''}}) local l = dm.tarread(a) assert(l[1].name == name and #l == 2) "
         "assert(str(l[1].data) == 'data' and l[2].name == 'z') end end return 1",
         "1"},
        {"show(dm.tarread(file('a', 'x') .. file('b', 'yy')))", "a=x:420:10 b=yy:420:10"},
        {"show(dm.tarread(head('d/', 0, '5') .. head('l', 0, '2') .. head('dev', 5, '3') .. "
         "file('old/', '') .. file('a', 'x') .. ('\\0'):rep(1024) .. 'rubbish'))",
         "a=x:420:10"},
        {"show(dm.tarread(file('f', 'x', function(f) f.prefix = 'p/q' end)))", "p/q/f=x:420:10"},
        {"show(dm.tarread(file('f', 'x', function(f) f.prefix = 'p' f.magic = '' end)))",
         "f=x:420:10"},
        {"show(dm.tarread(ahead('x', '15 path=longer\\n14 mtime=12.5\\n9 size=1\\n7 a=bc\\n') .. "
         "file('f', 'x', function(f) f.size = ('0'):rep(11) .. ' ' end) .. file('g', 'y')))",
         "longer=x:420:12.5 g=y:420:10"},
        {"show(dm.tarread(ahead('g', 'anything') .. ahead('L', 'gnu/name\\0') .. file('f', 'x')))",
         "gnu/name=x:420:10"},
        {"show(dm.tarread(file('f', 'x', function(f) f.size = '\\128' .. ('\\0'):rep(10) .. '\\1' "
         "end)))",
         "f=x:420:10"},
        {"show(dm.tarread(head('f', 3, '0') .. 'xyz'))", "f=xyz:420:10"},
        {"show(dm.tarread(file(('n'):rep(100), '')))",
         "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
         "nnnnnnnn=:420:10"},
        {"#dm.tarread(dm.tarwrite(table.create(10000, {name = 'x', data = ''})))", "10000"},
    };
    tar_cases(*state, cases, BASE_ARRAY_COUNT(cases));
}

static void test_tar_errors(void **state)
{
    static const PluginCase errors[] = {
        {"dm.tarread('x')", "no tar archive: a block that is cut off at byte 1"},
        {"dm.tarread(('x'):rep(512))", "no tar archive: a header with a wrong checksum at byte 1"},
        {"dm.tarread(file('a', 'x') .. ('y'):rep(512))", "a wrong checksum at byte 1025"},
        {"dm.tarread(file('a', 'x') .. 'y')", "a block that is cut off at byte 1025"},
        {"dm.tarread(head('a', 513, '0') .. pad('x'))",
         "a member that is longer than the rest of the archive at byte 1"},
        {"dm.tarread(head('a', 1, '0'))", "longer than the rest"},
        {"dm.tarread(head('a', 2^33 - 1, '0'))", "longer than the rest"},
        {"dm.tarread(file('a', 'x', function(f) f.size = ('\\255'):rep(12) end))",
         "a header with a number that is none"},
        {"dm.tarread(file('a', 'x', function(f) f.size = '\\128' .. ('\\255'):rep(11) end))",
         "a header with a number that is none"},
        {"dm.tarread(file('a', 'x', function(f) f.size = '\\128\\0\\0\\0' .. ('\\255'):rep(8) end))",
         "longer than the rest"},
        {"dm.tarread(file('a', 'x', function(f) f.size = '00000000009\\0' end))",
         "a header with a number that is none"},
        {"dm.tarread(file('a', 'x', function(f) f.mode = '-000644\\0' end))",
         "a number that is none"},
        {"dm.tarread(file('a', 'x', function(f) f.sum = '9999999\\0' end))", "a wrong checksum"},
        {"dm.tarread(ahead('x', '') .. ahead('x', '3 a') .. file('a', 'x'))",
         "a bad extended header at byte 513"},
        {"dm.tarread(ahead('x', '15 path=longer') .. file('a', 'x'))", "a bad extended header"},
        {"dm.tarread(ahead('x', '99 path=longer\\n') .. file('a', 'x'))", "a bad extended header"},
        {"dm.tarread(ahead('x', '0 path=longer\\n') .. file('a', 'x'))", "a bad extended header"},
        {"dm.tarread(ahead('x', '99999999999999999999 a=b\\n') .. file('a', 'x'))",
         "a bad extended header"},
        {"dm.tarread(ahead('x', '15 path longer\\n') .. file('a', 'x'))", "a bad extended header"},
        {"dm.tarread(ahead('x', '8 path=\\n') .. file('a', 'x'))", "a bad extended header"},
        {"dm.tarread(ahead('x', '11 size=-1\\n') .. file('a', 'x'))", "a bad extended header"},
        {"dm.tarread(ahead('x', '29 size=99999999999999999999\\n') .. file('a', 'x'))",
         "a bad extended header"},
        {"dm.tarread(ahead('x', '13 size=9999\\n') .. file('a', 'x'))", "bad extended header"},
        {"dm.tarread(ahead('x', '12 size=999\\n') .. file('a', 'x'))",
         "longer than the rest of the archive at byte 1025"},
        {"dm.tarread(ahead('x', '13 mtime=abc\\n') .. file('a', 'x'))", "a bad extended header"},
        {"dm.tarread(ahead('L', ('n'):rep(5000)) .. file('a', 'x'))", "a bad extended header"},
        {"dm.tarread(ahead('L', '\\0') .. file('a', 'x'))", "a bad extended header"},
        {"dm.tarread(head('a', 0, '0'):rep(10001))", "the archive has more than 10000 files"},
        {"dm.tarread({})", "string or buffer expected, got table"},
        {"dm.tarwrite('x')", "table expected, got string"},
        {"dm.tarwrite({1})", "file 1: it must be a table {name, data}"},
        {"dm.tarwrite({{name = 'a', data = ''}, {}})", "file 2: its name must be a string"},
        {"dm.tarwrite({{name = 5, data = ''}})", "file 1: its name must be a string"},
        {"dm.tarwrite({{name = '', data = ''}})", "file 1: its name must have 1 to 4096 bytes"},
        {"dm.tarwrite({{name = ('x'):rep(4097), data = ''}})", "1 to 4096 bytes"},
        {"dm.tarwrite({{name = 'a\\0b', data = ''}})", "its name has a NUL in it"},
        {"dm.tarwrite({{name = 'a/', data = ''}})", "its name ends with '/'"},
        {"dm.tarwrite({{name = 'a'}})", "file 1: its data must be a string or a buffer"},
        {"dm.tarwrite({{name = 'a', data = 5}})", "its data must be a string or a buffer"},
        {"dm.tarwrite({{name = 'a', data = '', mode = 4096}})", "its mode must be"},
        {"dm.tarwrite({{name = 'a', data = '', mode = '644'}})", "its mode must be"},
        {"dm.tarwrite({{name = 'a', data = '', mtime = -1}})", "its mtime must be"},
        {"dm.tarwrite({{name = 'a', data = '', mtime = 0/0}})", "its mtime must be"},
        {"dm.tarwrite({{name = 'a', data = '', mtime = 2^33}})", "its mtime must be"},
        {"dm.tarwrite(table.create(10001, {name = 'x', data = ''}))", "more than 10000 files"},
        {"dm.tarwrite({setmetatable({}, {__index = {name = 'x', data = ''}})})",
         "its name must be a string"},
    };
    plugin_errors(*state, TAR_PRELUDE, errors, BASE_ARRAY_COUNT(errors));
}

/* Archives with any byte changed are read, or refused. */
static void test_tar_corrupt(void **state)
{
    plugin_expect(*state,
                  TAR_PRELUDE
                  "local a = ahead('x', '15 path=longer\\n14 mtime=12.5\\n9 size=1\\n') .. "
                  "file('f', 'x') .. ahead('L', 'name') .. file('g', 'yy') local read = 0 "
                  "for i = 1, #a do for _, v in {0, 48, 55, 128, 255} do "
                  "local b = a:sub(1, i - 1) .. string.char(v) .. a:sub(i + 1) "
                  "if pcall(dm.tarread, b) then read += 1 end end end "
                  "for n = 0, #a do pcall(dm.tarread, a:sub(1, n)) end return read > 100",
                  "true");
}

/* ---- Disturbances -----------------------------------------------------------------------------
 */

static void test_polls(void **state)
{
    PluginVm *vm = *state;
    plugin_disturb_polls(
        vm, PRELUDE "return dm.base64encode(dm.base64decode(('abcd'):rep(250000)))", 20, 20);
    plugin_disturb_polls(
        vm, PRELUDE "local s = ('x'):rep(1e6) return dm.sha256(s), dm.hmac_sha256(s, s)", 40, 20);
    /* A piece of 128 bytes at a time at the levels that look far. */
    plugin_disturb_polls(vm, PRELUDE "return #dm.compressgzip(noise(50000), 9)", 390, 20);
    plugin_disturb_polls(vm, PRELUDE "return #dm.compressgzip(('x'):rep(500000))", 480, 20);
    plugin_disturb_polls(
        vm, PRELUDE "return #dm.decompressgzip(dm.compressgzip(('x'):rep(900000), 1))", 50, 20);
    plugin_disturb_polls(vm,
                         PRELUDE "local t = {} for i = 1, 40 do t[i] = {name = 'f' .. i, data = "
                                 "('x'):rep(i * 1000)} end local l = dm.tarread(dm.tarwrite(t)) "
                                 "return #l, l[40].name",
                         80, 20);
}

static const char SCRIPT[] = PRELUDE
    "local s = noise(3000) .. ('abc'):rep(500) local b = buf(s) "
    "assert(dm.decompressgzip(dm.compressgzip(s, 9)) == s) "
    "assert(str(dm.decompressgzip(dm.compressgzip(b, 1))) == s) "
    "assert(dm.base64decode(dm.base64encode(b)) == s) "
    "local list = dm.tarread(dm.tarwrite({{name = 'a', data = s}, {name = ('n'):rep(300), "
    "data = b}})) assert(#list == 2 and str(list[2].data) == s) "
    "return dm.sha256(s) .. dm.hmac_sha256(s, b) .. typeof(dm.sha256(b, true))";

static void test_script(void **state)
{
    assert_int_equal(plugin_start(*state, SCRIPT), LUA_OK);
}

static void test_memory(void **state)
{
    plugin_disturb_memory(*state, SCRIPT, 0);
}

/* With little memory there are errors, or the VM is killed; never anything worse. */
static void test_quotas(void **state)
{
    PluginVm *vm = *state;
    bool done = false;
    for (size_t quota = 128 << 10; quota <= 2 << 20; quota += 24 << 10) {
        vm->limits.memory_max_bytes = quota;
        plugin_renew(vm);
        int status = plugin_start(vm, SCRIPT);
        assert_true(status == LUA_OK || status == LUA_ERRRUN || status == LUA_KILLED);
        if (status == LUA_KILLED)
            assert_int_equal(luau_killreason(vm->L), LUAU_KILL_MEMORY);
        else
            assert_null(luau_checkheap(vm->L));
        done |= status == LUA_OK;
    }
    assert_true(done);
}

/* zlib's memory is the VM's, and does not stay. */
static void test_memory_returns(void **state)
{
    plugin_expect(*state,
                  PRELUDE "local interop = require('@antiraid/interop') local s = noise(20000) "
                          "for i = 1, 200 do assert(dm.decompressgzip(dm.compressgzip(s)) == s) "
                          "pcall(dm.decompressgzip, 'x') end return 'ok'",
                  "ok");
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, plugin_setup, plugin_teardown)
#define STRESSED(function)                                                                         \
    cmocka_unit_test_setup_teardown(function, plugin_setup_stressed, plugin_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_base64), TEST(test_hashes), TEST(test_gzip),       TEST(test_gzip_corrupt),
        TEST(test_bombs),  TEST(test_tar),    TEST(test_tar_errors), TEST(test_tar_corrupt),
        TEST(test_polls),  TEST(test_memory), TEST(test_quotas),     TEST(test_memory_returns),
    };
    const struct CMUnitTest stressed[] = {
        STRESSED(test_hashes),
        STRESSED(test_script),
    };
    int failed = cmocka_run_group_tests_name("datamgmt", tests, NULL, NULL);
    return failed + cmocka_run_group_tests_name("datamgmt, stressed", stressed, NULL, NULL);
}
