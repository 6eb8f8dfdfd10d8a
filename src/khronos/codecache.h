/* codecache.h: compiled code, one copy for the whole process.
 *
 * Guilds run the same templates, and a template's versions differ in few of their files. So code is
 * known by its content: the same source under the same chunk name (debug information has it) is one
 * Code, whoever adds it. It is compiled at first use, once, by whoever comes first; the outcome, a
 * module or a diagnostic, is kept ("not enough memory" is not: it may go better next time).
 *
 * Code is counted by its users (files of template versions, compilations under way). Unused code
 * stays, the latest used longest, within a bound of bytes: what is saved again, or loaded by
 * another guild, is there. VMs that loaded a module hold it on their own.
 *
 * Content is compared by 128 bits of SipHash under a key that only this process knows: sources come
 * from tenants, and none may find one that passes for another's.
 *
 * Who compiles has a claim on the code, and others wait at their polls. A VM may be parked in the
 * middle of it (it goes on), killed (its claim is released by what polls there), or lost in a
 * panic: then whoever gets rid of the VM calls codecache_release_owner.
 *
 * Any thread, but for what says otherwise. */
#ifndef KHRONOS_CODECACHE_H
#define KHRONOS_CODECACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "luau/luau.h"

#define CODECACHE_UNUSED_MAX_BYTES ((size_t)32 << 20)

typedef struct CodeCache CodeCache;
typedef struct Code Code;

typedef struct CodeCacheStats {
    size_t used, unused;   /* codes */
    size_t unused_bytes;   /* of the unused ones */
    uint64_t compilations; /* begun, ever */
    uint64_t shared;       /* codecache_add that found its code there, ever */
    uint64_t evicted;      /* ever */
} CodeCacheStats;

/* Code is compiled against that image, which must outlive the cache. NULL: no memory. */
CodeCache *codecache_new(const luau_Image *image, size_t unused_max_bytes);
void codecache_free(CodeCache *cache); /* nothing may be in use; NULL is fine */

/* The code of that source, with one more user. Takes source (malloc'd), also when it fails: NULL,
 * no memory. keep_source: codecache_source gives the source for as long as this user stays. */
Code *codecache_add(CodeCache *cache, const char *chunkname, char *source, size_t length,
                    bool keep_source);
/* That user goes; keep_source as it was added. */
void codecache_drop(CodeCache *cache, Code *code, bool keep_source);

const char *code_chunkname(const Code *code); /* lives with its users */
/* For users who keep sources, and for code that failed to compile (to show the line): lives as long
 * as the user. NULL: neither. */
const char *codecache_source(CodeCache *cache, const Code *code, bool keep_source);

/* The module (borrowed, lives as long as the user), compiled now if need be; NULL: *diagnostic says
 * why. L: the VM on whose behalf, which is preempted like any other that runs long, waits while
 * somebody else compiles the code, and if it is killed does not return [e]. NULL: none; then it
 * never waits, and rather compiles what somebody else is compiling. */
luau_Module *codecache_compile(CodeCache *cache, Code *code, lua_State *L,
                               luau_Diagnostic *diagnostic);
/* The VM with that main thread will not run again, and is about to go without the clean-up of
 * luau_abandon: what it was compiling is free for others. Before luau_discard (another VM may get
 * its address after). The pointer is only compared. */
void codecache_release_owner(CodeCache *cache, const lua_State *main_thread);

/* Drops unused code, the least recently used first, until at most that many bytes are left. */
void codecache_trim(CodeCache *cache, size_t unused_max_bytes);
void codecache_stats(CodeCache *cache, CodeCacheStats *stats);

#endif
