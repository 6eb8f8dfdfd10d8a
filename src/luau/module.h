/* module.h: compiled source, shared between VMs and threads.
 *
 * A module is built by one thread (compile*.c through the luM_ builder functions), then sealed:
 * from then on it is immutable but for the lookup hints in its code (opcodes.h) and its reference
 * count. It points to itself, to its image (retained) and to the core strings; never into a VM.
 *
 * Its strings, integers and vectors are shared objects (MARK_SHARED | MARK_MODULE) that may escape
 * into the heaps of VMs: a VM that finds one while marking keeps the module alive (see gc.h). Where
 * the image or the core has a string of the same bytes, the module uses that one.
 *
 * Lifetime: luau_compile gives one reference; each VM that loaded it holds one until a collection
 * finds neither a closure nor a string of it; luau_module_release frees it at the last. */
#ifndef LUAU_MODULE_H
#define LUAU_MODULE_H

#include <setjmp.h>
#include <stdatomic.h>

#include "luau/object.h"

typedef struct ModuleBlock ModuleBlock;

struct luau_Module {
    atomic_int refs;
    bool sealed;
    size_t bytes;              /* all it allocated */
    size_t max_bytes;          /* 0: no cap; only while building */
    const luau_Image *image;   /* retained; NULL: none */
    const String *chunkname;   /* as given */
    const char *shown_name;    /* as messages show it (reference 8.2), below LUA_IDSIZE bytes */
    Proto **protos;            /* in the order they were finished; the last is the main function */
    int proto_count;
    const Proto *main;
    ModuleBlock *blocks;
    struct ModuleStrings *strings; /* intern table; freed by luM_seal */
    jmp_buf *fail;             /* out of memory while building: longjmp(*fail, ARENA_NOMEM) */
};

/* A module under construction, with one reference; NULL when out of memory. A failed build is
 * dropped by luau_module_release, as any module. */
luau_Module *luM_new(const luau_Image *image, const char *chunkname, size_t max_bytes,
                     jmp_buf *fail);
/* Zeroed, 8-byte aligned memory that lives as long as the module. */
void *luM_alloc(luau_Module *module, size_t size);
/* The shared string with these bytes (of core, image, or the module itself); hash computed. */
const String *luM_string(luau_Module *module, const char *data, size_t length);
const Integer *luM_integer(luau_Module *module, int64_t n);
const Vector *luM_vector(luau_Module *module, float x, float y, float z);
/* A ready hash part holding the keys with nil values, placed as inserting them one by one into a
 * table of `node_count` (a power of two >= key_count, or 0) would. */
void luM_shape(luau_Module *module, Shape *shape, const Value *keys, int key_count, int node_count,
               int array_size);
void luM_seal(luau_Module *module);

/* Writes the chunk name as messages show it; room >= LUA_IDSIZE. */
void luM_shownname(char *out, const char *chunkname, size_t length);

/* Line of an instruction, or 0 without debug information. */
BASE_INLINE int luM_line(const Proto *p, int pc)
{
    return p->line_delta ? p->line_base[pc >> p->line_shift] + p->line_delta[pc] : 0;
}

#endif
