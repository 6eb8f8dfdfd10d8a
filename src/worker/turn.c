#include "worker/turn.h"

#include <inttypes.h>

#include "base/clock.h"
#include "base/log.h"

enum { CPU_AGE_MAX = 16 };
#define LONG_NS (CLOCK_NS_PER_MS / 2)

#define STOPPED_TEXT "the execution was stopped: the server is shutting down"
#define DESTROYED_TEXT "the execution was stopped: the VM was destroyed"
#define NO_SERVICE_TEXT "this server has no store"
#define PANIC_TEXT "the execution was stopped: the worker thread of its VM failed"

bool workthread_init(WorkThread *self, Registry *registry, luau_Ticker *ticker, int fibers_kept)
{
    luau_Fibers *fibers = luau_fibers_new(fibers_kept);
    if (!fibers)
        return false;
    self->registry = registry;
    self->fibers = self->panic.fibers = fibers;
    self->panic.armed = self->panic.panicked = false;
    self->cpu_read_ns = 0;
    self->ticker = ticker;
    luau_ticker_add(ticker, fibers);
    return true;
}

void workthread_free(WorkThread *self)
{
    if (!self->fibers)
        return;
    luau_ticker_remove(self->ticker, self->fibers);
    luau_fibers_free(self->fibers);
    self->fibers = self->panic.fibers = NULL;
}

void workthread_renew(WorkThread *self, int fibers_kept)
{
    luau_Fibers *fibers = luau_fibers_new(fibers_kept);
    if (fibers) { /* else the old ones do */
        luau_ticker_remove(self->ticker, self->fibers);
        luau_fibers_free(self->fibers);
        self->fibers = self->panic.fibers = fibers;
        luau_ticker_add(self->ticker, fibers);
    }
    self->panic.panicked = false;
    self->cpu_read_ns = 0; /* its thread may be another */
}

/* ---- Leaving and entering the armed section ---- */

static void lock(WorkThread *self)
{
    self->panic.armed = false;
    pthread_mutex_lock(&self->registry->lock);
}

/* While recovering, armed makes no difference: a second panic aborts. */
static void unlock(WorkThread *self)
{
    pthread_mutex_unlock(&self->registry->lock);
    self->panic.armed = true;
}

static void set_state(WorkThread *self, VmState state, VmBrokenReason reason, const char *detail)
{
    self->panic.armed = false;
    registry_set_state(self->registry, self->turn.entry, state, reason, detail);
    self->panic.armed = true;
}

/* The guild's VM, whose code is about to run. */
static void *enter_vm(WorkThread *self)
{
    self->turn.in_vm = true;
    return self->turn.entry->vm_handle;
}

static void leave_vm(WorkThread *self)
{
    self->turn.in_vm = false;
}

/* ---- What is finished ---- */

static void finish(WorkThread *self, LuaVmAction *action, VmActionOutcome outcome)
{
    Turn *turn = &self->turn;
    action->outcome = outcome;
    action->next = NULL;
    if (turn->done_last)
        turn->done_last->next = action;
    else
        turn->done_first = action;
    turn->done_last = action;
    turn->done++;
}

static void finish_mail(WorkThread *self, LuaVmAction *action, VmActionOutcome outcome)
{
    finish(self, action, outcome);
    self->turn.mail_done++;
}

static VmBrokenReason reason_of(KhronosStatus status)
{
    switch (status) {
    case KHRONOS_MEMORY_LIMIT: return VM_MEMORY_LIMIT_EXCEEDED;
    case KHRONOS_TIMEOUT: return VM_EXECUTION_TIMEOUT;
    case KHRONOS_INTERNAL: return VM_INTERNAL_ERROR;
    default: return VM_NOT_BROKEN;
    }
}

