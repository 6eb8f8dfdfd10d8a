#include "sqlite_memory.h"

#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER = 16 /* the size, and what keeps the alignment */ };

static void *sized_malloc(int size)
{
    char *block = malloc((size_t)size + HEADER);
    if (block == NULL)
        return NULL;
    memcpy(block, &size, sizeof size);
    return block + HEADER;
}

static void sized_free(void *memory)
{
    free((char *)memory - HEADER);
}

static int sized_size(void *memory)
{
    int size;
    memcpy(&size, (char *)memory - HEADER, sizeof size);
    return size;
}

static void *sized_realloc(void *memory, int size)
{
    char *block = realloc((char *)memory - HEADER, (size_t)size + HEADER);
    if (block == NULL)
        return NULL;
    memcpy(block, &size, sizeof size);
    return block + HEADER;
}

static int round_up(int size)
{
    return (size + 7) & ~7;
}

static int memory_init(void *data)
{
    (void)data;
    return SQLITE_OK;
}

static void memory_shutdown(void *data)
{
    (void)data;
}

bool sqlite_memory_use(void)
{
    static const sqlite3_mem_methods MEMORY = {sized_malloc,    sized_free, sized_realloc,
                                               sized_size,      round_up,   memory_init,
                                               memory_shutdown, NULL};
    /* No pools that would hide how often there could be no memory. */
    return sqlite3_config(SQLITE_CONFIG_MALLOC, &MEMORY) == SQLITE_OK &&
           sqlite3_config(SQLITE_CONFIG_LOOKASIDE, 0, 0) == SQLITE_OK;
}
