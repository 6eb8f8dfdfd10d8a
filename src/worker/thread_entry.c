#include "worker/thread_entry.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum { FADE_SHIFT_NS = 26 }; /* usage halves every 2^26 ns, about 67 ms */
#define LIGHT_NS (2 * CLOCK_NS_PER_MS)
#define MEDIUM_NS (20 * CLOCK_NS_PER_MS)
#define SHORT_NS (CLOCK_NS_PER_MS / 2)
enum { TRUST_MAX = 4, TRUST_LOST = -16 };
enum { DOUBLINGS_MAX = 6 };

/* A million idle guilds have one each. */
_Static_assert(sizeof(ThreadEntry) <= 250, "entries are small");

ThreadEntry *entry_new(uint64_t guild_id)
{
    ThreadEntry *entry = calloc(1, sizeof(*entry));
    if (entry)
        entry->guild_id = guild_id;
    return entry;
}

void entry_free(ThreadEntry *entry)
{
    BASE_ASSERT(entry->mail_count == 0 && entry->control_count == 0 && !entry->vm_handle);
    BASE_ASSERT(!entry->answers_last);
    free(entry->extra);
    free(entry);
}

EntryExtra *entry_extra(ThreadEntry *entry)
{
    if (!entry->extra)
        entry->extra = calloc(1, sizeof(*entry->extra));
    return entry->extra;
}

const KhronosLimits *entry_limits(const ThreadEntry *entry, const KhronosLimits *defaults)
{
    return entry && entry->extra && entry->extra->has_limits ? &entry->extra->limits : defaults;
}

/* ---- Mail ---- */

static void append(LuaVmAction **first, LuaVmAction **last, LuaVmAction *action)
{
    action->next = NULL;
    if (*last)
        (*last)->next = action;
    else
        *first = action;
    *last = action;
}

static LuaVmAction *take(LuaVmAction **first, LuaVmAction **last)
{
    LuaVmAction *action = *first;
    if (!action)
        return NULL;
    *first = action->next;
    if (!*first)
        *last = NULL;
    action->next = NULL;
    return action;
}

void entry_mail_put(ThreadEntry *entry, LuaVmAction *action)
{
    append(&entry->mail_first, &entry->mail_last, action);
    entry->mail_count++;
    entry->destroy_count += action->type == VM_ACTION_DESTROY;
}

LuaVmAction *entry_mail_take(ThreadEntry *entry)
{
    LuaVmAction *action = take(&entry->mail_first, &entry->mail_last);
    if (action && action->type == VM_ACTION_DESTROY)
        entry->destroy_count--;
    return action;
}

bool entry_mail_ready(const ThreadEntry *entry)
{
    bool held_up = entry->parked &&
                   (entry->destroy_count == 0 || entry->parked_turns < DESTROY_PATIENCE_TURNS);
    return entry->mail_first && !held_up;
}

static KhronosExecution *find_execution(LuaVmAction *action, const char *id, int *count)
{
    if (action->type != VM_ACTION_EXECUTE && action->type != VM_ACTION_DISPATCH_EVENT)
        return NULL;
    KhronosExecution *x = action_executions(action, count);
    for (int i = 0; i < *count; i++)
        if (x[i].status == KHRONOS_OK && x[i].id && strcmp(x[i].id, id) == 0)
            return &x[i];
    return NULL;
}

bool entry_mail_cancel(ThreadEntry *entry, const char *id, LuaVmAction **action)
{
    *action = NULL;
    LuaVmAction *before = NULL;
    for (LuaVmAction *mail = entry->mail_first; mail; before = mail, mail = mail->next) {
        int count;
        KhronosExecution *x = find_execution(mail, id, &count);
        if (!x)
            continue;
        x->status = KHRONOS_CANCELLED;
        strbuf_puts(&x->message, "the execution was cancelled before it started");
        if (count > 1)
            return true;
        if (before)
            before->next = mail->next;
        else
            entry->mail_first = mail->next;
        if (entry->mail_last == mail)
            entry->mail_last = before;
        mail->next = NULL;
        *action = mail;
        return true;
    }
    return false;
}

