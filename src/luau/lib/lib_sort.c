/* lib_sort.c: table.sort.
 *
 * Introsort with the median of three: the order of equal elements and the number of comparisons are
 * those of upstream, because programs come to depend on them. A range is put in order at its ends
 * and middle (which finishes ranges of two and three); the middle goes next to the end as the
 * pivot; the rest is partitioned around it; then the smaller side is sorted before the larger one.
 * A range that was cut more often than 1.5 log2 n times is heap sorted.
 *
 * Indices are from 0, in the array part. A comparison may run anything: grow or clear the table
 * (the size of its array part tells), freeze it, sort it again. So the array is looked at anew
 * after each, and elements move only by swaps, which keeps the array a permutation of itself.
 *
 * The code is written once and expanded for four kinds of comparison; tables of only numbers or
 * only strings need no call. */
#include "luau/lib/lib.h"
#include "luau/vm.h"

typedef struct Sorter {
    lua_State *L;
    Table *t;
    int32_t array_size; /* as it was; another one: somebody resized the table */
    int32_t budget;     /* comparisons until the next poll */
} Sorter;

enum { BY_NUMBER, BY_STRING, BY_ORDER /* luV_less */, BY_CALL };

/* Ranges that wait are each at least as large as all that is sorted before them. */
enum { PENDING_MAX = 32 };
typedef struct Range {
    int low, high, limit;
} Range;

static void check_resized(const Sorter *s)
{
    if (BASE_UNLIKELY(s->t->array_size != s->array_size))
        luaL_error(s->L, "table modified during sorting");
}

static BASE_NOINLINE void sort_poll(Sorter *s)
{
    s->budget = LIB_POLL_STEPS;
    luY_poll(s->L);
    check_resized(s);
}

static bool less_by_call(Sorter *s, int i, int j)
{
    lua_State *L = s->L;
    Value *function = L->top;
    function[0] = lib_arg(L, 2);
    function[1] = s->t->array[i];
    function[2] = s->t->array[j];
    L->top = function + 3;
    ptrdiff_t at = luD_savestack(L, function);
    luD_call(L, function, 1);
    Value *result = luD_restorestack(L, at);
    L->top = result;
    bool less = !val_isfalsy(*result);
    check_resized(s);
    return less;
}

static bool less_by_order(Sorter *s, int i, int j)
{
    bool less = luV_less(s->L, s->t->array[i], s->t->array[j]);
    check_resized(s);
    return less;
}

BASE_INLINE bool less(Sorter *s, int i, int j, int kind)
{
    if (BASE_UNLIKELY(--s->budget <= 0))
        sort_poll(s);
    const Value *array = s->t->array;
    switch (kind) {
    case BY_NUMBER: return array[i].n < array[j].n;
    case BY_STRING: return luS_compare(val_string(array[i]), val_string(array[j])) < 0;
    case BY_ORDER: return less_by_order(s, i, j);
    default: return less_by_call(s, i, j);
    }
}

BASE_INLINE void swap(Sorter *s, int i, int j, int kind)
{
    Value *array = s->t->array;
    if (kind == BY_ORDER || kind == BY_CALL)
        lib_checkwritable(s->L, s->t);
    Value v = array[i];
    array[i] = array[j];
    array[j] = v;
    if (kind != BY_NUMBER)
        luG_barriertable(s->L, s->t);
}

/* Makes element `root` (relative to low) sink to its place in the heap low..high. */
BASE_INLINE void sift(Sorter *s, int low, int high, int root, int kind)
{
    int count = high - low + 1;
    while (root * 2 + 2 < count) {
        int left = root * 2 + 1, right = root * 2 + 2, next = root;
        if (less(s, low + next, low + left, kind))
            next = left;
        if (less(s, low + next, low + right, kind))
            next = right;
        if (next == root)
            break;
        swap(s, low + root, low + next, kind);
        root = next;
    }
    int only = root * 2 + 1; /* a last element without a sibling */
    if (only == count - 1 && less(s, low + root, low + only, kind))
        swap(s, low + root, low + only, kind);
}

