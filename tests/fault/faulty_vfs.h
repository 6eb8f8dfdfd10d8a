/* faulty_vfs.h: the files of SQLite, in a test's hands: a layer over the usual one that lets the
 * k-th write, sync, read or opening fail, or the disk be full. It takes fsync for done, so that
 * thousands of rounds take seconds; what is lost when a process dies is not its business.
 *
 * One for the process; any thread. */
#ifndef TESTS_FAULTY_VFS_H
#define TESTS_FAULTY_VFS_H

#include <stdbool.h>
#include <stdint.h>

typedef enum FaultyCall { FAULTY_WRITE, FAULTY_SYNC, FAULTY_READ, FAULTY_OPEN } FaultyCall;

typedef struct FaultyPlan {
    FaultyCall call; /* which fail */
    int code;        /* with this SQLite code */
    bool partly;     /* a write: half of it is done */
    bool for_good;   /* all from then on; else one */
} FaultyPlan;

void faulty_install(void); /* for all connections that are opened from now on */
void faulty_remove(void);
/* The k-th call of the plan's kind from now (k >= 1). */
void faulty_arm(const FaultyPlan *plan, int k);
/* That call does not fail, but `happens` is called before it. */
void faulty_arm_event(FaultyCall call, int k, void (*happens)(void *userdata), void *userdata);
/* Whether it came to that; nothing fails any more. */
bool faulty_disarm(void);
/* All files together may grow by so much, fallocate included; negative: by as much as they like. */
void faulty_space(int64_t bytes);

#endif