void entry_control_put(ThreadEntry *entry, LuaVmAction *action)
{
    append(&entry->control_first, &entry->control_last, action);
    entry->control_count++;
}

LuaVmAction *entry_control_take(ThreadEntry *entry)
{
    LuaVmAction *action = take(&entry->control_first, &entry->control_last);
    if (action)
        entry->control_count--;
    return action;
}

/* ---- Answers ---- */

void entry_answer_put(ThreadEntry *entry, KhronosCall *call)
{
    KhronosCall *last = entry->answers_last;
    call->next = last ? last->next : call;
    if (last)
        last->next = call;
    entry->answers_last = call;
}

KhronosCall *entry_answers_take(ThreadEntry *entry)
{
    KhronosCall *last = entry->answers_last;
    if (!last)
        return NULL;
    KhronosCall *first = last->next;
    last->next = NULL;
    entry->answers_last = NULL;
    return first;
}

void calls_drop_all(KhronosCall *calls)
{
    while (calls) {
        KhronosCall *call = calls;
        calls = call->next;
        call->kind->drop(call);
    }
}

/* ---- Queues and lists ---- */

void entryqueue_put(EntryQueue *queue, ThreadEntry *entry)
{
    entry->queue_next = NULL;
    if (queue->last)
        queue->last->queue_next = entry;
    else
        queue->first = entry;
    queue->last = entry;
}

ThreadEntry *entryqueue_take(EntryQueue *queue)
{
    ThreadEntry *entry = queue->first;
    if (!entry)
        return NULL;
    queue->first = entry->queue_next;
    if (!queue->first)
        queue->last = NULL;
    entry->queue_next = NULL;
    return entry;
}

void entrylist_put(EntryList *list, ThreadEntry *entry, EntryPlace place)
{
    BASE_DEBUG(entry->place == PLACE_NONE);
    entry->place = (uint8_t)place;
    entry->list_next = NULL;
    entry->list_prev = list->last;
    if (list->last)
        list->last->list_next = entry;
    else
        list->first = entry;
    list->last = entry;
    list->count++;
}

void entrylist_remove(EntryList *list, ThreadEntry *entry)
{
    if (entry->list_prev)
        entry->list_prev->list_next = entry->list_next;
    else
        list->first = entry->list_next;
    if (entry->list_next)
        entry->list_next->list_prev = entry->list_prev;
    else
        list->last = entry->list_prev;
    entry->list_prev = entry->list_next = NULL;
    entry->place = PLACE_NONE;
    list->count--;
}

/* ---- Usage ---- */

static uint64_t faded(const ThreadEntry *entry, uint64_t now_ns)
{
    uint64_t halvings = (now_ns - entry->usage_at_ns) >> FADE_SHIFT_NS;
    return halvings >= 64 ? 0 : entry->usage_ns >> halvings;
}

int entry_level(const ThreadEntry *entry, uint64_t now_ns)
{
    uint64_t usage_ns = faded(entry, now_ns);
    return usage_ns < LIGHT_NS ? 0 : usage_ns < MEDIUM_NS ? 1 : 2;
}

bool entry_goes_first(const ThreadEntry *entry, uint64_t now_ns)
{
    return !entry->ready && !entry->greedy && entry_level(entry, now_ns) == 0;
}

void entry_charge(ThreadEntry *entry, uint64_t end_ns, uint64_t cost_ns)
{
    uint64_t before = faded(entry, end_ns);
    /* Turns closer together than a halving would never fade: their start stays where it was. */
    if ((end_ns - entry->usage_at_ns) >> FADE_SHIFT_NS != 0)
        entry->usage_at_ns = end_ns;
    entry->usage_ns = before + cost_ns;
    entry->ran_ns = end_ns;
    entry->greedy = cost_ns >= SHORT_NS;
}

void entry_judge(ThreadEntry *entry, bool ended, uint64_t cost_ns)
{
    if (!ended) {
        entry->was_trusted = entry->trust > (entry->was_trusted ? TRUST_LOST : 0);
        entry->trust = TRUST_LOST;
    } else if (cost_ns < SHORT_NS && entry->trust < TRUST_MAX) {
        entry->trust++;
    } else if (cost_ns >= SHORT_NS && entry->trust > 0) {
        entry->trust = 0;
    }
}

