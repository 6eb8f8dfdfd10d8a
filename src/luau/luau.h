/* luau.h: the Luau language for C programs.
 *
 * Names and stack discipline are those of the Lua C API as Luau extends it, so that whoever has
 * embedded Lua knows them; functions prefixed luau_ are ours: shared modules, images, quotas,
 * deadlines, preemption, kills and accounts.
 *
 * Vocabulary
 *   VM       one heap with its threads (coroutines). Made by luau_newvm, freed by lua_close. A VM
 *            is used by one OS thread at a time, any thread; no function here takes locks on it.
 *   image    frozen tables, functions and strings (a standard library) built once and shared by
 *            any number of VMs of the process; immutable, reference counted, any thread.
 *   module   compiled source: bytecode, constants, debug info; immutable but for relaxed-atomic
 *            lookup hints, no pointer into any VM, reference counted, any thread.
 *   error    a value raised by lua_error and friends; unwinds (longjmp) to the nearest lua_pcall,
 *            pcall or lua_resume. Functions marked [e] may raise; [m] may only run out of memory.
 *   kill     not an error: the VM passed its quota or deadline, or was told to stop. It unwinds to
 *            the outermost host call, which returns LUA_KILLED; no tenant code runs on the way.
 *   poll     a safepoint: loop back-edges, calls, and long natives. Kills and preemption happen at
 *            polls only.
 */
#ifndef LUAU_H
#define LUAU_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define LUA_API extern __attribute__((visibility("default")))
#define LUA_PRINTF_ATTR(fmt, args) __attribute__((format(printf, fmt, args)))
#define LUA_NORETURN __attribute__((noreturn))
#else
#define LUA_API extern
#define LUA_PRINTF_ATTR(fmt, args)
#define LUA_NORETURN
#endif

#define LUAU_VERSION "0.1.0"

typedef struct lua_State lua_State;
typedef struct luau_Image luau_Image;
typedef struct luau_Module luau_Module;

typedef double lua_Number;
typedef int lua_Integer;
typedef unsigned lua_Unsigned;

/* A native. Arguments are at 1..lua_gettop; pushes results and returns their count, or the result
 * of lua_yield / lua_break. */
typedef int (*lua_CFunction)(lua_State *L);
/* Runs when a native that yielded, or whose callee (luau_callk, luau_pcallk) yielded, goes on;
 * status is LUA_OK or the callee's error status (the error value is on top). */
typedef int (*lua_Continuation)(lua_State *L, int status);
/* Frees what a userdata owns. Runs no Luau code; must not use the VM. */
typedef void (*lua_Destructor)(void *userdata);

enum lua_Status {
    LUA_OK = 0,
    LUA_YIELD,
    LUA_ERRRUN,
    LUA_ERRSYNTAX,
    LUA_ERRMEM, /* "not enough memory" as a catchable error (no quota was set) */
    LUA_ERRERR, /* error in error handling */
    LUA_BREAK,
    LUA_KILLED /* see luau_killreason */
};

enum lua_CoStatus { LUA_CORUN = 0, LUA_COSUS, LUA_CONOR, LUA_COFIN, LUA_COERR };

enum lua_Type {
    LUA_TNONE = -1,
    LUA_TNIL = 0,
    LUA_TBOOLEAN,
    LUA_TLIGHTUSERDATA,
    LUA_TNUMBER,
    LUA_TINTEGER, /* 64 bits, a type of its own: `5i` */
    LUA_TVECTOR,
    LUA_TSTRING,
    LUA_TTABLE,
    LUA_TFUNCTION,
    LUA_TUSERDATA,
    LUA_TTHREAD,
    LUA_TBUFFER,
    LUA_T_COUNT
};

#define LUA_MULTRET (-1)
#define LUA_MINSTACK 20
#define LUA_UTAG_LIMIT 128
#define LUAI_MAXCSTACK 8000 /* stack slots one native may use */
#define LUAI_MAXCALLS 20000 /* depth of calls */
#define LUAI_MAXCCALLS 200  /* depth of nested native calls */
#define LUA_IDSIZE 256      /* chunk name as shown */

#define LUA_REGISTRYINDEX (-LUAI_MAXCSTACK - 2000)
#define LUA_ENVIRONINDEX (-LUAI_MAXCSTACK - 2001)
#define LUA_GLOBALSINDEX (-LUAI_MAXCSTACK - 2002)
#define lua_upvalueindex(i) (LUA_GLOBALSINDEX - (i))
#define lua_ispseudo(i) ((i) <= LUA_REGISTRYINDEX)

/* ---- Images: shared, frozen libraries -------------------------------------------------------- */

