#include "fault_support.h"

#include <stddef.h>
#include <sys/mman.h>
#include <sys/types.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void *__real_reallocarray(void *block, size_t count, size_t size);
void *__real_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset);
void *__real_mremap(void *address, size_t old_size, size_t new_size, int flags);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
void *__wrap_reallocarray(void *block, size_t count, size_t size);
void *__wrap_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset);
void *__wrap_mremap(void *address, size_t old_size, size_t new_size, int flags);

static long left; /* calls until the one that fails; 0: off */
static bool fired;

void fault_arm(long k)
{
    left = k;
    fired = false;
}

long fault_hold(void)
{
    long held = left;
    left = 0;
    return held;
}

void fault_resume(long held)
{
    left = held;
}

bool fault_disarm(void)
{
    left = 0;
    return fired;
}

static bool fails(void)
{
    if (left == 0 || --left > 0)
        return false;
    fired = true;
    return true;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *block, size_t size)
{
    return fails() ? NULL : __real_realloc(block, size);
}

void *__wrap_reallocarray(void *block, size_t count, size_t size)
{
    return fails() ? NULL : __real_reallocarray(block, count, size);
}

void *__wrap_mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset)
{
    return fails() ? MAP_FAILED : __real_mmap(address, length, protection, flags, fd, offset);
}

void *__wrap_mremap(void *address, size_t old_size, size_t new_size, int flags)
{
    return fails() ? MAP_FAILED : __real_mremap(address, old_size, new_size, flags);
}
