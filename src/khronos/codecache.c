#include "khronos/codecache.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/random.h"

/* Tree and code of the worst file of 1 MiB. */
#define COMPILE_BYTES_MAX ((size_t)256 << 20)
enum { FIRST_BUCKETS = 64 };

typedef struct Digest {
    uint64_t low, high;
} Digest;

struct Code {
    Digest digest; /* of the source */
    size_t length;
    uint64_t place; /* of source and name, for the bucket */
    /* Set once, under the lock; read without. The cache holds a reference. */
    _Atomic(luau_Module *) module;
    /* -- under the lock -- */
    Code *next_in_bucket;
    Code *newer, *older; /* in the list of unused ones */
    Code *next_claimed;  /* in the list of those with an owner */
    const void *owner;   /* who compiles it: a VM's main thread, or an address of a thread's own */
    int users;           /* compilations included */
    int source_holds;    /* users that keep the source, and compilations */
    char *source;        /* NULL: not needed any more */
    luau_Diagnostic *diagnostic; /* the compilation failed, and will again */
    char chunkname[];
};

struct CodeCache {
    const luau_Image *image;
    size_t unused_max_bytes;
    uint64_t key[2];
    pthread_mutex_t lock;
    /* -- under the lock -- */
    Code **buckets;
    size_t bucket_count;   /* a power of two */
    Code *newest, *oldest; /* unused */
    Code *claimed;
    CodeCacheStats stats;
};

/* ---- SipHash-2-4, 128 bits --------------------------------------------------------------------
 */

static uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static void sip_rounds(uint64_t v[4], int rounds)
{
    while (rounds-- > 0) {
        v[0] += v[1], v[2] += v[3];
        v[1] = rotate(v[1], 13) ^ v[0], v[3] = rotate(v[3], 16) ^ v[2];
        v[0] = rotate(v[0], 32);
        v[2] += v[1], v[0] += v[3];
        v[1] = rotate(v[1], 17) ^ v[2], v[3] = rotate(v[3], 21) ^ v[0];
        v[2] = rotate(v[2], 32);
    }
}

static void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_rounds(v, 2);
    v[0] ^= word;
}

static Digest digest_of(const uint64_t key[2], const char *data, size_t length)
{
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du ^ 0xee,
                     key[0] ^ 0x6c7967656e657261u, key[1] ^ 0x7465646279746573u};
    uint64_t word, last = (uint64_t)length << 56;
    size_t i = 0;
    for (; i + 8 <= length; i += 8) {
        memcpy(&word, data + i, 8);
        sip_word(v, word);
    }
    for (int shift = 0; i < length; i++, shift += 8)
        last |= (uint64_t)(unsigned char)data[i] << shift;
    sip_word(v, last);
    Digest digest;
    v[2] ^= 0xee;
    sip_rounds(v, 4);
    digest.low = v[0] ^ v[1] ^ v[2] ^ v[3];
    v[1] ^= 0xdd;
    sip_rounds(v, 4);
    digest.high = v[0] ^ v[1] ^ v[2] ^ v[3];
    return digest;
}

/* ---- The table --------------------------------------------------------------------------------
 */

static Code **find_locked(CodeCache *cache, uint64_t place, Digest digest, size_t length,
                          const char *chunkname)
{
    Code **link = &cache->buckets[place & (cache->bucket_count - 1)];
    for (; *link; link = &(*link)->next_in_bucket) {
        const Code *code = *link;
        if (code->digest.low == digest.low && code->digest.high == digest.high &&
            code->length == length && strcmp(code->chunkname, chunkname) == 0)
            break;
    }
    return link;
}

/* Without memory the chains just get longer. */
static void grow_locked(CodeCache *cache)
{
    if (cache->stats.used + cache->stats.unused < cache->bucket_count)
        return;
    size_t count = cache->bucket_count * 2;
    Code **buckets = calloc(count, sizeof(Code *));
    if (!buckets)
        return;
    for (size_t i = 0; i < cache->bucket_count; i++) {
        for (Code *code = cache->buckets[i], *next; code; code = next) {
            Code **bucket = &buckets[code->place & (count - 1)];
            next = code->next_in_bucket;
            code->next_in_bucket = *bucket;
            *bucket = code;
        }
    }
    free(cache->buckets);
    cache->buckets = buckets;
    cache->bucket_count = count;
}