/* Takes back what the VM finished. If one of these executions broke it, says why. */
static VmBrokenReason collect(WorkThread *self)
{
    Turn *turn = &self->turn;
    const VmOps *ops = self->registry->ops;
    VmBrokenReason reason = VM_NOT_BROKEN;
    void *vm = enter_vm(self);
    for (KhronosExecution *x; (x = ops->take_finished(vm)) != NULL;) {
        LuaVmAction *action = x->owner;
        turn->executions_done++;
        if (reason == VM_NOT_BROKEN)
            reason = reason_of(x->status);
        if (x->status >= KHRONOS_MEMORY_LIMIT)
            action->info.state = VM_BROKEN; /* the reason: see name_reason */
        if (--action->unfinished == 0)
            finish_mail(self, action, VM_ACTION_DONE);
    }
    leave_vm(self);
    return reason;
}

static void name_reason(WorkThread *self, VmBrokenReason reason)
{
    for (LuaVmAction *action = self->turn.done_first; action; action = action->next) {
        if (action->info.state != VM_BROKEN || action->info.reason != VM_NOT_BROKEN)
            continue;
        action->info.reason = reason;
        action->info.generation = self->turn.entry->generation;
    }
}

/* ---- The VM comes and goes ---- */

static void remove_vm(WorkThread *self, VmBrokenReason reason, const char *detail, bool discard)
{
    ThreadEntry *entry = self->turn.entry;
    const VmOps *ops = self->registry->ops;
    void *vm = enter_vm(self);
    if (!discard) {
        luau_Account account;
        ops->account(vm, &account);
        entry->cpu_ns += account.cpu_ns;
        atomic_fetch_add_explicit(&self->registry->freed_bytes, account.reserved_bytes,
                                  memory_order_relaxed);
    }
    entry->task_errors += ops->task_errors(vm);
    name_reason(self, reason);
    entry->vm_handle = NULL; /* from here on it is lost rather than freed twice */
    leave_vm(self);
    set_state(self, VM_BROKEN, reason, detail);
    (discard ? ops->discard : ops->free)(vm);
}

/* With all that it runs. */
static void end_vm(WorkThread *self, VmBrokenReason reason, const char *text, bool discard)
{
    self->registry->ops->break_all(enter_vm(self), KHRONOS_BROKEN, text);
    collect(self);
    remove_vm(self, reason, NULL, discard);
}

static void destroy_vm(WorkThread *self, const char *text)
{
    if (!self->turn.entry->vm_handle)
        return;
    set_state(self, VM_DESTROYING, VM_NOT_BROKEN, NULL);
    end_vm(self, VM_EXPLICIT_DESTROY, text, false);
}

static bool ensure_vm(WorkThread *self)
{
    ThreadEntry *entry = self->turn.entry;
    const Registry *registry = self->registry;
    if (entry->vm_handle)
        return true;
    set_state(self, VM_INITIALIZING, VM_NOT_BROKEN, NULL);
    if (entry->extra && entry->extra->panic_creation) {
        entry->extra->panic_creation = false;
        BASE_PANIC("injected while a VM is made");
    }
    entry->vm_handle = registry->ops->create(registry->ops->userdata, entry->guild_id,
                                             entry_limits(entry, &registry->options->limits));
    if (!entry->vm_handle) {
        set_state(self, VM_BROKEN, VM_INTERNAL_ERROR, "not enough memory for a VM");
        return false;
    }
    set_state(self, VM_HEALTHY, VM_NOT_BROKEN, NULL);
    return true;
}

/* ---- Calls ---- */

/* What came for the VM; without one nobody wants it. */
static void deliver_answers(WorkThread *self)
{
    Turn *turn = &self->turn;
    for (KhronosCall *call; (call = turn->answers) != NULL;) {
        turn->answers = call->next;
        call->next = NULL;
        if (!turn->entry->vm_handle) {
            call->kind->drop(call);
            continue;
        }
        self->registry->ops->answer(enter_vm(self), call);
        leave_vm(self);
    }
}

/* What the step asked for. */
static void take_calls(WorkThread *self)
{
    Turn *turn = &self->turn;
    void *vm = enter_vm(self);
    for (KhronosCall *call; (call = self->registry->ops->take_call(vm)) != NULL;) {
        if (turn->calls_last)
            turn->calls_last->next = call;
        else
            turn->calls_first = call;
        turn->calls_last = call;
    }
    leave_vm(self);
}

