/* faulty_store.h: a store in a folder of its own, on files that fail (faulty_vfs.h). */
#ifndef TESTS_FAULTY_STORE_H
#define TESTS_FAULTY_STORE_H

#include "../store_tools.h"
#include "faulty_vfs.h"

static inline int set_up_faulty(void **state)
{
    faulty_install();
    return set_up(state);
}

static inline int tear_down_faulty(void **state)
{
    faulty_disarm();
    faulty_space(-1);
    faulty_remove();
    return tear_down(state);
}

static inline StoreOptions options_here(const Folder *f)
{
    return (StoreOptions){
        .path = f->file, .exclusive = true, .readers = 1, .lock_wait_ms = TOOL_PATIENCE_MS};
}

static inline Store *open_here(const Folder *f)
{
    StoreOptions options = options_here(f);
    Store *store = open_store(&options);
    assert_non_null(store);
    return store;
}

#endif
