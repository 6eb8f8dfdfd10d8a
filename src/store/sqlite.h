/* sqlite.h: the store in one file, on SQLite (WAL, synchronous=FULL).
 *
 * One writer with group commit: what waits when a commit ends goes into the next one together, and
 * comes back when that is on disk. Readers in parallel, each with a connection of its own. The
 * schema carries a version (PRAGMA user_version, and table `migrations`, which says when each step
 * was made); an older file is brought up to date when it is opened, in one transaction, a newer one
 * is refused. */
#ifndef STORE_SQLITE_H
#define STORE_SQLITE_H

#include "store/store.h"

/* NULL: text in error, and *status says what kind of failure it was (locked by another server,
 * read-only, corrupt, no store at all, too new, ...). The options are copied, the path too. */
Store *sqlite_open(const StoreOptions *options, StoreStatus *status, char *error,
                   size_t error_size);

/* The version of the file at path and of this program; for `store migrate`. Creates and changes
 * nothing. False: text in error. */
bool sqlite_versions(const char *path, int *file_version, int *program_version, char *error,
                     size_t error_size);

#endif