/* Fills the globals of a building VM: any API calls; tables, C functions, strings, numbers and
 * metatables may be left behind in its globals; Luau functions, threads, buffers may not. */
typedef void (*luau_OpenFunction)(lua_State *L, void *userdata);

/* Runs `open` in a fresh VM, then freezes everything reachable from its globals and its type
 * metatables into an image with one reference. NULL on failure, text in error[0..error_size). */
LUA_API luau_Image *luau_image_new(luau_OpenFunction open, void *userdata, char *error,
                                   size_t error_size);
LUA_API luau_Image *luau_image_retain(luau_Image *image); /* any thread */
LUA_API void luau_image_release(luau_Image *image);       /* any thread; NULL is fine */
LUA_API size_t luau_image_bytes(const luau_Image *image);
/* The stable id ("string.format") of a shared object at index, or NULL. Lives with the image. */
LUA_API const char *luau_image_id(lua_State *L, int index);
/* Pushes the shared object with that id; returns its type, or LUA_TNIL (pushes nil). */
LUA_API int luau_image_push(lua_State *L, const char *id);

/* An image of the whole standard library (luaL_openlibs). One reference. */
LUA_API luau_Image *luau_image_standard(void);

/* ---- VMs ------------------------------------------------------------------------------------- */

typedef struct luau_VmOptions {
    luau_Image *image;        /* retained; NULL: no library at all */
    size_t memory_max_bytes;  /* quota; 0: none */
    void *userdata;           /* luau_vmdata */
    int writable_globals_only; /* reserved, 0 */
} luau_VmOptions;

/* A new VM; its main thread's globals are an empty table whose frozen metatable reads through to
 * the image's globals. NULL when out of memory. */
LUA_API lua_State *luau_newvm(const luau_VmOptions *options);
/* Pushes another table like those globals, for code that shall have its own (lua_setfenv). [m] */
LUA_API void luau_newglobals(lua_State *L);
/* luau_newvm without image or quota: a VM to open libraries in by hand. */
LUA_API lua_State *luaL_newstate(void);
/* Frees the VM; userdata destructors run; no Luau code does. Takes any thread of the VM. */
LUA_API void lua_close(lua_State *L);
LUA_API lua_State *lua_mainthread(lua_State *L);
LUA_API void *luau_vmdata(lua_State *L);
LUA_API void luau_setvmdata(lua_State *L, void *userdata);

/* ---- Threads --------------------------------------------------------------------------------- */
LUA_API lua_State *lua_newthread(lua_State *L); /* [m] pushes it; shares L's globals */
LUA_API void lua_resetthread(lua_State *L);     /* closes a suspended or dead thread */
LUA_API int lua_isthreadreset(lua_State *L);
LUA_API void *lua_getthreaddata(lua_State *L);
LUA_API void lua_setthreaddata(lua_State *L, void *data);

/* ---- Stack ----------------------------------------------------------------------------------- */
LUA_API int lua_absindex(lua_State *L, int index);
LUA_API int lua_gettop(lua_State *L);
LUA_API void lua_settop(lua_State *L, int index);
LUA_API void lua_pushvalue(lua_State *L, int index);
LUA_API void lua_remove(lua_State *L, int index);
LUA_API void lua_insert(lua_State *L, int index);
LUA_API void lua_replace(lua_State *L, int index);
/* Room for `size` more slots: 1, or 0 past LUAI_MAXCSTACK. [m] */
LUA_API int lua_checkstack(lua_State *L, int size);
LUA_API void lua_rawcheckstack(lua_State *L, int size); /* no limit but memory */
LUA_API void lua_xmove(lua_State *from, lua_State *to, int count);
LUA_API void lua_xpush(lua_State *from, lua_State *to, int index);