/* ---- Unused code ------------------------------------------------------------------------------
 */

static luau_Module *module_locked(const Code *code)
{
    return atomic_load_explicit(&code->module, memory_order_relaxed);
}

static size_t unused_bytes(const Code *code)
{
    luau_Module *module = module_locked(code);
    return sizeof(*code) + strlen(code->chunkname) + 1 +
           (code->diagnostic ? sizeof(*code->diagnostic) : 0) +
           (module ? luau_module_bytes(module) : 0);
}

static void unlink_unused_locked(CodeCache *cache, Code *code)
{
    *(code->newer ? &code->newer->older : &cache->newest) = code->older;
    *(code->older ? &code->older->newer : &cache->oldest) = code->newer;
    code->newer = code->older = NULL;
    cache->stats.unused--;
    cache->stats.unused_bytes -= unused_bytes(code);
}

static void link_unused_locked(CodeCache *cache, Code *code)
{
    code->older = cache->newest;
    *(cache->newest ? &cache->newest->newer : &cache->oldest) = code;
    cache->newest = code;
    cache->stats.unused++;
    cache->stats.unused_bytes += unused_bytes(code);
}

/* Takes it out of the table, onto the list of what is to be freed without the lock. */
static void remove_locked(CodeCache *cache, Code *code, Code **garbage)
{
    Code **link = &cache->buckets[code->place & (cache->bucket_count - 1)];
    while (*link != code)
        link = &(*link)->next_in_bucket;
    *link = code->next_in_bucket;
    code->older = *garbage;
    *garbage = code;
}

static void trim_locked(CodeCache *cache, size_t max_bytes, Code **garbage)
{
    while (cache->stats.unused_bytes > max_bytes) {
        Code *code = cache->oldest;
        unlink_unused_locked(cache, code);
        remove_locked(cache, code, garbage);
        cache->stats.evicted++;
    }
}

static void drop_source_locked(Code *code)
{
    free(code->source);
    code->source = NULL;
}

static void free_code(Code *code)
{
    luau_module_release(module_locked(code));
    free(code->diagnostic);
    free(code->source);
    free(code);
}

static void free_garbage(Code *garbage)
{
    for (Code *next; garbage; garbage = next) {
        next = garbage->older;
        free_code(garbage);
    }
}

/* ---- Users ------------------------------------------------------------------------------------
 */

static void use_locked(CodeCache *cache, Code *code, bool holds_source)
{
    if (code->users++ == 0) {
        unlink_unused_locked(cache, code);
        cache->stats.used++;
    }
    code->source_holds += holds_source;
}

static void unuse_locked(CodeCache *cache, Code *code, bool holds_source, Code **garbage)
{
    code->source_holds -= holds_source;
    if (code->source_holds == 0 && module_locked(code))
        drop_source_locked(code);
    if (--code->users > 0)
        return;
    cache->stats.used--;
    if (!module_locked(code) && !code->diagnostic) {
        remove_locked(cache, code, garbage);
        return;
    }
    drop_source_locked(code);
    link_unused_locked(cache, code);
    trim_locked(cache, cache->unused_max_bytes, garbage);
}

static Code *new_code_locked(CodeCache *cache, const Code *like, const char *chunkname)
{
    size_t size = strlen(chunkname) + 1;
    Code *code = malloc(sizeof(*code) + size);
    if (!code)
        return NULL;
    *code = *like;
    memcpy(code->chunkname, chunkname, size);
    grow_locked(cache);
    Code **bucket = &cache->buckets[code->place & (cache->bucket_count - 1)];
    code->next_in_bucket = *bucket;
    *bucket = code;
    cache->stats.used++;
    return code;
}

Code *codecache_add(CodeCache *cache, const char *chunkname, char *source, size_t length,
                    bool keep_source)
{
    Code like = {.digest = digest_of(cache->key, source, length),
                 .length = length,
                 .users = 1,
                 .source_holds = keep_source};
    like.place = like.digest.low ^ digest_of(cache->key, chunkname, strlen(chunkname)).high;
    pthread_mutex_lock(&cache->lock);
    Code *code = *find_locked(cache, like.place, like.digest, length, chunkname);
    if (code) {
        use_locked(cache, code, keep_source);
        cache->stats.shared++;
    } else {
        code = new_code_locked(cache, &like, chunkname);
    }
    if (code && !code->source && (keep_source || !module_locked(code))) {
        code->source = source;
        source = NULL;
    }
    pthread_mutex_unlock(&cache->lock);
    free(source);
    return code;
}

