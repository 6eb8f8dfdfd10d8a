/* sqlite_memory.h: SQLite's memory, taken from where allocations can be made to fail
 * (fault_support.h). */
#ifndef TESTS_SQLITE_MEMORY_H
#define TESTS_SQLITE_MEMORY_H

#include <stdbool.h>

/* Before SQLite is used. */
bool sqlite_memory_use(void);

#endif