/* ---- Reading values -------------------------------------------------------------------------- */
LUA_API int lua_type(lua_State *L, int index);
LUA_API const char *lua_typename(lua_State *L, int type);
LUA_API int lua_isnumber(lua_State *L, int index); /* or a numeric string */
LUA_API int lua_isstring(lua_State *L, int index); /* or a number */
LUA_API int lua_iscfunction(lua_State *L, int index);
LUA_API int lua_isLfunction(lua_State *L, int index);
LUA_API int lua_isuserdata(lua_State *L, int index);
LUA_API int lua_equal(lua_State *L, int index1, int index2); /* [e] */
LUA_API int lua_rawequal(lua_State *L, int index1, int index2);
LUA_API int lua_lessthan(lua_State *L, int index1, int index2); /* [e] */
LUA_API double lua_tonumberx(lua_State *L, int index, int *isnum);
LUA_API int lua_tointegerx(lua_State *L, int index, int *isnum);
LUA_API unsigned lua_tounsignedx(lua_State *L, int index, int *isnum);
LUA_API const float *lua_tovector(lua_State *L, int index);
/* Of the type integer only: 0 for anything else, also for numbers. isinteger may be NULL. */
LUA_API int64_t lua_tointeger64(lua_State *L, int index, int *isinteger);
LUA_API int lua_toboolean(lua_State *L, int index);
/* A number is converted in place. [m] The text lives while the value does. */
LUA_API const char *lua_tolstring(lua_State *L, int index, size_t *length);
LUA_API const char *lua_namecallatom(lua_State *L); /* method name inside a __namecall, or NULL */
LUA_API int lua_objlen(lua_State *L, int index);    /* raw length */
LUA_API lua_CFunction lua_tocfunction(lua_State *L, int index);
LUA_API void *lua_tolightuserdata(lua_State *L, int index);
LUA_API void *lua_touserdata(lua_State *L, int index);
LUA_API void *lua_touserdatatagged(lua_State *L, int index, int tag);
LUA_API int lua_userdatatag(lua_State *L, int index);
LUA_API lua_State *lua_tothread(lua_State *L, int index);
LUA_API void *lua_tobuffer(lua_State *L, int index, size_t *length);
LUA_API const void *lua_topointer(lua_State *L, int index);

/* ---- Pushing values -------------------------------------------------------------------------- */
LUA_API void lua_pushnil(lua_State *L);
LUA_API void lua_pushnumber(lua_State *L, double n);
LUA_API void lua_pushinteger(lua_State *L, int n);
LUA_API void lua_pushunsigned(lua_State *L, unsigned n);
LUA_API void lua_pushinteger64(lua_State *L, int64_t n);              /* [m] */
LUA_API void lua_pushvector(lua_State *L, float x, float y, float z); /* [m] */
LUA_API void lua_pushlstring(lua_State *L, const char *s, size_t length); /* [m] */
LUA_API void lua_pushstring(lua_State *L, const char *s);                 /* [m]; NULL: nil */
LUA_API const char *lua_pushvfstring(lua_State *L, const char *format, va_list args); /* [m] */
LUA_API const char *lua_pushfstring(lua_State *L, const char *format, ...)            /* [m] */
    LUA_PRINTF_ATTR(2, 3);
/* name: shown in messages and tracebacks, kept by pointer (a literal); NULL: none. */
LUA_API void lua_pushcclosurek(lua_State *L, lua_CFunction fn, const char *name, int nup,
                               lua_Continuation cont); /* [m] */
LUA_API void lua_pushboolean(lua_State *L, int b);
LUA_API int lua_pushthread(lua_State *L); /* 1 if it is the main thread */
LUA_API void lua_pushlightuserdata(lua_State *L, void *p); /* 48-bit address */
/* 16-byte aligned, zeroed block. Tag 0..127. [m] */
LUA_API void *lua_newuserdatatagged(lua_State *L, size_t size, int tag);
LUA_API void *lua_newuserdatadtor(lua_State *L, size_t size, lua_Destructor dtor); /* [m] */
LUA_API void *lua_newbuffer(lua_State *L, size_t size); /* [e] zeroed */

/* ---- Tables ---------------------------------------------------------------------------------- */
/* Getters push the value and return its type. */
LUA_API int lua_gettable(lua_State *L, int index);                    /* [e] pops key */
LUA_API int lua_getfield(lua_State *L, int index, const char *name);  /* [e] */
LUA_API int lua_rawgetfield(lua_State *L, int index, const char *name); /* [m] */
LUA_API int lua_rawget(lua_State *L, int index);                      /* pops key */
LUA_API int lua_rawgeti(lua_State *L, int index, int n);
LUA_API void lua_createtable(lua_State *L, int array_count, int hash_count); /* [m] */
LUA_API void lua_setreadonly(lua_State *L, int index, int enabled);
LUA_API int lua_getreadonly(lua_State *L, int index);
LUA_API int lua_getmetatable(lua_State *L, int index); /* 1 and pushes it, or 0 */
LUA_API void lua_getfenv(lua_State *L, int index);
LUA_API void lua_settable(lua_State *L, int index);                      /* [e] pops key, value */
LUA_API void lua_setfield(lua_State *L, int index, const char *name);    /* [e] pops value */
LUA_API void lua_rawsetfield(lua_State *L, int index, const char *name); /* [e] pops value */
LUA_API void lua_rawset(lua_State *L, int index);                        /* [e] */
LUA_API void lua_rawseti(lua_State *L, int index, int n);                /* [e] */
LUA_API int lua_setmetatable(lua_State *L, int index);                   /* pops table or nil */
LUA_API int lua_setfenv(lua_State *L, int index);                        /* pops table */
LUA_API int lua_next(lua_State *L, int index); /* [e] pops key; pushes key, value and 1, or 0 */
/* iter = lua_rawiter(L, index, iter), from 0 until it gives -1; pushes key and value. */
LUA_API int lua_rawiter(lua_State *L, int index, int iter);
LUA_API void lua_cleartable(lua_State *L, int index);
LUA_API void lua_clonetable(lua_State *L, int index); /* [m] pushes the copy */
LUA_API void lua_concat(lua_State *L, int count);     /* [e] pops count, pushes one */

