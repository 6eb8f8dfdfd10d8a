/* plugin_disturb.h: a script of a plugin's test is disturbed at every place where it can be:
 * parked, killed or dropped at its polls, without memory at its allocations. Whatever natives hold,
 * they hold it in a way that survives this (AddressSanitizer finds what leaks). */
#ifndef TESTS_PLUGIN_DISTURB_H
#define TESTS_PLUGIN_DISTURB_H

#include "plugin_support.h"

/* Parks at each poll and goes on: the result is the same. Then, in fresh VMs, kills it, and frees
 * the VM while it is parked, at about `places` polls spread over the script. Fails if it polls less
 * often than polls_min. */
void plugin_disturb_polls(PluginVm *vm, const char *source, int polls_min, int places);
/* The k-th allocation fails, for each k until none does any more (or for `places` spread over them,
 * 0: all): with a quota (the VM is killed) and without (an error). */
void plugin_disturb_memory(PluginVm *vm, const char *source, int places);

#endif
