/* test_store.h: a store in front of a store, that knows whether anything is under way. */
#ifndef CLI_TEST_STORE_H
#define CLI_TEST_STORE_H

#include "store/store.h"

/* Called without locks, before a request goes in and after its completion has returned; the latter
 * on any thread. */
typedef struct TestStoreWatcher {
    void (*in)(void *userdata);
    void (*out)(void *userdata);
    void *userdata;
} TestStoreWatcher;

/* Takes the store, also when it fails. NULL: no memory. */
Store *test_store_new(Store *inner, TestStoreWatcher watcher);

#endif