/* ---- Calls ----------------------------------------------------------------------------------- */
LUA_API void lua_call(lua_State *L, int nargs, int nresults);                /* [e] */
LUA_API int lua_pcall(lua_State *L, int nargs, int nresults, int errfunc);   /* status */
/* Runs work(L, arg) protected, needing no memory of the VM: how a host does what may fail ([e],
 * [m])
 * while no function of the VM runs. LUA_OK: what work pushed is there; else only the error value is
 * (nil after LUA_KILLED). */
LUA_API int luau_protect(lua_State *L, void (*work)(lua_State *L, void *arg), void *arg);
/* Calls that the callee may yield through: use as `return luau_callk(...)` from a native that has
 * a continuation; the continuation runs when the callee is done (also when it did not yield). */
LUA_API int luau_callk(lua_State *L, int nargs, int nresults);
LUA_API int luau_pcallk(lua_State *L, int nargs, int nresults);
LUA_API int lua_yield(lua_State *L, int nresults); /* use as `return lua_yield(L, n)` */
/* `return lua_break(L)`: stops all threads up to the one that the host resumed. Its lua_resume
 * gives LUA_BREAK, and the next one goes on where they stopped. */
LUA_API int lua_break(lua_State *L);
/* Starts or continues thread L with nargs arguments on its stack (under them the function, at the
 * start). LUA_YIELD or LUA_OK: results are on its stack; else the error value. `from` may be
 * NULL. */
LUA_API int lua_resume(lua_State *L, lua_State *from, int nargs);
/* The same, but raises the value on top where L waits: its pcalls may catch it. */
LUA_API int lua_resumeerror(lua_State *L, lua_State *from);
LUA_API int lua_status(lua_State *L);
LUA_API int lua_costatus(lua_State *L, lua_State *co);
LUA_API int lua_isyieldable(lua_State *L);
LUA_API int lua_error(lua_State *L) LUA_NORETURN; /* raises the value on top */

/* ---- Collector and account ------------------------------------------------------------------- */
enum lua_GCOp {
    LUA_GCSTOP, LUA_GCRESTART, LUA_GCCOLLECT, LUA_GCCOUNT /* KB */, LUA_GCCOUNTB /* rest, bytes */,
    LUA_GCISRUNNING, LUA_GCSTEP /* KB; 1 when a cycle ended */, LUA_GCSETGOAL, LUA_GCSETSTEPMUL,
    LUA_GCSETSTEPSIZE
};
LUA_API int lua_gc(lua_State *L, int what, int data);
LUA_API size_t lua_totalbytes(lua_State *L, int category); /* category < 0: live bytes in all */
LUA_API void lua_setmemcat(lua_State *L, int category); /* 0..7: whom new objects are charged to */

typedef struct luau_Account {
    size_t live_bytes;     /* in objects */
    size_t reserved_bytes; /* obtained from the system: what the quota limits */
    size_t peak_bytes;     /* greatest reserved_bytes */
    size_t external_bytes; /* part of reserved_bytes charged by luau_charge and loadstring */
    uint64_t cpu_ns;       /* spent inside luau_run/luau_continue, or luau_enter/luau_leave */
    uint64_t collections;  /* finished cycles */
    uint64_t preemptions;
    uint64_t polls;        /* that looked at the clock */
} luau_Account;
LUA_API void luau_account(lua_State *L, luau_Account *account);
/* Charges (or with a negative number returns) bytes held outside for this VM. [e] like an
 * allocation: past the quota the VM collects, then is killed. */
LUA_API void luau_charge(lua_State *L, ptrdiff_t bytes);
/* Full collection; stacks, tables' free memory and empty slabs go back. For a VM at rest. */
LUA_API void luau_shrink(lua_State *L);
LUA_API void luau_setquota(lua_State *L, size_t memory_max_bytes);

