/* codegen.c: the emitter: instructions with their lines, constants, registers, jumps, and what a
 * finished function becomes.
 *
 * Everything grows in the arena while a function is compiled; luC_finish copies what stays into the
 * module. Jumps are kept as records until then, so their offsets are encoded once, when all
 * distances are known (resolve_jumps). */
#include "luau/codegen.h"

#include <stdarg.h>
#include <stdio.h>

enum { POLL_PERIOD = 256, MESSAGE_MAX = 400, FAR_SHIFT = 2 /* words put before a far jump */ };

void luC_error(Compiler *c, Location location, const char *format, ...)
{
    char *message = luA_alloc(c->arena, MESSAGE_MAX);
    va_list args;
    va_start(args, format);
    vsnprintf(message, MESSAGE_MAX, format, args);
    va_end(args);
    c->error->location = location;
    c->error->message = message;
    longjmp(c->limit, 1);
}

void luC_poll(Compiler *c)
{
    if (--c->poll_countdown > 0)
        return;
    c->poll_countdown = POLL_PERIOD;
    if (c->options->poll && c->options->poll(c->options->poll_userdata))
        longjmp(*c->arena->fail, ARENA_STOP);
}

/* ---- Growing things -------------------------------------------------------------------------- */

void *luC_room(Compiler *c, void *array, int count, int *capacity, size_t size)
{
    if (count < *capacity)
        return array;
    int grown = *capacity ? *capacity * 2 : 8;
    array = luA_grow(c->arena, array, (size_t)count * size, (size_t)grown * size);
    *capacity = grown;
    return array;
}

static uint32_t hash_pair(const void *a, const void *b)
{
    uint64_t h = (uint64_t)(uintptr_t)a * 0x9E3779B97F4A7C15ull;
    h ^= (uint64_t)(uintptr_t)b * 0xC2B2AE3D27D4EB4Full;
    return (uint32_t)(h >> 32) ^ (uint32_t)(h >> 17);
}

/* The slot of the pair, or the free one where it belongs. */
static uint32_t find_pair(const PairSet *set, const void *a, const void *b)
{
    uint32_t at = hash_pair(a, b) & (set->size - 1);
    while (set->slots[at][0] && !(set->slots[at][0] == a && set->slots[at][1] == b))
        at = (at + 1) & (set->size - 1);
    return at;
}

bool luC_sethas(const PairSet *set, const void *a, const void *b)
{
    return set->size && set->slots[find_pair(set, a, b)][0];
}

bool luC_setadd(Compiler *c, PairSet *set, const void *a, const void *b)
{
    if (set->count * 4 >= set->size * 3) {
        PairSet old = *set;
        set->size = old.size ? old.size * 2 : 32;
        set->slots = luA_zalloc(c->arena, set->size * sizeof(*set->slots));
        for (uint32_t i = 0; i < old.size; i++) {
            if (!old.slots[i][0])
                continue;
            uint32_t at = find_pair(set, old.slots[i][0], old.slots[i][1]);
            set->slots[at][0] = old.slots[i][0];
            set->slots[at][1] = old.slots[i][1];
        }
    }
    uint32_t at = find_pair(set, a, b);
    if (set->slots[at][0])
        return false;
    set->slots[at][0] = a;
    set->slots[at][1] = b;
    set->count++;
    return true;
}

/* ---- Instructions and jumps ------------------------------------------------------------------ */

int luC_emit(Func *f, Instr instr)
{
    if (f->code_count == f->code_capacity) {
        int grown = f->code_capacity ? f->code_capacity * 2 : 32;
        size_t used = (size_t)f->code_count * sizeof(Instr);
        size_t room = (size_t)grown * sizeof(Instr);
        if (f->code_count >= 1 << 28)
            luC_error(f->c, f->ast->location,
                      "Exceeded function instruction limit; "
                      "split the function into parts to compile");
        f->code = luA_grow(f->c->arena, f->code, used, room);
        f->lines = luA_grow(f->c->arena, f->lines, used, room);
        f->code_capacity = grown;
    }
    f->code[f->code_count] = instr;
    f->lines[f->code_count] = f->line;
    return f->code_count++;
}

void luC_jump(Func *f, OpCode op, int a, JumpList *list)
{
    f->jumps = luC_room(f->c, f->jumps, f->jump_count, &f->jump_capacity, sizeof(Jump));
    f->jumps[f->jump_count] = (Jump){luC_ad(f, op, a, 0), -1, *list};
    *list = ++f->jump_count;
}

