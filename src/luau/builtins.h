/* builtins.h: library functions that the interpreter may run without a call (FASTCALL*).
 *
 * The compiler emits FASTCALL* when a call's callee is such a function by its global name and the
 * source does not assign that name; the interpreter uses it while the environment is unmodified.
 * A fast path may decline (return -1) for any argument it does not like: then the plain call runs
 * and raises the error. It never raises, never allocates past `str`-free results, never yields.
 *
 * X(id, library or "", name) */
#ifndef LUAU_BUILTINS_H
#define LUAU_BUILTINS_H

#define LUAU_BUILTINS(X)                                                                           \
    X(ASSERT, "", "assert")                                                                        \
    X(TYPE, "", "type")                                                                            \
    X(TYPEOF, "", "typeof")                                                                        \
    X(RAWEQUAL, "", "rawequal")                                                                    \
    X(RAWGET, "", "rawget")                                                                        \
    X(RAWSET, "", "rawset")                                                                        \
    X(RAWLEN, "", "rawlen")                                                                        \
    X(GETMETATABLE, "", "getmetatable")                                                            \
    X(SETMETATABLE, "", "setmetatable")                                                            \
    X(SELECT, "", "select")                                                                        \
    X(TONUMBER, "", "tonumber")                                                                    \
    X(TOSTRING, "", "tostring")                                                                    \
    X(UNPACK, "", "unpack")                                                                        \
    X(MATH_ABS, "math", "abs") X(MATH_ACOS, "math", "acos") X(MATH_ASIN, "math", "asin")           \
    X(MATH_ATAN2, "math", "atan2") X(MATH_ATAN, "math", "atan") X(MATH_CEIL, "math", "ceil")       \
    X(MATH_COSH, "math", "cosh") X(MATH_COS, "math", "cos") X(MATH_CLAMP, "math", "clamp")         \
    X(MATH_DEG, "math", "deg") X(MATH_EXP, "math", "exp") X(MATH_FLOOR, "math", "floor")           \
    X(MATH_FMOD, "math", "fmod") X(MATH_LDEXP, "math", "ldexp") X(MATH_LERP, "math", "lerp")       \
    X(MATH_LOG10, "math", "log10") X(MATH_LOG, "math", "log") X(MATH_MAX, "math", "max")           \
    X(MATH_MIN, "math", "min") X(MATH_POW, "math", "pow") X(MATH_RAD, "math", "rad")               \
    X(MATH_SIGN, "math", "sign") X(MATH_SINH, "math", "sinh") X(MATH_SIN, "math", "sin")           \
    X(MATH_SQRT, "math", "sqrt") X(MATH_TANH, "math", "tanh") X(MATH_TAN, "math", "tan")           \
    X(MATH_ROUND, "math", "round") X(MATH_MAP, "math", "map") X(MATH_ISNAN, "math", "isnan")       \
    X(MATH_ISINF, "math", "isinf") X(MATH_ISFINITE, "math", "isfinite")                            \
    X(BIT32_ARSHIFT, "bit32", "arshift") X(BIT32_BAND, "bit32", "band")                            \
    X(BIT32_BNOT, "bit32", "bnot") X(BIT32_BOR, "bit32", "bor") X(BIT32_BXOR, "bit32", "bxor")     \
    X(BIT32_BTEST, "bit32", "btest") X(BIT32_EXTRACT, "bit32", "extract")                          \
    X(BIT32_LROTATE, "bit32", "lrotate") X(BIT32_LSHIFT, "bit32", "lshift")                        \
    X(BIT32_REPLACE, "bit32", "replace") X(BIT32_RROTATE, "bit32", "rrotate")                      \
    X(BIT32_RSHIFT, "bit32", "rshift") X(BIT32_COUNTLZ, "bit32", "countlz")                        \
    X(BIT32_COUNTRZ, "bit32", "countrz") X(BIT32_BYTESWAP, "bit32", "byteswap")                    \
    X(STRING_BYTE, "string", "byte") X(STRING_CHAR, "string", "char")                              \
    X(STRING_LEN, "string", "len") X(STRING_SUB, "string", "sub")                                  \
    X(TABLE_INSERT, "table", "insert") X(TABLE_UNPACK, "table", "unpack")                          \
    X(BUFFER_READI8, "buffer", "readi8") X(BUFFER_READU8, "buffer", "readu8")                      \
    X(BUFFER_WRITEU8, "buffer", "writeu8") X(BUFFER_READI16, "buffer", "readi16")                  \
    X(BUFFER_READU16, "buffer", "readu16") X(BUFFER_WRITEU16, "buffer", "writeu16")                \
    X(BUFFER_READI32, "buffer", "readi32") X(BUFFER_READU32, "buffer", "readu32")                  \
    X(BUFFER_WRITEU32, "buffer", "writeu32") X(BUFFER_READF32, "buffer", "readf32")                \
    X(BUFFER_WRITEF32, "buffer", "writef32") X(BUFFER_READF64, "buffer", "readf64")                \
    X(BUFFER_WRITEF64, "buffer", "writef64") X(BUFFER_WRITEI8, "buffer", "writei8")                \
    X(BUFFER_WRITEI16, "buffer", "writei16") X(BUFFER_WRITEI32, "buffer", "writei32")              \
    X(VECTOR_CREATE, "vector", "create") X(VECTOR_MAGNITUDE, "vector", "magnitude")                \
    X(VECTOR_DOT, "vector", "dot")

typedef enum LuauBuiltin {
    BUILTIN_NONE = 0,
#define X(id, library, name) BUILTIN_##id,
    LUAU_BUILTINS(X)
#undef X
    BUILTIN_COUNT
} LuauBuiltin;

#endif
