#include "worker/timer_heap.h"

#include <stdlib.h>

enum { CAPACITY_MIN = 64 };

void timerheap_free(TimerHeap *heap)
{
    free(heap->nodes);
    *heap = (TimerHeap){0};
}

static bool resize(TimerHeap *heap, uint32_t capacity)
{
    TimerNode *nodes = realloc(heap->nodes, ((size_t)capacity + 1) * sizeof(*nodes));
    if (!nodes)
        return false;
    heap->nodes = nodes;
    heap->capacity = capacity;
    return true;
}

static bool is_before(const TimerNode *a, const TimerNode *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->number < b->number;
}

static void set(TimerHeap *heap, uint32_t i, TimerNode node)
{
    heap->nodes[i] = node;
    node.entry->timer_index = i;
}

/* Finds the node's place from the hole at i. */
static void settle(TimerHeap *heap, uint32_t i, TimerNode node)
{
    while (i > 1 && is_before(&node, &heap->nodes[i / 2])) {
        set(heap, i, heap->nodes[i / 2]);
        i /= 2;
    }
    for (uint32_t child; (child = 2 * i) <= heap->count; i = child) {
        if (child < heap->count && is_before(&heap->nodes[child + 1], &heap->nodes[child]))
            child++;
        if (!is_before(&heap->nodes[child], &node))
            break;
        set(heap, i, heap->nodes[child]);
    }
    set(heap, i, node);
}

bool timerheap_put(TimerHeap *heap, ThreadEntry *entry)
{
    BASE_DEBUG(entry->timer_index == 0 && entry->due_ns != 0);
    if (heap->count == heap->capacity &&
        !resize(heap, heap->capacity ? heap->capacity * 2 : CAPACITY_MIN))
        return false;
    TimerNode node = {entry->due_ns, heap->numbers++, entry};
    settle(heap, ++heap->count, node);
    return true;
}

void timerheap_remove(TimerHeap *heap, ThreadEntry *entry)
{
    uint32_t i = entry->timer_index;
    if (i == 0)
        return;
    entry->timer_index = 0;
    TimerNode last = heap->nodes[heap->count--];
    if (last.entry != entry)
        settle(heap, i, last);
    /* A failure to shrink only keeps memory. */
    if (heap->capacity > CAPACITY_MIN && heap->count < heap->capacity / 4)
        resize(heap, heap->capacity / 2);
}

uint64_t timerheap_due_ns(const TimerHeap *heap)
{
    return heap->count > 0 ? heap->nodes[1].due_ns : 0;
}

ThreadEntry *timerheap_take(TimerHeap *heap, uint64_t now_ns)
{
    if (heap->count == 0 || heap->nodes[1].due_ns > now_ns)
        return NULL;
    ThreadEntry *entry = heap->nodes[1].entry;
    timerheap_remove(heap, entry);
    return entry;
}