/* Not armed. The answers may be there before this returns: they are for a later turn. */
static void hand_out_calls(WorkThread *self)
{
    Turn *turn = &self->turn;
    const WorkerCalls *calls = &self->registry->options->calls;
    for (KhronosCall *call; (call = turn->calls_first) != NULL;) {
        turn->calls_first = call->next;
        call->next = NULL;
        if (calls->take) {
            calls->take(calls->userdata, call);
            continue;
        }
        call->kind->refuse(call, NO_SERVICE_TEXT);
        pthread_mutex_lock(&self->registry->lock);
        entry_answer_put(turn->entry, call);
        pthread_mutex_unlock(&self->registry->lock);
    }
    turn->calls_last = NULL;
}

/* ---- Control actions ---- */

static void set_limits(WorkThread *self, LuaVmAction *action)
{
    ThreadEntry *entry = self->turn.entry;
    VmActionOutcome outcome = VM_ACTION_DONE;
    lock(self); /* who admits mail looks at them */
    EntryExtra *extra = action->limits ? entry_extra(entry) : entry->extra;
    if (extra) {
        extra->has_limits = action->limits != NULL;
        if (action->limits)
            extra->limits = *action->limits;
    } else if (action->limits) {
        outcome = VM_ACTION_NO_MEMORY;
    }
    unlock(self);
    if (entry->vm_handle && outcome == VM_ACTION_DONE) {
        self->registry->ops->setlimits(enter_vm(self),
                                       entry_limits(entry, &self->registry->options->limits));
        leave_vm(self);
    }
    finish(self, action, outcome);
}

static void cancel(WorkThread *self, LuaVmAction *action)
{
    ThreadEntry *entry = self->turn.entry;
    LuaVmAction *cancelled;
    lock(self);
    bool found = entry_mail_cancel(entry, action->execution_id, &cancelled);
    unlock(self);
    if (cancelled)
        finish_mail(self, cancelled, VM_ACTION_DONE);
    if (!found && entry->vm_handle) {
        found = self->registry->ops->cancel(enter_vm(self), action->execution_id);
        leave_vm(self);
    }
    finish(self, action, found ? VM_ACTION_DONE : VM_ACTION_NOT_FOUND);
}

static void get_info(WorkThread *self, LuaVmAction *action)
{
    lock(self);
    registry_fill_info(self->registry, self->turn.entry, &action->info);
    unlock(self);
    finish(self, action, VM_ACTION_DONE);
}

static LuaVmAction *take_control(WorkThread *self)
{
    lock(self);
    LuaVmAction *action = entry_control_take(self->turn.entry);
    unlock(self);
    return action;
}

static void perform_control(WorkThread *self)
{
    for (LuaVmAction *action; (action = take_control(self)) != NULL;) {
        if (registry_is_stale(self->turn.entry, action))
            finish(self, action, VM_ACTION_NOT_FOUND);
        else if (action->type == VM_ACTION_SET_LIMITS)
            set_limits(self, action);
        else if (action->type == VM_ACTION_CANCEL)
            cancel(self, action);
        else
            get_info(self, action);
    }
}

/* ---- Mail ---- */

/* The executions become the VM's. */
static void begin_executions(WorkThread *self, LuaVmAction *action)
{
    int count;
    KhronosExecution *x = action_executions(action, &count);
    const VmOps *ops = self->registry->ops;
    action->retry_after_ms = registry_paused_ms(self->turn.entry, action);
    bool paused = action->retry_after_ms > 0;
    if (paused || !ensure_vm(self)) {
        self->turn.mail = NULL;
        self->turn.refused = paused;
        finish_mail(self, action, paused ? VM_ACTION_PAUSED : VM_ACTION_NO_MEMORY);
        return;
    }
    action->unfinished = 1; /* this loop's share: it is not done while it begins */
    void *vm = enter_vm(self);
    if (action->starting)
        action->starting(action);
    for (int i = 0; i < count; i++) {
        if (x[i].status == KHRONOS_CANCELLED) /* while it waited */
            continue;
        x[i].owner = action;
        action->unfinished++;
        ops->submit(vm, &x[i]);
    }
    leave_vm(self);
    self->turn.mail = NULL;
    self->turn.submitted = true;
    if (--action->unfinished == 0)
        finish_mail(self, action, VM_ACTION_DONE);
}