BASE_INLINE void heap_sort(Sorter *s, int low, int high, int kind)
{
    int count = high - low + 1;
    for (int i = count / 2 - 1; i >= 0; i--)
        sift(s, low, high, i, kind);
    for (int i = count - 1; i > 0; i--) {
        swap(s, low, low + i, kind);
        sift(s, low, low + i - 1, 0, kind);
    }
}

/* Orders first, middle and last; true if that was all. */
BASE_INLINE bool order_three(Sorter *s, int low, int high, int kind)
{
    if (less(s, high, low, kind))
        swap(s, high, low, kind);
    if (high - low == 1)
        return true;
    int middle = low + ((high - low) >> 1);
    if (less(s, middle, low, kind))
        swap(s, middle, low, kind);
    else if (less(s, high, middle, kind))
        swap(s, middle, high, kind);
    return high - low == 2;
}

static void order_error(Sorter *s)
{
    luaL_error(s->L, "invalid order function for sorting");
}

/* Splits low..high (ordered by order_three) around its middle element, whose new place it gives. */
BASE_INLINE int partition(Sorter *s, int low, int high, int kind)
{
    int pivot = high - 1, i = low, j = pivot;
    swap(s, low + ((high - low) >> 1), pivot, kind);
    for (;;) {
        while (less(s, ++i, pivot, kind)) {
            if (BASE_UNLIKELY(i >= high))
                order_error(s);
        }
        while (less(s, pivot, --j, kind)) {
            if (BASE_UNLIKELY(j <= low))
                order_error(s);
        }
        if (j < i)
            break;
        swap(s, i, j, kind);
    }
    swap(s, pivot, i, kind);
    return i;
}

BASE_INLINE void sort_all(Sorter *s, int count, int kind)
{
    Range pending[PENDING_MAX];
    int waiting = 0, low = 0, high = count - 1, limit = count;
    for (;;) {
        while (low < high) {
            if (BASE_UNLIKELY(limit == 0)) {
                heap_sort(s, low, high, kind);
                break;
            }
            if (order_three(s, low, high, kind))
                break;
            int middle = partition(s, low, high, kind);
            limit = (limit >> 1) + (limit >> 2);
            BASE_DEBUG(waiting < PENDING_MAX);
            if (middle - low < high - middle) {
                pending[waiting++] = (Range){middle + 1, high, limit};
                high = middle - 1;
            } else {
                pending[waiting++] = (Range){low, middle - 1, limit};
                low = middle + 1;
            }
        }
        if (waiting == 0)
            return;
        waiting--;
        low = pending[waiting].low;
        high = pending[waiting].high;
        limit = pending[waiting].limit;
    }
}

static void sort_numbers(Sorter *s, int count)
{
    sort_all(s, count, BY_NUMBER);
}
static void sort_strings(Sorter *s, int count)
{
    sort_all(s, count, BY_STRING);
}
static void sort_by_order(Sorter *s, int count)
{
    sort_all(s, count, BY_ORDER);
}
static void sort_by_call(Sorter *s, int count)
{
    sort_all(s, count, BY_CALL);
}

/* How many of the first elements are numbers, or strings; `count` if all. */
static int run_of(Sorter *s, int count, bool strings)
{
    for (int i = 0; i < count; i++) {
        Value v = s->t->array[i];
        if (strings ? !val_isstring(v) : !val_isnumber(v))
            return i;
        if (BASE_UNLIKELY(--s->budget <= 0))
            sort_poll(s);
    }
    return count;
}

void lib_sort(lua_State *L, Table *t, int n)
{
    Sorter s = {L, t, t->array_size, LIB_POLL_STEPS};
    BASE_ASSERT(n <= t->array_size);
    if (!val_isnil(lib_arg(L, 2)))
        sort_by_call(&s, n);
    else if (run_of(&s, n, false) == n)
        sort_numbers(&s, n);
    else if (run_of(&s, n, true) == n)
        sort_strings(&s, n);
    else
        sort_by_order(&s, n);
}
