/* fault_support.h: allocators of the C library that fail on demand: these programs are linked with
 * --wrap for each of them. */
#ifndef TESTS_FAULT_SUPPORT_H
#define TESTS_FAULT_SUPPORT_H

#include <stdbool.h>

/* The k-th call from now of malloc or its kin, mmap or mremap fails once (k >= 1); 0: none does. */
void fault_arm(long k);
/* Nothing fails, or counts, until fault_resume is called with what this returns. */
long fault_hold(void);
void fault_resume(long left);
/* Whether it came to that; nothing fails any more. */
bool fault_disarm(void);

#endif
