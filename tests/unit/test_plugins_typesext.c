/* @antiraid/typesext: I64, U64, bitu64, randstring. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "khronos/int64.h"
#include "plugin_support.h"

#define PRELUDE                                                                                    \
    "local ts = require('@antiraid/typesext') local U64, I64, bit = ts.U64, ts.I64, ts.bitu64 "    \
    "local interop = require('@antiraid/interop') local json = require('@antiraid/json')"

#define CASES(vm, cases) plugin_cases(vm, PRELUDE, cases, BASE_ARRAY_COUNT(cases))
#define ERRORS(vm, cases) plugin_errors(vm, PRELUDE, cases, BASE_ARRAY_COUNT(cases))

static void test_making(void **state)
{
    static const PluginCase cases[] = {
        {"U64()", "0"},
        {"I64(nil)", "0"},
        {"U64(5), I64(-5)", "5,-5"},
        {"U64(2^63), I64(-2^63)", "9223372036854775808,-9223372036854775808"},
        {"U64('18446744073709551615')", "18446744073709551615"},
        {"U64('0xffffFFFFffffFFFF')", "18446744073709551615"},
        {"I64('-9223372036854775808')", "-9223372036854775808"},
        {"I64('-0x8000000000000000')", "-9223372036854775808"},
        {"I64('9223372036854775807')", "9223372036854775807"},
        {"U64('-0'), U64('007'), U64('0x0')", "0,7,0"},
        {"U64(U64(7)), U64(I64(7)), I64(U64(7))", "7,7,7"},
        {"U64(5i), I64(-5i)", "5,-5"},
        {"I64(integer.minsigned)", "-9223372036854775808"},
        {"typeof(U64()), typeof(I64()), type(U64())", "U64,I64,userdata"},
        {"getmetatable(U64()) == getmetatable(I64())", "true"},
        {"getmetatable(U64())", "The metatable is locked"},
        {"json.encode({U64('18446744073709551615'), I64(-1)})", "[18446744073709551615,-1]"},
        {"json.decode('[18446744073709551615]')[1] == U64('18446744073709551615')", "true"},
        {"json.decode('-9223372036854775808') == I64('-9223372036854775808')", "true"},
    };
    static const PluginCase errors[] = {
        {"U64(-1)",
         "invalid argument #1 to 'U64' (out of the range of U64, 0 to 1844674407370955161"},
        {"U64(2^64)", "out of the range of U64"},
        {"I64(2^63)", "out of the range of I64, -9223372036854775808 to 9223372036854775807"},
        {"I64(-2^63 - 2048)", "out of the range of I64"},
        {"U64(1.5)", "1.5 is not a whole number"},
        {"U64(0/0)", "is not a whole number"},
        {"U64(math.huge)", "is not a whole number"},
        {"U64('')", "'' is not a whole number"},
        {"U64('-')", "'-' is not a whole number"},
        {"U64('0x')", "'0x' is not a whole number"},
        {"U64(' 1')", "is not a whole number"},
        {"U64('1 ')", "is not a whole number"},
        {"U64('+1')", "is not a whole number"},
        {"U64('1e3')", "is not a whole number"},
        {"U64('--1')", "is not a whole number"},
        {"U64('1\\0')", "is not a whole number"},
        {"U64('12a')", "'12a' is not a whole number in decimal or 0x hexadecimal"},
        {"U64('-1')", "out of the range of U64"},
        {"U64('18446744073709551616')", "out of the range of U64"},
        {"U64('0x10000000000000000')", "out of the range of U64"},
        {"I64('9223372036854775808')", "out of the range of I64"},
        {"I64('-9223372036854775809')", "out of the range of I64"},
        {"I64('0x8000000000000000')", "out of the range of I64"},
        {"U64(('9'):rep(1e6))", "out of the range of U64"},
        {"U64(I64(-1))", "out of the range of U64"},
        {"I64(U64(2^63))", "out of the range of I64"},
        {"U64(-1i)", "out of the range of U64"},
        {"U64(true)", "number, string, I64 or U64 expected, got boolean"},
        {"U64({})", "number, string, I64 or U64 expected, got table"},
        {"U64(buffer.create(8))", "number, string, I64 or U64 expected, got buffer"},
        {"I64(function() end)", "invalid argument #1 to 'I64'"},
        {"I64(newproxy())", "expected, got userdata"},
    };
    CASES(*state, cases);
    ERRORS(*state, errors);
}

static void test_arithmetic(void **state)
{
    static const PluginCase cases[] = {
        {"U64(2) + U64(3), U64(2) + 3, 3 + U64(2)", "5,5,5"},
        {"U64(0) - 1, U64('18446744073709551615') + 1", "18446744073709551615,0"},
        {"I64('9223372036854775807') + 1", "-9223372036854775808"},
        {"I64(-7) - 3, 3 - I64(-7)", "-10,10"},
        {"U64('6364136223846793005') * U64('6364136223846793005')", "7520897724310334953"},
        {"I64(-3) * 5, U64(3) * 5", "-15,15"},
        {"I64(-7) / 2, I64(-7) // 2, I64(-7) % 2", "-3,-4,1"},
        {"I64(7) / -2, I64(7) // -2, I64(7) % -2", "-3,-4,-1"},
        {"I64(-7) / -2, I64(-7) // -2, I64(-7) % -2", "3,3,-1"},
        {"I64(6) / -2, I64(6) // -2, I64(6) % -2", "-3,-3,0"},
        {"U64(7) / 2, U64(7) // 2, U64(7) % 2", "3,3,1"},
        {"U64('18446744073709551615') // 2", "9223372036854775807"},
        {"I64('-9223372036854775808') // -1, I64('-9223372036854775808') % -1",
         "-9223372036854775808,0"},
        {"I64('-9223372036854775808') / I64('-9223372036854775808')", "1"},
        {"-I64(5), -U64(1), -I64('-9223372036854775808')",
         "-5,18446744073709551615,-9223372036854775808"},
        {"U64(1) + 1i", "2"},
        {"'n=' .. U64(5) .. '!', 1 .. I64(-2), U64(1) .. I64(2)", "n=5!,1-2,12"},
        {"`{U64(5)} and {I64(-5)}`", "5 and -5"},
        {"local a = U64(1) a += 2 a *= 10 return a, typeof(a)", "30,U64"},
    };
    static const PluginCase errors[] = {
        {"U64(1) // 0", "division of U64 by zero"},
        {"I64(1) / I64(0)", "division of I64 by zero"},
        {"1 % I64(0)", "division of I64 by zero"},
        {"U64(1) + I64(1)", "I64 and U64 do not mix in '+': convert one with to_i64 or to_u64"},
        {"I64(1) // U64(1)", "do not mix in '//'"},
        {"U64(1) + -1",
         "U64 + number: the number must be whole, and from 0 to 18446744073709551615"},
        {"U64(1) * 0.5", "the number must be whole"},
        {"0/0 + I64(1)", "the number must be whole"},
        {"U64(1) + 2^64", "the number must be whole, and from 0 to"},
        {"U64(1) + '1'", "attempt to perform arithmetic (+) on U64 and string"},
        {"nil - U64(1)", "attempt to perform arithmetic (-) on nil and U64"},
        {"U64(1) % {}", "attempt to perform arithmetic (%) on U64 and table"},
        {"U64(1) .. {}", "attempt to concatenate U64 with table"},
        {"nil .. I64(1)", "attempt to concatenate nil with I64"},
        {"U64(1) ^ 2", "attempt to perform arithmetic (pow) on U64 and number"},
        {"#U64(1)", "attempt to get length of a U64 value"},
        {"U64(1)()", "attempt to call a U64 value"},
    };
    CASES(*state, cases);
    ERRORS(*state, errors);
}

static void test_order(void **state)
{
    static const PluginCase cases[] = {
        {"U64(1) == U64(1), U64(1) ~= U64(2), U64(1) == 1", "true,true,false"},
        {"U64(5) == I64(5), I64(-1) == U64('18446744073709551615')", "true,false"},
        {"U64(1) < U64(2), U64(2) <= U64(2), U64(2) > U64(1)", "true,true,true"},
        {"U64('18446744073709551615') > U64(1)", "true"},
        {"I64(-1) < I64(0), I64(-1) < I64(-2), I64(-2) <= I64(-2)", "true,false,true"},
        {"I64(-1) < U64(0), U64(0) < I64(-1), I64(5) <= U64(5)", "true,false,true"},
        {"U64('9223372036854775808') > I64('9223372036854775807')", "true"},
        {"local t = {U64(3), U64(1), U64(2)} table.sort(t) return t[1], t[2], t[3]", "1,2,3"},
        {"local t = {} t[U64(1)] = 1 return t[U64(1)]", "nil"},
    };
    static const PluginCase errors[] = {
        {"U64(1) < 2", "attempt to compare U64 < number"},
        {"'1' <= I64(1)", "attempt to compare string <= I64"},
    };
    CASES(*state, cases);
    ERRORS(*state, errors);
}

static void test_methods(void **state)
{
    static const PluginCase cases[] = {
        {"U64(5):tonumber()", "5,true"},
        {"U64('9007199254740993'):tonumber()", "9007199254740992,false"},
        {"U64('18446744073709551615'):tonumber()", "18446744073709552000,false"},
        {"I64('-9223372036854775808'):tonumber()", "-9223372036854776000,true"},
        {"I64(-1):to_u64(), U64('18446744073709551615'):to_i64()", "18446744073709551615,-1"},
        {"I64(-1):to_hex(), U64(255):to_hex(), U64():to_hex()", "ffffffffffffffff,ff,0"},
        {"table.concat(U64(258):to_le_bytes(), ' ')", "2 1 0 0 0 0 0 0"},
        {"table.concat(U64(258):to_be_bytes(), ' ')", "0 0 0 0 0 0 1 2"},
        {"table.concat(I64(-2):to_ne_bytes(), ' ')", "254 255 255 255 255 255 255 255"},
        {"U64():from_le_bytes({1,2,3,4,5,6,7,8}):to_hex()", "807060504030201"},
        {"I64():from_be_bytes('\\255\\255\\255\\255\\255\\255\\255\\254')", "-2"},
        {"typeof(I64():from_ne_bytes('12345678'))", "I64"},
        {"ts.u64_from_le_bytes('\\1\\0\\0\\0\\0\\0\\0\\0')", "1"},
        {"ts.u64_from_be_bytes({0,0,0,0,0,0,1,0})", "256"},
        {"ts.i64_from_le_bytes({255,255,255,255,255,255,255,255})", "-1"},
        {"ts.i64_from_be_bytes({128,0,0,0,0,0,0,0})", "-9223372036854775808"},
        {"ts.u64_from_ne_bytes('\\2\\0\\0\\0\\0\\0\\0\\0'), ts.i64_from_ne_bytes('\\2\\0\\0\\0\\0\\0\\0\\0')",
         "2,2"},
        {"local b = buffer.create(16) buffer.writeu8(b, 8, 7) "
         "return ts.u64_from_le_bytes(b, 8), ts.u64_from_be_bytes(b, 1)",
         "7,7"},
        {"local b = buffer.create(9) assert(U64(513):to_be_bytes(b, 1) == b) "
         "return buffer.readu8(b, 7), buffer.readu8(b, 8)",
         "2,1"},
        {"for _, v in {U64(), U64(1), U64('12345678901234567890')} do "
         "assert(v:from_le_bytes(v:to_le_bytes()) == v and v:from_be_bytes(v:to_be_bytes()) == v) "
         "end return 1",
         "1"},
    };
    static const PluginCase errors[] = {
        {"U64.nothing", "attempt to index function with 'nothing'"},
        {"U64(1):nothing()", "nothing"},
        {"U64(1).tonumber(2)", "I64 or U64 expected, got number"},
        {"U64(1).to_le_bytes()", "missing argument #1"},
        {"U64(1):from_le_bytes()", "missing argument #2"},
        {"U64(1):from_le_bytes('1234567')", "8 bytes expected"},
        {"U64(1):from_le_bytes('123456789')", "8 bytes expected"},
        {"U64(1):from_le_bytes({1,2,3})", "8 bytes expected"},
        {"U64(1):from_le_bytes({1,2,3,4,5,6,7,256})", "whole numbers from 0 to 255"},
        {"U64(1):from_le_bytes({1,2,3,4,5,6,7,-1})", "whole numbers from 0 to 255"},
        {"U64(1):from_le_bytes({1,2,3,4,5,6,7,0.5})", "whole numbers from 0 to 255"},
        {"U64(1):from_le_bytes({1,2,3,4,5,6,7,'8'})", "whole numbers from 0 to 255"},
        {"ts.u64_from_le_bytes(buffer.create(7))", "are not in the buffer"},
        {"ts.u64_from_le_bytes(buffer.create(8), 1)", "are not in the buffer"},
        {"ts.u64_from_le_bytes(buffer.create(8), -1)", "an offset is a whole number"},
        {"ts.u64_from_le_bytes(buffer.create(8), 0/0)", "an offset is a whole number"},
        {"ts.u64_from_le_bytes(buffer.create(8), 2^53)", "are not in the buffer"},
        {"ts.u64_from_le_bytes(5)", "buffer, string or table of 8 bytes expected, got number"},
        {"U64(1):to_le_bytes({})", "buffer expected, got table"},
        {"U64(1):to_le_bytes(buffer.create(8), 0.5)", "an offset is a whole number"},
        {"U64(1).x = 1 return 1", "attempt to index U64 with 'x'"},
    };
    CASES(*state, cases);
    ERRORS(*state, errors);
}

static void test_bits(void **state)
{
    static const PluginCase cases[] = {
        {"bit.band(), bit.bor(), bit.bxor(), bit.btest()", "18446744073709551615,0,0,true"},
        {"bit.band(12, 10), bit.bor(12, U64(10)), bit.bxor(12, 10)", "8,14,6"},
        {"bit.band(U64('0xff00ff00ff00ff00'), U64('0x0ff00ff00ff00ff0')):to_hex()",
         "f000f000f000f00"},
        {"bit.btest(12, 10), bit.btest(12, 3)", "true,false"},
        {"bit.bnot(0), bit.bnot(U64('18446744073709551615'))", "18446744073709551615,0"},
        {"bit.lshift(1, 63), bit.lshift(1, 64), bit.lshift(4, -1), bit.lshift(1, -64)",
         "9223372036854775808,0,2,0"},
        {"bit.rshift(U64('0x8000000000000000'), 63), bit.rshift(1, -3), bit.rshift(1, 1e9)",
         "1,8,0"},
        {"bit.lshift(1, math.huge), bit.rshift(1, -math.huge)", "0,0"},
        {"bit.arshift(U64('0x8000000000000000'), 4):to_hex()", "f800000000000000"},
        {"bit.arshift(U64('0x8000000000000000'), 100):to_hex()", "ffffffffffffffff"},
        {"bit.arshift(64, 3), bit.arshift(64, -1), bit.arshift(64, 0), bit.arshift(64, 64)",
         "8,128,64,0"},
        {"bit.lrotate(U64('0x8000000000000001'), 1), bit.rrotate(3, 1):to_hex()",
         "3,8000000000000001"},
        {"bit.lrotate(5, 64), bit.lrotate(5, -1) == bit.rrotate(5, 1), bit.rrotate(5, 0)",
         "5,true,5"},
        {"bit.lrotate(1, 65), bit.rrotate(1, -66), bit.lrotate(1, -2^52)", "2,4,1"},
        {"bit.extract(U64('0xabcdef'), 4, 8):to_hex(), bit.extract(8, 3), bit.extract(8, 0)",
         "de,1,0"},
        {"bit.extract(U64('18446744073709551615'), 0, 64)", "18446744073709551615"},
        {"bit.replace(0, 255, 4, 4):to_hex(), bit.replace(15, 0, 1), bit.replace(7, 9, 0, 64)",
         "f0,13,9"},
        {"bit.countlz(0), bit.countlz(1), bit.countlz(U64('0x8000000000000000'))", "64,63,0"},
        {"bit.countrz(0), bit.countrz(8), bit.countrz(U64('0x8000000000000000'))", "64,3,63"},
        {"bit.byteswap(U64('0x0102030405060708')):to_hex()", "807060504030201"},
    };
    static const PluginCase errors[] = {
        {"bit.band('1')",
         "invalid argument #1 to 'band' (whole number, I64 or U64 expected, got string"},
        {"bit.bor(1, {})", "invalid argument #2 to 'bor'"},
        {"bit.bxor(1, 1.5)", "1.5 is not a whole number"},
        {"bit.btest(-1)", "out of the range of U64"},
        {"bit.bnot()", "missing argument #1 to 'bnot'"},
        {"bit.bnot(I64(-1))", "out of the range of U64"},
        {"bit.lshift(1)", "missing argument #2 to 'lshift'"},
        {"bit.rshift(1, 0.5)", "a whole number expected"},
        {"bit.arshift(1, 0/0)", "a whole number expected"},
        {"bit.lrotate(1, math.huge)", "a whole number expected"},
        {"bit.rrotate(1, 'x')", "number expected, got string"},
        {"bit.extract(1)", "missing argument #2"},
        {"bit.extract(1, -1)", "a field is a whole number from 0 to 63"},
        {"bit.extract(1, 64)", "a field is a whole number from 0 to 63"},
        {"bit.extract(1, 0, 0)", "a width is a whole number from 1 to 64"},
        {"bit.extract(1, 60, 5)", "the field goes beyond the 64 bits"},
        {"bit.extract(1, 0/0)", "a field is a whole number"},
        {"bit.replace(1, 2, 63, 2)", "the field goes beyond the 64 bits"},
        {"bit.replace(1, -2, 3)", "invalid argument #2 to 'replace' (out of the range of U64"},
        {"bit.countlz()", "missing argument #1"},
        {"bit.countrz(false)", "got boolean"},
        {"bit.byteswap(nil)", "got nil"},
    };
    CASES(*state, cases);
    ERRORS(*state, errors);
}

/* With the language's own 64-bit integers as oracle. */
static void test_against_integers(void **state)
{
    plugin_expect(*state,
                  PRELUDE
                  " local function word() return bit.bxor(bit.lshift(math.random(0, 2^31 - 1), "
                  "math.random(0, 40)), math.random(0, 2^31 - 1)):to_i64() end "
                  "local function int(v) return integer.fromstring(tostring(v)) end "
                  "local function same(a, b) assert(tostring(a) == tostring(b), `{a} {b}`) end "
                  "for i = 1, 2000 do local a, b = word(), word() local x, y = int(a), int(b) "
                  "same(a + b, integer.add(x, y)) same(a - b, integer.sub(x, y)) "
                  "same(a * b, integer.mul(x, y)) "
                  "if b ~= I64(0) and b ~= I64(-1) then same(a / b, integer.div(x, y)) "
                  "same(a // b, integer.idiv(x, y)) same(a % b, integer.mod(x, y)) "
                  "same((a // b) * b + a % b, a) end "
                  "assert((a < b) == integer.lt(x, y) and (a <= b) == integer.le(x, y)) "
                  "same(bit.countlz(a:to_u64()), bit.countlz(U64(a:to_u64()))) end return 'ok'",
                  "ok");
}

