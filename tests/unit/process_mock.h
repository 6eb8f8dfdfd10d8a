/* process_mock.h: a strategy without VMs for child processes: one thread takes the actions of all
 * guilds in their order, and a template's description is a command. While one of a guild's actions
 * runs, its state tells as many tasks as there are actions of it in the child, else none. */
#ifndef TESTS_PROCESS_MOCK_H
#define TESTS_PROCESS_MOCK_H

#include "worker/strategy.h"

/* When this is set in the environment, process_mock_new fails. */
#define MOCK_REFUSE "TEST_MOCK_REFUSE"

Strategy *process_mock_new(const WorkerOptions *options, char *error, size_t error_size);

#endif
