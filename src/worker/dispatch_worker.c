#include "worker/dispatcher.h"
#include "worker/worker.h"

static void submit(void *userdata, LuaVmAction *action)
{
    worker_submit(userdata, action);
}

void dispatcher_use_worker(DispatcherOptions *options, Worker *worker)
{
    options->submit = submit;
    options->submit_userdata = worker;
}
