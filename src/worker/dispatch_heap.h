/* dispatch_heap.h: points in time, the earliest first: a binary heap of timers that live elsewhere
 * and know their places, so that any can be taken out. One thread at a time. */
#ifndef WORKER_DISPATCH_HEAP_H
#define WORKER_DISPATCH_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct DispatchTimer {
    uint64_t due_ns;
    size_t place; /* the heap's; 0: in none */
} DispatchTimer;

typedef struct DispatchHeap {
    DispatchTimer **timers; /* from 1 on: the children of i are at 2i and 2i + 1 */
    size_t count;
    size_t capacity;
} DispatchHeap;

void dispatch_heap_free(DispatchHeap *heap);
/* Room for one more. False: no memory. */
bool dispatch_heap_reserve(DispatchHeap *heap);
void dispatch_heap_add(DispatchHeap *heap, DispatchTimer *timer);    /* there is room */
void dispatch_heap_remove(DispatchHeap *heap, DispatchTimer *timer); /* it is in there */

static inline DispatchTimer *dispatch_heap_first(const DispatchHeap *heap)
{
    return heap->count ? heap->timers[1] : NULL;
}

#endif