void codecache_drop(CodeCache *cache, Code *code, bool keep_source)
{
    Code *garbage = NULL;
    pthread_mutex_lock(&cache->lock);
    unuse_locked(cache, code, keep_source, &garbage);
    pthread_mutex_unlock(&cache->lock);
    free_garbage(garbage);
}

const char *code_chunkname(const Code *code)
{
    return code->chunkname;
}

const char *codecache_source(CodeCache *cache, const Code *code, bool keep_source)
{
    pthread_mutex_lock(&cache->lock);
    const char *source = keep_source || code->diagnostic ? code->source : NULL;
    pthread_mutex_unlock(&cache->lock);
    return source;
}

/* ---- Compiling --------------------------------------------------------------------------------
 */

/* The claim is a user: the code and its source stay whatever happens to the others. */
static void claim_locked(CodeCache *cache, Code *code, const void *owner)
{
    use_locked(cache, code, true);
    code->owner = owner;
    code->next_claimed = cache->claimed;
    cache->claimed = code;
}

static void unclaim_locked(CodeCache *cache, Code *code, Code **garbage)
{
    Code **link = &cache->claimed;
    while (*link != code)
        link = &(*link)->next_claimed;
    *link = code->next_claimed;
    code->owner = NULL;
    unuse_locked(cache, code, true, garbage);
}

/* True: there is an answer, a module or NULL. False: it is to be compiled. */
static bool look_locked(const Code *code, luau_Module **module, luau_Diagnostic *diagnostic)
{
    *module = module_locked(code);
    if (!*module && code->diagnostic)
        *diagnostic = *code->diagnostic;
    return *module || code->diagnostic;
}

static int poll_vm(void *L)
{
    return luau_pollkill(L);
}

/* Without the lock: the source stays while somebody holds it. */
static luau_Module *compile(CodeCache *cache, const Code *code, lua_State *L,
                            luau_Diagnostic *diagnostic)
{
    luau_CompileOptions options;
    luau_compile_defaults(&options);
    options.image = cache->image;
    options.memory_max_bytes = COMPILE_BYTES_MAX;
    options.poll = L ? poll_vm : NULL;
    options.poll_userdata = L;
    return luau_compile(code->source, code->length, code->chunkname, &options, diagnostic);
}

/* Keeps the outcome, unless another compilation was faster: then that one's counts. Returns the
 * module that is valid, and sets *spare to one that is not wanted. */
static luau_Module *keep_locked(Code *code, luau_Module *module, const luau_Diagnostic *diagnostic,
                                luau_Module **spare)
{
    luau_Module *before = module_locked(code);
    if (before) {
        *spare = module;
        return before;
    }
    if (module) {
        /* Release: who loads the pointer without the lock sees the finished module. */
        atomic_store_explicit(&code->module, module, memory_order_release);
        return module;
    }
    if (code->diagnostic || strcmp(diagnostic->message, "not enough memory") == 0)
        return NULL;
    code->diagnostic = malloc(sizeof(*diagnostic));
    if (code->diagnostic)
        *code->diagnostic = *diagnostic;
    return NULL;
}

/* The compilation ends; keep: with that outcome. owner: of the claim; NULL: it had none. A claim
 * that was taken away (codecache_release_owner) is nobody's to give back. */
static luau_Module *finish(CodeCache *cache, Code *code, const void *owner, bool keep,
                           luau_Module *module, const luau_Diagnostic *diagnostic)
{
    Code *garbage = NULL;
    luau_Module *spare = NULL;
    pthread_mutex_lock(&cache->lock);
    if (keep)
        module = keep_locked(code, module, diagnostic, &spare);
    if (!owner)
        unuse_locked(cache, code, true, &garbage);
    else if (code->owner == owner)
        unclaim_locked(cache, code, &garbage);
    pthread_mutex_unlock(&cache->lock);
    luau_module_release(spare);
    free_garbage(garbage);
    return module;
}