/* ---- Kills, deadlines, preemption ------------------------------------------------------------ */
enum luau_KillReason {
    LUAU_KILL_NONE = 0,
    LUAU_KILL_MEMORY,  /* past the quota and a full collection did not help */
    LUAU_KILL_CPU,     /* processor time of luau_setcpulimit used up */
    LUAU_KILL_DEADLINE, /* wall time of luau_setdeadline passed */
    LUAU_KILL_HOST     /* luau_kill */
};
/* Asks the VM to stop at its next poll. Any thread, while the VM lives. */
LUA_API void luau_kill(lua_State *L, int reason);
LUA_API int luau_killreason(lua_State *L);
/* Where it was killed: `CHUNK:LINE`, or "" (lives until the VM closes). */
LUA_API const char *luau_killposition(lua_State *L);
/* After LUA_KILLED: drops the request so that the VM may run again (for a cancelled execution). */
LUA_API void luau_clearkill(lua_State *L);
/* Processor time that the VM has used so far, the stretch that runs now included. */
LUA_API uint64_t luau_cputime(lua_State *L);
/* The same for who knows what time it is (CLOCK_MONOTONIC). */
LUA_API uint64_t luau_cputime_at(lua_State *L, uint64_t now_ns);
/* Processor time, counted from now until the next call of this; 0: none. */
LUA_API void luau_setcpulimit(lua_State *L, uint64_t ns);
/* CLOCK_MONOTONIC nanoseconds; 0: none. */
LUA_API void luau_setdeadline(lua_State *L, uint64_t monotonic_ns);
/* Time slice after which luau_run parks; 0: only luau_preempt parks. */
LUA_API void luau_setslice(lua_State *L, uint64_t ns);
/* Asks a running VM to park at its next poll. Any thread, while the VM lives. */
LUA_API void luau_preempt(lua_State *L);
/* For natives that run long: call every few microseconds of work. May park, may be killed (then it
 * does not return): hold nothing that only the C stack knows. [e] */
LUA_API void luau_poll(lua_State *L);
/* The same for code that must clean up itself: never unwinds; 1 if the VM is to be killed. */
LUA_API int luau_pollkill(lua_State *L);

/* A pool of native stacks (fibers) for one OS thread, and that thread's interrupt word. All
 * functions but luau_fibers_tick are for that thread. */
typedef struct luau_Fibers luau_Fibers;
LUA_API luau_Fibers *luau_fibers_new(int keep_max); /* stacks kept for reuse */
LUA_API void luau_fibers_free(luau_Fibers *pool);   /* no VM may be parked on it */
LUA_API void luau_fibers_tick(luau_Fibers *pool);   /* any thread: the running VM checks time */
/* A helper OS thread that ticks its pools every period while they run VMs, and sleeps while none
 * does. A pool has one ticker at most; it is added and removed by its own thread, or while that is
 * not at work with it. */
typedef struct luau_Ticker luau_Ticker;
LUA_API luau_Ticker *luau_ticker_new(unsigned period_us); /* NULL: no memory, or no thread */
LUA_API void luau_ticker_add(luau_Ticker *ticker, luau_Fibers *pool);
LUA_API void luau_ticker_remove(luau_Ticker *ticker, luau_Fibers *pool);
LUA_API void luau_ticker_free(luau_Ticker *ticker); /* all pools were removed; NULL is fine */

/* Hosts that use no fibers. Time spent in the outermost call into the VM (lua_pcall, luau_protect,
 * lua_resume) is counted, and luau_kill works, without more. For limits on processor time and
 * deadlines somebody must make the VM look at the clock now and then. A ticker cannot know how long
 * a VM lives, so it ticks pools: between luau_enter and luau_leave (around calls, on the pool's OS
 * thread) the VM looks at the word of the pool. Nothing parks there: slices and luau_preempt have
 * no effect. */
LUA_API void luau_enter(luau_Fibers *pool, lua_State *L);
LUA_API void luau_leave(lua_State *L);

enum luau_RunResult { LUAU_DONE = 0, LUAU_PARKED = 1, LUAU_NOSTACK = 2, LUAU_ESCAPED = 3 };
/* Runs host code that uses the VM on a fiber of the pool. LUAU_DONE when it returned; LUAU_PARKED
 * when the VM was preempted anywhere inside: call luau_continue on the same OS thread, later. */
LUA_API int luau_run(luau_Fibers *pool, lua_State *L, void (*work)(lua_State *L, void *arg),
                     void *arg);
LUA_API int luau_continue(lua_State *L);
LUA_API int luau_isparked(lua_State *L);
/* Drops a parked VM's fiber (its C frames are abandoned; only what parked in luau_pollkill, which
 * cleans up itself, is told of a kill first): only to be followed by lua_close. */
LUA_API void luau_abandon(lua_State *L);