static void test_randstring(void **state)
{
    static const PluginCase cases[] = {
        {"#ts.randstring(1), #ts.randstring(4096), #ts.randstring(63)", "1,4096,63"},
        {"ts.randstring(4096):match('^[A-Za-z0-9]+$') ~= nil", "true"},
        {"ts.randstring(40) == ts.randstring(40)", "false"},
        {"local seen, n = {}, 0 for c in ts.randstring(4096):gmatch('.') do "
         "if not seen[c] then seen[c] = true n += 1 end end return n",
         "62"},
    };
    static const PluginCase errors[] = {
        {"ts.randstring()", "missing argument #1 to 'randstring'"},
        {"ts.randstring(0)", "a length is a whole number from 1 to 4096"},
        {"ts.randstring(4097)", "a length is a whole number from 1 to 4096"},
        {"ts.randstring(1.5)", "a length is a whole number from 1 to 4096"},
        {"ts.randstring(0/0)", "a length is a whole number from 1 to 4096"},
        {"ts.randstring(-2^53)", "a length is a whole number from 1 to 4096"},
        {"ts.randstring({})", "number expected, got table"},
    };
    CASES(*state, cases);
    ERRORS(*state, errors);
}

static void test_tampering(void **state)
{
    static const PluginCase errors[] = {
        {"ts.U64 = nil return 1", "attempt to modify a readonly table"},
        {"rawset(ts, 'x', 1) return 1", "attempt to modify a readonly table"},
        {"rawset(bit, 'band', print) return 1", "attempt to modify a readonly table"},
        {"table.clear(bit) return 1", "attempt to modify a readonly table"},
        {"setmetatable(ts, {}) return 1", "readonly"},
        {"setmetatable(U64(1), {})", "table expected, got U64"},
        {"getmetatable(U64(1)).__add = print return 1", "attempt to index string with '__add'"},
        {"rawset(U64(1), 1, 1)", "table expected, got U64"},
        {"require('@antiraid/typesext').randstring = print return 1", "readonly"},
    };
    ERRORS(*state, errors);
    plugin_expect(*state, PRELUDE " return table.isfrozen(ts), table.isfrozen(bit)", "true,true");
}

