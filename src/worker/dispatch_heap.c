#include "worker/dispatch_heap.h"

#include <stdlib.h>

#include "base/base.h"

void dispatch_heap_free(DispatchHeap *heap)
{
    free(heap->timers);
    *heap = (DispatchHeap){0};
}

bool dispatch_heap_reserve(DispatchHeap *heap)
{
    if (heap->count + 1 < heap->capacity)
        return true;
    size_t capacity = heap->capacity ? heap->capacity * 2 : 16;
    DispatchTimer **timers = realloc(heap->timers, capacity * sizeof(DispatchTimer *));
    if (!timers)
        return false;
    heap->timers = timers;
    heap->capacity = capacity;
    return true;
}

static void set(DispatchHeap *heap, size_t place, DispatchTimer *timer)
{
    heap->timers[place] = timer;
    timer->place = place;
}

/* Puts the timer where it belongs, from an empty place on upwards or downwards. */
static void settle(DispatchHeap *heap, size_t place, DispatchTimer *timer)
{
    while (place > 1 && heap->timers[place / 2]->due_ns > timer->due_ns) {
        set(heap, place, heap->timers[place / 2]);
        place /= 2;
    }
    for (size_t child; (child = place * 2) <= heap->count; place = child) {
        if (child < heap->count && heap->timers[child + 1]->due_ns < heap->timers[child]->due_ns)
            child++;
        if (heap->timers[child]->due_ns >= timer->due_ns)
            break;
        set(heap, place, heap->timers[child]);
    }
    set(heap, place, timer);
}

void dispatch_heap_add(DispatchHeap *heap, DispatchTimer *timer)
{
    BASE_ASSERT(heap->count + 1 < heap->capacity);
    heap->count++;
    heap->timers[heap->count] = timer;
    settle(heap, heap->count, timer);
}

void dispatch_heap_remove(DispatchHeap *heap, DispatchTimer *timer)
{
    size_t place = timer->place;
    BASE_ASSERT(place > 0 && heap->timers[place] == timer);
    DispatchTimer *last = heap->timers[heap->count--];
    timer->place = 0;
    if (last != timer)
        settle(heap, place, last);
}