static VmActionOutcome inject_panic(WorkThread *self, VmPanicPoint point)
{
    ThreadEntry *entry = self->turn.entry;
    if (point == VM_PANIC_EXECUTION || point == VM_PANIC_COLLECTOR) {
        if (!ensure_vm(self))
            return VM_ACTION_NO_MEMORY;
        self->registry->ops->panic(enter_vm(self), point == VM_PANIC_COLLECTOR);
        leave_vm(self);
        return VM_ACTION_DONE;
    }
    lock(self);
    EntryExtra *extra = entry_extra(entry);
    if (extra) {
        extra->panic_creation |= point == VM_PANIC_CREATION;
        extra->panic_dispatch |= point == VM_PANIC_DISPATCH;
    }
    unlock(self);
    return extra ? VM_ACTION_DONE : VM_ACTION_NO_MEMORY;
}

static void perform_mail(WorkThread *self)
{
    Turn *turn = &self->turn;
    ThreadEntry *entry = turn->entry;
    LuaVmAction *action = turn->mail;
    VmActionOutcome outcome = VM_ACTION_DONE;
    if (entry->extra && entry->extra->panic_dispatch) {
        entry->extra->panic_dispatch = false;
        BASE_PANIC("injected while mail is taken");
    }
    if (registry_is_stale(entry, action)) {
        outcome = VM_ACTION_NOT_FOUND;
    } else if (action->type == VM_ACTION_DESTROY) {
        destroy_vm(self, DESTROYED_TEXT);
    } else if (action->type == VM_ACTION_PANIC) {
        outcome = inject_panic(self, action->panic_point);
    } else if (action->type != VM_ACTION_CLEAR_CACHE) {
        begin_executions(self, action);
        return;
    } else if (entry->vm_handle && !entry->parked) { /* parked: a destroy comes right behind */
        self->registry->ops->clear_cache(enter_vm(self));
        leave_vm(self);
    }
    turn->mail = NULL;
    finish_mail(self, action, outcome);
}

/* The server ends: whatever the guild has. */
static void stop_guild(WorkThread *self)
{
    Turn *turn = &self->turn;
    ThreadEntry *entry = turn->entry;
    for (LuaVmAction *action; (action = take_control(self)) != NULL;)
        finish(self, action, VM_ACTION_SHUTTING_DOWN);
    destroy_vm(self, STOPPED_TEXT);
    deliver_answers(self);
    while (turn->mail) {
        finish_mail(self, turn->mail, VM_ACTION_SHUTTING_DOWN);
        lock(self);
        turn->mail = entry_mail_take(entry);
        unlock(self);
    }
}

/* ---- A turn ---- */

/* One step, if there may be something to do. False: it panicked. */
static bool step(WorkThread *self)
{
    Turn *turn = &self->turn;
    ThreadEntry *entry = turn->entry;
    const VmOps *ops = self->registry->ops;
    void *vm = enter_vm(self);
    if (entry->parked || ops->executions(vm) > 0 || ops->tasks(vm) > 0 || ops->due_ns(vm) != 0) {
        entry->shrunk = false;
        turn->step = ops->step(vm, self->fibers);
        if (turn->step == KHRONOS_PANICKED)
            return false;
        take_calls(self);
    }
    VmBrokenReason reason = collect(self);
    if (ops->isbroken(enter_vm(self))) {
        if (reason == VM_NOT_BROKEN) /* a thread in the background was the cause */
            reason = reason_of(ops->broken_status(vm));
        remove_vm(self, reason == VM_NOT_BROKEN ? VM_INTERNAL_ERROR : reason, NULL, false);
    }
    leave_vm(self);
    return true;
}