void luC_jumpaux(Func *f, OpCode op, int a, uint32_t aux, JumpList *list)
{
    luC_jump(f, op, a, list);
    luC_emit(f, aux);
}

void luC_patch(Func *f, JumpList list, int target)
{
    for (; list; list = f->jumps[list - 1].next)
        f->jumps[list - 1].target = target;
}

/* Far jumps: an instruction whose offset does not fit its 16 bits jumps back to a long jump put
 * before it, which normal flow steps over:
 *
 *     JUMP +1; JUMPX target; JUMPIF R -2
 *
 * Every such insertion makes other distances longer, so `far` grows until nothing changes. */
typedef struct FarJumps {
    int *pcs; /* of the jumps that are far, ascending */
    int count;
} FarJumps;

static int moved(const FarJumps *far, int pc)
{
    int low = 0, high = far->count; /* far jumps before pc */
    while (low < high) {
        int mid = (low + high) / 2;
        if (far->pcs[mid] < pc)
            low = mid + 1;
        else
            high = mid;
    }
    return pc + FAR_SHIFT * low;
}

static bool fits(int distance)
{
    return distance >= INT16_MIN && distance <= INT16_MAX;
}

static bool collect_far(Func *f, FarJumps *far, bool *is_far)
{
    bool grew = false;
    for (int i = 0; i < f->jump_count; i++) {
        if (is_far[i] || fits(moved(far, f->jumps[i].target) - moved(far, f->jumps[i].pc) - 1))
            continue;
        is_far[i] = grew = true;
    }
    far->count = 0;
    for (int i = 0; i < f->jump_count; i++)
        if (is_far[i])
            far->pcs[far->count++] = f->jumps[i].pc;
    return grew;
}

static Location line_location(int line)
{
    return (Location){{line, 1}, {line, 1}};
}

static void expand_jumps(Func *f, FarJumps *far, const bool *is_far)
{
    int old_count = f->code_count, next = 0;
    const Instr *old_code = f->code;
    const int32_t *old_lines = f->lines;
    f->code_count = f->code_capacity = 0;
    f->code = NULL;
    f->lines = NULL;
    for (int pc = 0; pc < old_count; pc++) {
        luC_line(f, old_lines[pc]);
        if (next == f->jump_count || f->jumps[next].pc != pc) {
            luC_emit(f, old_code[pc]);
            continue;
        }
        Jump *jump = &f->jumps[next];
        int target = moved(far, jump->target);
        if (is_far[next]) {
            int distance = target - (luC_here(f) + 2);
            if (distance >= LUAU_JUMP_MAX || distance < -LUAU_JUMP_MAX)
                luC_error(f->c, line_location(old_lines[pc]),
                          "Exceeded jump distance limit; simplify the code to compile");
            luC_ad(f, OP_JUMP, 0, 1);
            luC_emit(f, INSTR_MAKE_E(OP_JUMPX, distance));
            luC_emit(f, old_code[pc] | (Instr)(uint16_t)-2 << 16);
        } else {
            luC_emit(f, old_code[pc] | (Instr)(uint16_t)(target - luC_here(f) - 1) << 16);
        }
        next++;
    }
}

static void resolve_jumps(Func *f)
{
    bool near = true;
    for (int i = 0; i < f->jump_count; i++) {
        int distance = f->jumps[i].target - f->jumps[i].pc - 1;
        BASE_DEBUG(f->jumps[i].target >= 0);
        if (fits(distance))
            continue;
        near = false;
        if (distance >= LUAU_JUMP_MAX || distance < -LUAU_JUMP_MAX)
            luC_error(f->c, line_location(f->lines[f->jumps[i].pc]),
                      "Exceeded jump distance limit; simplify the code to compile");
    }
    if (near) {
        for (int i = 0; i < f->jump_count; i++) {
            const Jump *jump = &f->jumps[i];
            f->code[jump->pc] |= (Instr)(uint16_t)(jump->target - jump->pc - 1) << 16;
        }
        return;
    }
    FarJumps far = {luA_alloc(f->c->arena, (size_t)f->jump_count * sizeof(int)), 0};
    bool *is_far = luA_zalloc(f->c->arena, (size_t)f->jump_count * sizeof(bool));
    while (collect_far(f, &far, is_far))
        ;
    expand_jumps(f, &far, is_far);
}

/* ---- Registers, locals, upvalues ------------------------------------------------------------- */

int luC_alloc(Func *f, Location location, int count)
{
    int reg = f->top;
    if (count > LUAU_REGISTERS_MAX - reg)
        luC_error(f->c, location,
                  "Out of registers when trying to allocate %d registers: exceeded limit %d", count,
                  LUAU_REGISTERS_MAX);
    f->top += count;
    if (f->top > f->top_max)
        f->top_max = f->top;
    return reg;
}

