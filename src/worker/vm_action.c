#include "worker/vm_action.h"

const char *vm_state_name(VmState state)
{
    static const char *const names[] = {"none", "initializing", "healthy", "broken", "destroying"};
    return names[state];
}

const char *vm_reason_name(VmBrokenReason reason)
{
    static const char *const names[] = {"",
                                        "memory limit exceeded",
                                        "execution timeout",
                                        "panic recovery",
                                        "internal error",
                                        "explicit destroy"};
    return names[reason];
}