static luau_Module *compile_for_host(CodeCache *cache, Code *code, luau_Diagnostic *diagnostic)
{
    luau_Module *module;
    pthread_mutex_lock(&cache->lock);
    if (look_locked(code, &module, diagnostic)) {
        pthread_mutex_unlock(&cache->lock);
        return module;
    }
    /* The claim of a parked VM may be one of this very thread's: no waiting for it. */
    const void *owner = code->owner ? NULL : diagnostic; /* an address of this thread's own */
    if (owner)
        claim_locked(cache, code, owner);
    else
        use_locked(cache, code, true);
    cache->stats.compilations++;
    pthread_mutex_unlock(&cache->lock);
    module = compile(cache, code, NULL, diagnostic);
    return finish(cache, code, owner, true, module, diagnostic);
}

/* Is it this VM's turn to compile? */
static bool take_turn(CodeCache *cache, Code *code, lua_State *L, bool *done, luau_Module **module,
                      luau_Diagnostic *diagnostic)
{
    pthread_mutex_lock(&cache->lock);
    *done = look_locked(code, module, diagnostic);
    bool mine = !*done && !code->owner;
    if (mine) {
        claim_locked(cache, code, lua_mainthread(L));
        cache->stats.compilations++;
    }
    pthread_mutex_unlock(&cache->lock);
    return mine;
}

static luau_Module *compile_for_vm(CodeCache *cache, Code *code, lua_State *L,
                                   luau_Diagnostic *diagnostic)
{
    luau_Module *module;
    for (bool done = false;;) {
        bool mine = take_turn(cache, code, L, &done, &module, diagnostic);
        if (done)
            return module;
        if (mine) {
            module = compile(cache, code, L, diagnostic);
            bool stopped = !module && luau_pollkill(L);
            module = finish(cache, code, lua_mainthread(L), !stopped, module, diagnostic);
            if (!stopped)
                return module;
        }
        /* Another one compiles: look again at the next turn. Or this VM is to be killed. */
        luau_preempt(L);
        luau_poll(L);
    }
}

luau_Module *codecache_compile(CodeCache *cache, Code *code, lua_State *L,
                               luau_Diagnostic *diagnostic)
{
    /* Acquire: pairs with the release in keep_locked. */
    luau_Module *module = atomic_load_explicit(&code->module, memory_order_acquire);
    if (module)
        return module;
    return L ? compile_for_vm(cache, code, L, diagnostic)
             : compile_for_host(cache, code, diagnostic);
}

void codecache_release_owner(CodeCache *cache, const lua_State *main_thread)
{
    Code *garbage = NULL;
    pthread_mutex_lock(&cache->lock);
    for (Code *code = cache->claimed, *next; code; code = next) {
        next = code->next_claimed;
        if (code->owner == main_thread)
            unclaim_locked(cache, code, &garbage);
    }
    pthread_mutex_unlock(&cache->lock);
    free_garbage(garbage);
}

/* ---- The cache --------------------------------------------------------------------------------
 */

CodeCache *codecache_new(const luau_Image *image, size_t unused_max_bytes)
{
    CodeCache *cache = calloc(1, sizeof(*cache));
    if (!cache)
        return NULL;
    cache->bucket_count = FIRST_BUCKETS;
    cache->buckets = calloc(FIRST_BUCKETS, sizeof(Code *));
    if (!cache->buckets) {
        free(cache);
        return NULL;
    }
    cache->image = image;
    cache->unused_max_bytes = unused_max_bytes;
    random_bytes(cache->key, sizeof(cache->key));
    pthread_mutex_init(&cache->lock, NULL);
    return cache;
}

void codecache_free(CodeCache *cache)
{
    if (!cache)
        return;
    codecache_trim(cache, 0);
    BASE_ASSERT(cache->stats.used == 0);
    pthread_mutex_destroy(&cache->lock);
    free(cache->buckets);
    free(cache);
}

void codecache_trim(CodeCache *cache, size_t unused_max_bytes)
{
    Code *garbage = NULL;
    pthread_mutex_lock(&cache->lock);
    trim_locked(cache, unused_max_bytes, &garbage);
    pthread_mutex_unlock(&cache->lock);
    free_garbage(garbage);
}

void codecache_stats(CodeCache *cache, CodeCacheStats *stats)
{
    pthread_mutex_lock(&cache->lock);
    *stats = cache->stats;
    pthread_mutex_unlock(&cache->lock);
}