/* What the strategy must know of a VM that is not parked. */
static void look_ahead(WorkThread *self)
{
    ThreadEntry *entry = self->turn.entry;
    const VmOps *ops = self->registry->ops;
    void *vm = enter_vm(self);
    entry->due_ns = ops->due_ns(vm);
    entry->quiet = ops->executions(vm) == 0 && ops->tasks(vm) == 0;
    entry->keeps_store = ops->keeps_store(vm);
    leave_vm(self);
}

/* False: it panicked. */
static bool work(WorkThread *self)
{
    Turn *turn = &self->turn;
    ThreadEntry *entry = turn->entry;
    if (registry_is_stopping(self->registry)) {
        lock(self);
        if (!turn->mail)
            turn->mail = entry_mail_take(entry);
        unlock(self);
        stop_guild(self);
        return true;
    }
    if (!turn->mail) { /* else no control action was there when it was taken */
        perform_control(self);
        lock(self);
        turn->mail = entry_mail_ready(entry) ? entry_mail_take(entry) : NULL;
        unlock(self);
    }
    if (turn->mail)
        perform_mail(self);
    deliver_answers(self);
    return !entry->vm_handle || step(self);
}

static bool do_job(WorkThread *self)
{
    Turn *turn = &self->turn;
    ThreadEntry *entry = turn->entry;
    switch (turn->job) {
    case TURN_WORK:
        if (!work(self))
            return false;
        break;
    case TURN_SHRINK:
        self->registry->ops->shrink(enter_vm(self));
        leave_vm(self);
        entry->shrunk = true;
        break;
    case TURN_EXPIRE: destroy_vm(self, DESTROYED_TEXT); break;
    case TURN_GIVE_UP: end_vm(self, VM_PANIC_RECOVERY, PANIC_TEXT, true); break;
    }
    if (entry->vm_handle && turn->step != KHRONOS_PARKED)
        look_ahead(self);
    return true;
}

/* The mail that was taken and the guild's VM are lost; the guild's other mail waits for a new VM.
 */
static void recover(WorkThread *self)
{
    Turn *turn = &self->turn;
    self->panic.panicked = turn->panicked = true;
    pthread_mutex_lock(&self->registry->lock);
    self->registry->stats.panics++;
    pthread_mutex_unlock(&self->registry->lock);
    if (turn->mail) {
        turn->mail->info.state = VM_BROKEN;
        finish_mail(self, turn->mail, VM_ACTION_VM_BROKEN);
        turn->mail = NULL;
    }
    if (turn->entry->vm_handle)
        end_vm(self, VM_PANIC_RECOVERY, PANIC_TEXT, turn->in_vm);
    else if (turn->entry->state == VM_INITIALIZING)
        set_state(self, VM_BROKEN, VM_PANIC_RECOVERY, "while it was made");
    name_reason(self, VM_PANIC_RECOVERY);
    deliver_answers(self);
    turn->step = KHRONOS_IDLE;
}

static void complete_done(WorkThread *self)
{
    Turn *turn = &self->turn;
    for (LuaVmAction *action = turn->done_first, *next; action; action = next) {
        next = action->next;
        action->next = NULL;
        if (action == turn->begun)
            turn->begun_done = true;
        else
            action->complete(action); /* the action is its owner's again */
    }
    turn->done_first = turn->done_last = NULL;
    registry_done(self->registry, (uint64_t)turn->done);
}

static uint64_t thread_cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * CLOCK_NS_PER_S + (uint64_t)now.tv_nsec;
}

/* The processor time of the turn. On a busy machine another process may have had the processor for
 * most of the time that passed, and a light guild must not pay for that. The clock that knows is a
 * system call, so it is read only after turns that seem long, and every few turns in between: what
 * the thread used since is then close to what the turn used. */