/* For a hook of panics: when the calling thread is on a fiber of the pool, leaves it for good and
 * does not return; the luau_run or luau_continue that was in it gives LUAU_ESCAPED. The VM may be
 * in the middle of anything: only luau_discard may follow. */
LUA_API void luau_escape(luau_Fibers *pool);
/* Frees the VM's memory without looking at its objects, parked or not (nothing of what waits runs);
 * modules, image and an unfinished compilation are given back. What leaks: whatever destructors of
 * userdata, which do not run, would have freed, and what natives that were left held elsewhere. */
LUA_API void luau_discard(lua_State *L);

/* ---- Compiling ------------------------------------------------------------------------------- */
typedef struct luau_Diagnostic {
    int line, column;         /* from 1; the place of the message */
    int end_line, end_column; /* past its end */
    char message[512];        /* without chunk name and position */
} luau_Diagnostic;

typedef struct luau_CompileOptions {
    int optimization;         /* 0, 1 (default by luau_compile_defaults), 2 */
    int debug;                /* 0: no lines, 1: lines and names */
    const luau_Image *image;  /* that of the VMs: library names are resolved early. NULL: none */
    size_t memory_max_bytes;  /* for source tree and module; 0: none */
    /* Called now and then; nonzero stops the compilation ("compilation cancelled"). */
    int (*poll)(void *userdata);
    void *poll_userdata;
} luau_CompileOptions;
LUA_API void luau_compile_defaults(luau_CompileOptions *options);

/* Compiles text (never bytecode) to a module with one reference. On failure NULL and the first
 * error in *diagnostic. chunkname: "=name", "@name" or any text. Any thread; takes no VM. */
LUA_API luau_Module *luau_compile(const char *source, size_t length, const char *chunkname,
                                  const luau_CompileOptions *options,
                                  luau_Diagnostic *diagnostic);
/* Reports every syntax error found (at most max), in order; returns how many. */
LUA_API int luau_check(const char *source, size_t length, const luau_CompileOptions *options,
                       luau_Diagnostic *diagnostics, int max);
LUA_API luau_Module *luau_module_retain(luau_Module *module);
LUA_API void luau_module_release(luau_Module *module);
LUA_API size_t luau_module_bytes(const luau_Module *module);
/* Writes the disassembly through `write` (text, length, userdata). */
LUA_API void luau_module_list(const luau_Module *module,
                              void (*write)(const char *text, size_t length, void *userdata),
                              void *userdata);
/* Pushes the module's main function as a closure over L's globals; the VM keeps a reference while
 * it needs one. charge: count the module's bytes in this VM's quota. [m] */
LUA_API void luau_load(lua_State *L, luau_Module *module, int charge);
/* Compiles in the VM (charged, polled) and pushes the function: LUA_OK; else LUA_ERRSYNTAX and the
 * message `CHUNK:LINE: text` is pushed. [m] */
LUA_API int luau_loadstring(lua_State *L, const char *source, size_t length,
                            const char *chunkname);

/* ---- References ------------------------------------------------------------------------------ */
#define LUA_NOREF (-1)
#define LUA_REFNIL 0
LUA_API int lua_ref(lua_State *L, int index); /* [m] does not pop */
LUA_API void lua_unref(lua_State *L, int ref);
#define lua_getref(L, ref) lua_rawgeti(L, LUA_REGISTRYINDEX, (ref))

/* ---- Host types ------------------------------------------------------------------------------ */
LUA_API void lua_setuserdatatag(lua_State *L, int index, int tag);
LUA_API void lua_setuserdatametatable(lua_State *L, int tag); /* pops; of all with that tag */
LUA_API void lua_getuserdatametatable(lua_State *L, int tag);
/* Seconds, high resolution, arbitrary zero. */
LUA_API double lua_clock(void);

/* Hooks of a VM, all optional; called on the thread that runs it. */
typedef struct lua_Callbacks {
    /* print and warn (level 0, 1): one call per line, without newline. NULL: stdout, stderr. */
    void (*print)(lua_State *L, int level, const char *text, size_t length);
    /* At a poll that an interrupt asked for. May raise errors, yields not. */
    void (*interrupt)(lua_State *L);
} lua_Callbacks;
LUA_API lua_Callbacks *lua_callbacks(lua_State *L);

/* ---- Debug information ----------------------------------------------------------------------- */
typedef struct lua_Debug {
    const char *name;    /* n: or NULL */
    const char *what;    /* s: "Lua", "C", "main" */
    const char *source;  /* s: chunk name as given */
    const char *short_src; /* s: as shown in messages */
    int linedefined;     /* s */
    int currentline;     /* l: -1 for natives */
    unsigned char nupvals, nparams;
    char isvararg;       /* a */
    char ssbuf[LUA_IDSIZE];
} lua_Debug;
LUA_API int lua_stackdepth(lua_State *L);
/* level >= 0: running functions, 0 the current one; < 0: the function at that stack index. `what`:
 * letters s l n a f u (f pushes the function). 0 if there is no such level. */