/* ---- Shares ---- */

bool entry_overuses(ThreadEntry *entry, uint64_t end_ns, uint64_t cost_ns, uint64_t share_max_ns)
{
    uint64_t passed_ns = end_ns - entry->share_start_ns;
    if (passed_ns >= SHARE_WINDOW_NS) {
        bool adjacent = passed_ns < 2 * SHARE_WINDOW_NS;
        entry->share_before_us = adjacent ? entry->share_now_us : 0;
        entry->share_now_us = 0;
        entry->share_start_ns = adjacent ? entry->share_start_ns + SHARE_WINDOW_NS : end_ns;
        passed_ns = end_ns - entry->share_start_ns;
    }
    entry->share_now_us += (uint32_t)(cost_ns / CLOCK_NS_PER_US);
    /* Of the minute before as much as the last 60 seconds reach into it. */
    uint64_t left_ns = SHARE_WINDOW_NS - passed_ns;
    uint64_t before_us = entry->share_before_us * (left_ns / CLOCK_NS_PER_MS) /
                         (SHARE_WINDOW_NS / CLOCK_NS_PER_MS);
    return share_max_ns > 0 && entry->share_now_us + before_us > share_max_ns / CLOCK_NS_PER_US;
}

uint64_t entry_held_until_ns(const ThreadEntry *entry, uint64_t now_ns)
{
    bool held = entry->extra && entry->vm_handle && !entry->parked && !entry->mail_first &&
                !entry->control_first && entry->extra->history.paused_until_ns > now_ns;
    return held ? entry->extra->history.paused_until_ns : 0;
}

/* ---- Pauses ---- */

static void roll(PauseHistory *history, uint64_t window_ns, uint64_t now_ns)
{
    uint64_t passed = history->window_start_ns ? (now_ns - history->window_start_ns) / window_ns
                                               : 2;
    if (passed == 0)
        return;
    history->before = passed == 1 ? history->now : 0;
    history->now = 0;
    history->window_start_ns = passed == 1 ? history->window_start_ns + window_ns : now_ns;
}

/* Windows that passed without a broken VM. */
static uint64_t quiet_windows(const PauseHistory *history, uint64_t window_ns, uint64_t now_ns)
{
    return now_ns > history->last_ns ? (now_ns - history->last_ns) / window_ns : 0;
}

uint64_t pause_note(PauseHistory *history, const WorkerOptions *options, uint64_t now_ns)
{
    uint64_t window_ns = options->broken_window_ns;
    if (options->broken_max <= 0 || window_ns == 0)
        return 0;
    uint64_t quiet = quiet_windows(history, window_ns, now_ns);
    history->doublings -= quiet < (uint64_t)history->doublings ? (int)quiet : history->doublings;
    roll(history, window_ns, now_ns);
    history->now++;
    history->last_ns = now_ns;
    /* How many in the last window_ns: those of the former window count as far as it reaches. */
    uint64_t left_ns = window_ns - (now_ns - history->window_start_ns);
    uint64_t before = (uint64_t)((double)history->before * (double)left_ns / (double)window_ns);
    if (history->now + before <= (uint64_t)options->broken_max)
        return 0;
    uint64_t pause_ns = options->pause_ns << history->doublings;
    if (history->doublings < DOUBLINGS_MAX)
        history->doublings++;
    history->paused_until_ns = history->last_ns = now_ns + pause_ns;
    return pause_ns;
}

uint64_t pause_left_ns(const PauseHistory *history, uint64_t now_ns)
{
    return history->paused_until_ns > now_ns ? history->paused_until_ns - now_ns : 0;
}

bool pause_forgotten(const PauseHistory *history, const WorkerOptions *options, uint64_t now_ns)
{
    if (history->window_start_ns == 0)
        return history->paused_until_ns <= now_ns;
    uint64_t needed = (uint64_t)history->doublings + 2;
    return quiet_windows(history, options->broken_window_ns, now_ns) >= needed;
}
