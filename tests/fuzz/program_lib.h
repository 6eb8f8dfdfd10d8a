/* program_lib.h: library functions that generated programs call.
 *
 * X(kind of the result, name, kinds of the arguments). Kinds: n number, i small integer, s string,
 * p pattern, t table, b boolean, a anything, S scalar, F function of two arguments, c coroutine,
 * B buffer, v vector, o offset in a buffer, f format, k pack format, w replacement. */
#ifndef TESTS_FUZZ_PROGRAM_LIB_H
#define TESTS_FUZZ_PROGRAM_LIB_H

#define PROGRAM_LIBRARY(X)                                                                       \
    X('n', "math.abs", "n") X('n', "math.floor", "n") X('n', "math.ceil", "n")                   \
    X('n', "math.sqrt", "n") X('n', "math.max", "nnn") X('n', "math.min", "nn")                  \
    X('n', "math.fmod", "nn") X('n', "math.clamp", "nii") X('n', "math.sign", "n")               \
    X('n', "math.round", "n") X('n', "math.lerp", "nnn") X('n', "math.map", "nnnnn")             \
    X('n', "math.modf", "n") X('n', "math.frexp", "n") X('n', "math.ldexp", "ni")                \
    X('n', "math.noise", "nn") X('n', "math.random", "i") X('n', "math.random", "ii")            \
    X('n', "math.pow", "ni") X('b', "math.isnan", "n") X('n', "math.log", "nn")                  \
    X('n', "bit32.band", "nnn") X('n', "bit32.bor", "nn") X('n', "bit32.bxor", "nn")             \
    X('n', "bit32.bnot", "n") X('b', "bit32.btest", "nn") X('n', "bit32.lshift", "ni")           \
    X('n', "bit32.rshift", "ni") X('n', "bit32.arshift", "ni") X('n', "bit32.lrotate", "ni")     \
    X('n', "bit32.rrotate", "ni") X('n', "bit32.extract", "nii")                                 \
    X('n', "bit32.replace", "nnii") X('n', "bit32.countlz", "n") X('n', "bit32.countrz", "n")    \
    X('n', "bit32.byteswap", "n")                                                                \
    X('n', "string.len", "s") X('s', "string.sub", "sii") X('s', "string.upper", "s")            \
    X('s', "string.lower", "s") X('s', "string.reverse", "s") X('s', "string.rep", "si")         \
    X('n', "string.byte", "sii") X('s', "string.char", "ii") X('n', "string.find", "sp")         \
    X('n', "string.find", "ssib") X('s', "string.match", "spi") X('s', "string.gsub", "spw")     \
    X('s', "string.gsub", "spF") X('s', "string.gsub", "spti") X('s', "string.format", "faaa")   \
    X('t', "string.split", "ss") X('s', "string.pack", "knsn") X('a', "string.unpack", "ks")     \
    X('n', "string.packsize", "k") X('s', "utf8.char", "ii") X('n', "utf8.len", "sii")           \
    X('n', "utf8.codepoint", "si") X('n', "utf8.offset", "sii") X('n', "tonumber", "s")          \
    X('n', "tonumber", "si") X('s', "tostring", "S") X('s', "type", "a") X('s', "typeof", "a")   \
    X('a', "select", "iaaa") X('n', "select", "'#'aa") X('n', "rawlen", "t")                     \
    X('a', "rawget", "tS") X('t', "rawset", "tSa") X('b', "rawequal", "SS")                      \
    X('t', "getmetatable", "t") X('t', "setmetatable", "tt") X('a', "assert", "aa")              \
    X('a', "next", "t") X('a', "unpack", "tii")                                                  \
    X('s', "table.concat", "tsii") X('a', "table.insert", "ta") X('a', "table.insert", "tia")    \
    X('a', "table.remove", "ti") X('t', "table.move", "tiii") X('t', "table.move", "tiiit")      \
    X('a', "table.unpack", "tii") X('t', "table.pack", "aaa") X('a', "table.sort", "tF")         \
    X('a', "table.sort", "t") X('n', "table.find", "taS") X('t', "table.create", "ia")           \
    X('a', "table.clear", "t") X('t', "table.clone", "t") X('t', "table.freeze", "t")            \
    X('b', "table.isfrozen", "t") X('n', "table.maxn", "t") X('n', "table.getn", "t")            \
    X('a', "table.foreachi", "tF") X('b', "pcall", "Faa") X('b', "xpcall", "FFa")                \
    X('c', "coroutine.create", "F") X('F', "coroutine.wrap", "F")                                \
    X('b', "coroutine.resume", "caa") X('a', "coroutine.yield", "aa")                            \
    X('s', "coroutine.status", "c") X('b', "coroutine.isyieldable", "")                          \
    X('c', "coroutine.running", "") X('b', "coroutine.close", "c")                               \
    X('B', "buffer.create", "i") X('B', "buffer.fromstring", "s") X('s', "buffer.tostring", "B") \
    X('n', "buffer.len", "B") X('n', "buffer.readi8", "Bo") X('n', "buffer.readu16", "Bo")       \
    X('n', "buffer.readi32", "Bo") X('n', "buffer.readf32", "Bo") X('n', "buffer.readf64", "Bo") \
    X('a', "buffer.writeu8", "Bon") X('a', "buffer.writei16", "Bon")                             \
    X('a', "buffer.writeu32", "Bon") X('a', "buffer.writef32", "Bon")                            \
    X('a', "buffer.writef64", "Bon") X('s', "buffer.readstring", "Boi")                          \
    X('a', "buffer.writestring", "Bosi") X('a', "buffer.copy", "BoBoi")                          \
    X('a', "buffer.fill", "Boni") X('n', "buffer.readbits", "Boi")                               \
    X('a', "buffer.writebits", "Boin")                                                           \
    X('v', "vector.create", "nnn") X('n', "vector.magnitude", "v") X('v', "vector.normalize", "v") \
    X('n', "vector.dot", "vv") X('v', "vector.cross", "vv") X('n', "vector.angle", "vvv")        \
    X('v', "vector.floor", "v") X('v', "vector.clamp", "vvv") X('v', "vector.max", "vvv")        \
    X('v', "vector.lerp", "vvn") X('n', "os.time", "t") X('s', "os.date", "'!%c'n")              \
    X('n', "os.difftime", "nn")

/* These show levels, addresses, orders or the collector. */
#define PROGRAM_LIBRARY_WILD(X)                                                                  \
    X('s', "debug.traceback", "") X('s', "debug.traceback", "csi") X('a', "debug.info", "i'sln'") \
    X('a', "debug.info", "F'nfa'") X('a', "debug.info", "ci's'") X('n', "gcinfo", "")            \
    X('a', "collectgarbage", "'collect'") X('n', "collectgarbage", "'count'")                    \
    X('a', "newproxy", "b") X('t', "getfenv", "i") X('a', "setfenv", "it")                       \
    X('a', "setfenv", "Ft") X('s', "tostring", "a") X('a', "table.foreach", "tF")                \
    X('n', "rawlen", "a") X('t', "setmetatable", "aa") X('F', "loadstring", "s")                 \
    X('n', "os.clock", "") X('b', "rawequal", "aa") X('a', "rawget", "ta")

#endif