LUA_API int lua_getinfo(lua_State *L, int level, const char *what, lua_Debug *ar);
/* Writes the traceback of L from level on (each frame a line, at most max_frames shown) after msg
 * (may be NULL) and pushes it onto `to`. [m] */
LUA_API void luau_traceback(lua_State *to, lua_State *L, const char *msg, int level,
                            int max_frames);
/* Heap checker: walks the whole heap; NULL if sound, else what is wrong (a buffer of the VM). */
LUA_API const char *luau_checkheap(lua_State *L);

/* Test modes of a VM. Those for test builds (LUAU_DEBUG) do nothing in others. Returns the modes
 * that were on. */
enum luau_TestMode {
    LUAU_TEST_GC_ALWAYS = 1,    /* test builds: full collection at every safepoint that allocates */
    LUAU_TEST_STACK_MOVES = 2,  /* test builds: the stack moves at every check of its size */
    LUAU_TEST_POLL_ALWAYS = 4   /* every poll looks at the clock; from inside luau_run on */
};
LUA_API int luau_testmode(lua_State *L, int modes);
/* The k-th allocation from now fails once (k >= 1); 0: off. Returns how many were made so far. */
LUA_API uint64_t luau_failalloc(lua_State *L, uint64_t k);
/* In all builds: a panic at the VM's next poll, or in its next step of marking. Any thread for the
 * poll. */
LUA_API void luau_testpanic(lua_State *L, int in_collector);

/* ---- Auxiliary library ----------------------------------------------------------------------- */
typedef struct luaL_Reg {
    const char *name;
    lua_CFunction func;
} luaL_Reg;

LUA_API void luaL_openlibs(lua_State *L); /* opens all into the globals, as luau_image_standard */
/* Sets functions in the table on top (libname NULL) or in the global table libname, left on top. */
LUA_API void luaL_register(lua_State *L, const char *libname, const luaL_Reg *list);
LUA_API int luaL_getmetafield(lua_State *L, int index, const char *event);
LUA_API int luaL_callmeta(lua_State *L, int index, const char *event);
LUA_API void luaL_typeerror(lua_State *L, int arg, const char *tname) LUA_NORETURN;
LUA_API void luaL_argerror(lua_State *L, int arg, const char *text) LUA_NORETURN;
LUA_API const char *luaL_checklstring(lua_State *L, int arg, size_t *length);
LUA_API const char *luaL_optlstring(lua_State *L, int arg, const char *def, size_t *length);
LUA_API double luaL_checknumber(lua_State *L, int arg);
LUA_API double luaL_optnumber(lua_State *L, int arg, double def);
LUA_API int luaL_checkboolean(lua_State *L, int arg);
LUA_API int luaL_optboolean(lua_State *L, int arg, int def);
LUA_API int luaL_checkinteger(lua_State *L, int arg); /* truncates; reference 5.4 */
LUA_API int luaL_optinteger(lua_State *L, int arg, int def);
LUA_API unsigned luaL_checkunsigned(lua_State *L, int arg);
LUA_API unsigned luaL_optunsigned(lua_State *L, int arg, unsigned def);
LUA_API int64_t luaL_checkinteger64(lua_State *L, int arg); /* the type integer */
LUA_API int64_t luaL_optinteger64(lua_State *L, int arg, int64_t def);
LUA_API const float *luaL_checkvector(lua_State *L, int arg);
LUA_API const float *luaL_optvector(lua_State *L, int arg, const float *def);
LUA_API void luaL_checkstack(lua_State *L, int size, const char *message);
LUA_API void luaL_checktype(lua_State *L, int arg, int type);
LUA_API void luaL_checkany(lua_State *L, int arg);
LUA_API int luaL_checkoption(lua_State *L, int arg, const char *def, const char *const list[]);
LUA_API int luaL_newmetatable(lua_State *L, const char *name);
LUA_API void *luaL_checkudata(lua_State *L, int arg, const char *name);
LUA_API void *luaL_checkbuffer(lua_State *L, int arg, size_t *length);
LUA_API void luaL_where(lua_State *L, int level); /* pushes "CHUNK:LINE: " or "" */
LUA_API void luaL_error(lua_State *L, const char *format, ...) LUA_PRINTF_ATTR(2, 3) LUA_NORETURN;
/* As tostring(): pushes the text and returns it. [e] */
LUA_API const char *luaL_tolstring(lua_State *L, int index, size_t *length);
/* Type name as typeof gives it. */
LUA_API const char *luaL_typename(lua_State *L, int index);