void luC_pushlocal(Func *f, AstLocal *local, int reg)
{
    if (f->local_count >= LUAU_LOCALS_MAX)
        luC_error(f->c, local->location,
                  "Out of local registers when trying to allocate %s: exceeded limit %d",
                  local->name->text, LUAU_LOCALS_MAX);
    f->locals = luC_room(f->c, f->locals, f->local_count, &f->local_capacity, sizeof(AstLocal *));
    f->locals[f->local_count++] = local;
    local->reg = reg;
}

void luC_closelocals(Func *f, int from)
{
    int lowest = LUAU_REGISTERS_MAX;
    for (int i = from; i < f->local_count; i++) {
        const AstLocal *local = f->locals[i];
        if (local->captured && local->assigned && local->reg < lowest)
            lowest = local->reg;
    }
    if (lowest < LUAU_REGISTERS_MAX)
        luC_abc(f, OP_CLOSEUPVALS, lowest, 0, 0);
}

void luC_poplocals(Func *f, int from)
{
    f->local_count = from;
}

int luC_upvalue(Func *f, AstLocal *local)
{
    for (int i = 0; i < f->upval_count; i++)
        if (f->upvals[i] == local)
            return i;
    if (f->upval_count >= LUAU_UPVALUES_MAX)
        luC_error(f->c, local->location,
                  "Out of upvalue registers when trying to allocate %s: exceeded limit %d",
                  local->name->text, LUAU_UPVALUES_MAX);
    f->upvals = luC_room(f->c, f->upvals, f->upval_count, &f->upval_capacity, sizeof(AstLocal *));
    f->upvals[f->upval_count] = local;
    return f->upval_count++;
}

/* ---- Constants, children, shapes ------------------------------------------------------------- */

static uint32_t constant_slot(const Func *f, Value v)
{
    uint64_t h = v.u * 0x9E3779B97F4A7C15ull;
    uint32_t at = (uint32_t)(h >> 40) & (uint32_t)(f->k_index_size - 1);
    while (f->k_index[at] && f->k[f->k_index[at] - 1].u != v.u)
        at = (at + 1) & (uint32_t)(f->k_index_size - 1);
    return at;
}

int luC_constant(Func *f, Value v)
{
    if (f->k_count * 4 >= f->k_index_size * 3) {
        f->k_index_size = f->k_index_size ? f->k_index_size * 2 : 16;
        f->k_index = luA_zalloc(f->c->arena, (size_t)f->k_index_size * sizeof(int32_t));
        for (int i = 0; i < f->k_count; i++)
            f->k_index[constant_slot(f, f->k[i])] = i + 1;
    }
    uint32_t at = constant_slot(f, v);
    if (f->k_index[at])
        return f->k_index[at] - 1;
    if (f->k_count >= LUAU_CONSTANTS_MAX)
        luC_error(f->c, line_location(f->line),
                  "Exceeded constant limit; simplify the code to compile");
    f->k = luC_room(f->c, f->k, f->k_count, &f->k_capacity, sizeof(Value));
    f->k[f->k_count++] = v;
    f->k_index[at] = f->k_count;
    return f->k_count - 1;
}

int luC_stringk(Func *f, const char *data, size_t length)
{
    return luC_constant(f, val_fromstring(luM_string(f->c->module, data, length)));
}

int luC_namek(Func *f, const AstName *name)
{
    return luC_stringk(f, name->text, name->length);
}

int luC_child(Func *f, Proto *proto, Location location)
{
    if (f->child_count >= LUAU_CHILDREN_MAX)
        luC_error(f->c, location, "Exceeded closure limit; simplify the code to compile");
    f->children = luC_room(f->c, f->children, f->child_count, &f->child_capacity, sizeof(Proto *));
    f->children[f->child_count] = proto;
    return f->child_count++;
}