/* Values are counted: a loop that keeps them ends at the quota, and nothing else breaks. */
static void test_quota(void **state)
{
    PluginVm *vm = *state;
    vm->limits.memory_max_bytes = 1 << 20;
    plugin_renew(vm);
    plugin_expect(vm, PRELUDE " local a = U64(0) for i = 1, 200000 do a += i end return a",
                  "20000100000");
    assert_int_equal(plugin_start(vm, PRELUDE " local t = {} for i = 1, 1e7 do "
                                              "t[i] = pcall(U64, i) and U64(i) end"),
                     LUA_KILLED);
    assert_int_equal(luau_killreason(vm->L), LUAU_KILL_MEMORY);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, plugin_setup, plugin_teardown)
#define STRESSED(function)                                                                         \
    cmocka_unit_test_setup_teardown(function, plugin_setup_stressed, plugin_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_making),     TEST(test_arithmetic), TEST(test_order),
        TEST(test_methods),    TEST(test_bits),       TEST(test_against_integers),
        TEST(test_randstring), TEST(test_tampering),  TEST(test_quota),
    };
    const struct CMUnitTest stressed[] = {
        STRESSED(test_making),  STRESSED(test_arithmetic), STRESSED(test_order),
        STRESSED(test_methods), STRESSED(test_bits),
    };
    int failed = cmocka_run_group_tests_name("typesext", tests, NULL, NULL);
    return failed + cmocka_run_group_tests_name("typesext, stressed", stressed, NULL, NULL);
}
