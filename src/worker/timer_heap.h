/* timer_heap.h: guilds that have something to do at a known time: a binary heap. Those with the
 * same time come out in the order in which they went in. Entries know their place, so any can be
 * taken out. Under the strategy's lock. */
#ifndef WORKER_TIMER_HEAP_H
#define WORKER_TIMER_HEAP_H

#include <stdbool.h>
#include <stdint.h>

#include "worker/thread_entry.h"

typedef struct TimerNode {
    uint64_t due_ns;
    uint64_t number; /* in order of arrival */
    ThreadEntry *entry;
} TimerNode;

typedef struct TimerHeap {
    TimerNode *nodes; /* from 1 on: the children of i are 2i and 2i + 1 */
    uint32_t count, capacity;
    uint64_t numbers;
} TimerHeap;

void timerheap_free(TimerHeap *heap);
/* By entry->due_ns; it is in no heap. False: no memory. */
bool timerheap_put(TimerHeap *heap, ThreadEntry *entry);
void timerheap_remove(TimerHeap *heap, ThreadEntry *entry);    /* also when it is in none */
uint64_t timerheap_due_ns(const TimerHeap *heap);              /* 0: empty */
ThreadEntry *timerheap_take(TimerHeap *heap, uint64_t now_ns); /* NULL: none is due */

#endif