/* Data files repeat one shape in row after row: looking a few entries back finds it. */
int luC_shape(Func *f, const Value *keys, int key_count, int node_count)
{
    enum { LOOK_BACK = 16, SHAPES_MAX = 1 << 15 };
    uint32_t hash = (uint32_t)node_count;
    for (int i = 0; i < key_count; i++)
        hash = hash * 31 + val_string(keys[i])->hash;
    for (int i = f->shape_count - 1; i >= 0 && i >= f->shape_count - LOOK_BACK; i--) {
        const ShapeEntry *e = &f->shapes[i];
        if (e->hash == hash && e->key_count == key_count && e->node_count == node_count &&
            memcmp(e->keys, keys, (size_t)key_count * sizeof(Value)) == 0)
            return i;
    }
    if (f->shape_count >= SHAPES_MAX)
        return -1;
    f->shapes = luC_room(f->c, f->shapes, f->shape_count, &f->shape_capacity, sizeof(ShapeEntry));
    Value *kept = luA_alloc(f->c->arena, (size_t)key_count * sizeof(Value));
    memcpy(kept, keys, (size_t)key_count * sizeof(Value));
    f->shapes[f->shape_count] = (ShapeEntry){kept, key_count, node_count, hash};
    return f->shape_count++;
}

/* ---- The finished function ------------------------------------------------------------------- */

/* Smallest line of each span of 1 << shift instructions; false if a span's lines differ by more
 * than a byte holds. */
static bool line_bases(const Func *f, int shift, int32_t *bases)
{
    for (int i = 0, span = 0; i < f->code_count; span++) {
        int32_t low = f->lines[i], high = low;
        for (int end = i + (1 << shift); i < end && i < f->code_count; i++) {
            low = f->lines[i] < low ? f->lines[i] : low;
            high = f->lines[i] > high ? f->lines[i] : high;
        }
        if (high - low > UINT8_MAX)
            return false;
        bases[span] = low;
    }
    return true;
}

static void finish_lines(Func *f, Proto *p)
{
    int shift = 0;
    while (1 << shift < f->code_count)
        shift++;
    int32_t *bases = luA_alloc(f->c->arena, (size_t)f->code_count * sizeof(int32_t));
    while (!line_bases(f, shift, bases)) /* a span of one always fits */
        shift--;
    size_t base_count = ((size_t)f->code_count + ((size_t)1 << shift) - 1) >> shift;
    int32_t *line_base = luM_alloc(f->c->module, base_count * sizeof(int32_t));
    memcpy(line_base, bases, base_count * sizeof(int32_t));
    uint8_t *line_delta = luM_alloc(f->c->module, (size_t)f->code_count);
    for (int i = 0; i < f->code_count; i++)
        line_delta[i] = (uint8_t)(f->lines[i] - bases[i >> shift]);
    p->line_base = line_base;
    p->line_delta = line_delta;
    p->line_shift = (uint8_t)shift;
}

static void *copied(luau_Module *module, const void *data, int count, size_t size)
{
    if (count == 0)
        return NULL;
    void *p = luM_alloc(module, (size_t)count * size);
    memcpy(p, data, (size_t)count * size);
    return p;
}

static void finish_shapes(Func *f, Proto *p)
{
    if (f->shape_count == 0)
        return;
    Shape *shapes = luM_alloc(f->c->module, (size_t)f->shape_count * sizeof(Shape));
    for (int i = 0; i < f->shape_count; i++) {
        const ShapeEntry *e = &f->shapes[i];
        luM_shape(f->c->module, &shapes[i], e->keys, e->key_count, e->node_count, 0);
    }
    p->shapes = shapes;
    p->shape_count = f->shape_count;
}

Proto *luC_finish(Func *f)
{
    Compiler *c = f->c;
    luau_Module *module = c->module;
    resolve_jumps(f);
    Proto *p = luM_alloc(module, sizeof(Proto));
    p->module = module;
    p->code = copied(module, f->code, f->code_count, sizeof(Instr));
    p->code_count = f->code_count;
    p->k = copied(module, f->k, f->k_count, sizeof(Value));
    p->k_count = f->k_count;
    p->children = copied(module, f->children, f->child_count, sizeof(Proto *));
    p->child_count = f->child_count;
    finish_shapes(f, p);
    p->nup = (uint8_t)f->upval_count;
    p->numparams = (uint8_t)f->ast->param_count;
    p->is_vararg = f->ast->is_vararg;
    p->max_stack = (uint8_t)f->top_max;
    p->ncache = (uint8_t)f->cache_count;
    p->line_defined = f->ast->location.begin.line;
    if (c->options->debug > 0) {
        finish_lines(f, p);
        const AstName *name = f->ast->debug_name;
        p->name = name ? luM_string(module, name->text, name->length) : NULL;
    }
    p->id = c->proto_count;
    c->protos = luC_room(c, c->protos, c->proto_count, &c->proto_capacity, sizeof(Proto *));
    c->protos[c->proto_count++] = p;
#ifdef LUAU_DEBUG
    const char *fault = luC_verify(p);
    if (fault)
        BASE_PANIC("bad code for the function at line %d: %s", p->line_defined, fault);
#endif
    return p;
}