/* Text built piece by piece. While in use it keeps one value on the stack (its storage, once it
 * outgrew the inline part): push and pop in balance around each call, and pass values to append
 * only on top of it (luaL_addvalue takes the top). */
#define LUA_BUFFERSIZE 512
typedef struct luaL_Strbuf {
    char *p;   /* next byte */
    char *end; /* end of room */
    lua_State *L;
    void *storage; /* boxed storage, NULL while inline */
    char buffer[LUA_BUFFERSIZE];
} luaL_Strbuf;
typedef luaL_Strbuf luaL_Buffer;
LUA_API void luaL_buffinit(lua_State *L, luaL_Strbuf *B);
LUA_API char *luaL_buffinitsize(lua_State *L, luaL_Strbuf *B, size_t size); /* [m] */
LUA_API char *luaL_prepbuffsize(luaL_Strbuf *B, size_t size);               /* [m] */
LUA_API void luaL_addlstring(luaL_Strbuf *B, const char *s, size_t length); /* [m] */
LUA_API void luaL_addvalue(luaL_Strbuf *B);           /* [m] pops a string or number */
LUA_API void luaL_addvalueany(luaL_Strbuf *B, int index); /* [e] as tostring */
LUA_API void luaL_pushresult(luaL_Strbuf *B);         /* [m] */
LUA_API void luaL_pushresultsize(luaL_Strbuf *B, size_t size);

#define lua_pop(L, n) lua_settop(L, -(n)-1)
#define lua_newtable(L) lua_createtable(L, 0, 0)
#define lua_newuserdata(L, s) lua_newuserdatatagged(L, (s), 0)
#define lua_tonumber(L, i) lua_tonumberx(L, (i), NULL)
#define lua_tointeger(L, i) lua_tointegerx(L, (i), NULL)
#define lua_tounsigned(L, i) lua_tounsignedx(L, (i), NULL)
#define lua_tostring(L, i) lua_tolstring(L, (i), NULL)
#define lua_strlen(L, i) lua_objlen(L, (i))
#define lua_isfunction(L, i) (lua_type(L, (i)) == LUA_TFUNCTION)
#define lua_istable(L, i) (lua_type(L, (i)) == LUA_TTABLE)
#define lua_isnil(L, i) (lua_type(L, (i)) == LUA_TNIL)
#define lua_isboolean(L, i) (lua_type(L, (i)) == LUA_TBOOLEAN)
#define lua_isinteger64(L, i) (lua_type(L, (i)) == LUA_TINTEGER)
#define lua_isvector(L, i) (lua_type(L, (i)) == LUA_TVECTOR)
#define lua_isthread(L, i) (lua_type(L, (i)) == LUA_TTHREAD)
#define lua_isbuffer(L, i) (lua_type(L, (i)) == LUA_TBUFFER)
#define lua_islightuserdata(L, i) (lua_type(L, (i)) == LUA_TLIGHTUSERDATA)
#define lua_isnone(L, i) (lua_type(L, (i)) == LUA_TNONE)
#define lua_isnoneornil(L, i) (lua_type(L, (i)) <= LUA_TNIL)
#define lua_pushliteral(L, s) lua_pushlstring(L, "" s, sizeof(s) - 1)
#define lua_pushcfunction(L, fn, name) lua_pushcclosurek(L, fn, name, 0, NULL)
#define lua_pushcclosure(L, fn, name, nup) lua_pushcclosurek(L, fn, name, nup, NULL)
#define lua_setglobal(L, s) lua_setfield(L, LUA_GLOBALSINDEX, (s))
#define lua_getglobal(L, s) lua_getfield(L, LUA_GLOBALSINDEX, (s))
#define luaL_argcheck(L, cond, arg, text) ((void)((cond) || (luaL_argerror(L, arg, text), 0)))
#define luaL_argexpected(L, cond, arg, tname) \
    ((void)((cond) || (luaL_typeerror(L, arg, tname), 0)))
#define luaL_checkstring(L, n) luaL_checklstring(L, (n), NULL)
#define luaL_optstring(L, n, d) luaL_optlstring(L, (n), (d), NULL)
#define luaL_addchar(B, c) \
    ((void)((B)->p < (B)->end || luaL_prepbuffsize((B), 1)), (void)(*(B)->p++ = (char)(c)))
#define luaL_addstring(B, s) luaL_addlstring(B, s, strlen(s))

#ifdef __cplusplus
}
#endif
#endif