static uint64_t turn_cost_ns(WorkThread *self)
{
    uint64_t passed_ns = self->turn.end_ns - self->turn.start_ns;
    if (passed_ns < LONG_NS && ++self->cpu_age < CPU_AGE_MAX)
        return passed_ns;
    uint64_t cpu_ns = thread_cpu_ns(), used_ns = cpu_ns - self->cpu_read_ns;
    self->cpu_read_ns = cpu_ns;
    self->cpu_age = 0;
    return used_ns < passed_ns ? used_ns : passed_ns;
}

/* Who used more than its share stands still for a while, and gets no new runs. */
static void charge(WorkThread *self, uint64_t cost_ns)
{
    ThreadEntry *entry = self->turn.entry;
    uint64_t end_ns = self->turn.end_ns;
    uint64_t max_ns = entry_limits(entry, &self->registry->options->limits)->share_max_ns;
    entry_charge(entry, end_ns, cost_ns);
    if (!entry_overuses(entry, end_ns, cost_ns, max_ns))
        return;
    pthread_mutex_lock(&self->registry->lock);
    EntryExtra *extra = entry_extra(entry);
    bool begins = extra && pause_left_ns(&extra->history, end_ns) == 0;
    if (begins)
        extra->history.paused_until_ns = end_ns + SHARE_HOLD_NS;
    pthread_mutex_unlock(&self->registry->lock);
    if (begins)
        log_message(LOG_WARN,
                    "guild %" PRIu64
                    " used %.3g s of processor time within a minute, more than its "
                    "share; it stands still for %.3g s",
                    entry->guild_id, (double)max_ns / 1e9, (double)SHARE_HOLD_NS / 1e9);
}

/* Counts, and completes. */
static void end_turn(WorkThread *self)
{
    Turn *turn = &self->turn;
    ThreadEntry *entry = turn->entry;
    bool parked = entry->vm_handle && turn->step == KHRONOS_PARKED;
    entry->ready = entry->vm_handle && turn->step == KHRONOS_READY;
    if (!entry->vm_handle || parked)
        entry->due_ns = 0;
    turn->end_ns = clock_monotonic_ns();
    uint64_t cost_ns = turn_cost_ns(self);
    if (turn->job == TURN_WORK)
        charge(self, cost_ns);
    if (turn->submitted)
        entry_judge(entry, !parked && !entry->ready, cost_ns);
    pthread_mutex_lock(&self->registry->lock);
    entry->parked = parked;
    entry->parked_turns = !parked                           ? 0
                          : entry->parked_turns < UINT8_MAX ? (uint8_t)(entry->parked_turns + 1)
                                                            : UINT8_MAX;
    entry->mail_count -= turn->mail_done;
    entry->executions += turn->executions_done;
    self->registry->stats.executions += turn->executions_done;
    self->registry->stats.refused += turn->refused;
    pthread_mutex_unlock(&self->registry->lock);
    hand_out_calls(self);
    complete_done(self);
}

void turn_take_locked(WorkThread *self, ThreadEntry *entry, TurnJob job, LuaVmAction *begun)
{
    BASE_DEBUG(!entry->taken);
    entry->taken = true;
    self->turn = (Turn){
        .entry = entry, .job = job, .step = KHRONOS_IDLE, .begun = begun, .mail = begun};
    if (job == TURN_WORK)
        self->turn.answers = entry_answers_take(entry);
    if (job == TURN_WORK && !begun && !entry->control_first && entry_mail_ready(entry))
        self->turn.mail = entry_mail_take(entry);
}

void turn_run(WorkThread *self)
{
    self->turn.start_ns = clock_monotonic_ns();
    volatile bool lost = true; /* it is looked at after the jump */
    if (sigsetjmp(self->panic.jump, 0) == 0) {
        self->panic.armed = true;
        lost = !do_job(self);
    }
    if (lost)
        recover(self);
    self->panic.armed = false;
    end_turn(self);
}

bool turn_has_more(const ThreadEntry *entry)
{
    return entry->ready || entry->answers_last || entry->control_first || entry_mail_ready(entry);
}
