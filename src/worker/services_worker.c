#include "worker/services.h"

static void answer(void *userdata, KhronosCall *call)
{
    worker_answer(userdata, call);
}

void services_use(Services *services, Worker *worker)
{
    services_answer_with(services, answer, worker);
}
