#include "worker/lifecycle_round.h"

#include "base/base.h"

static bool has_id(const IdSet *set, int64_t id)
{
    for (int i = 0; i < set->count; i++)
        if (set->ids[i] == id)
            return true;
    return false;
}

static void add_id(IdSet *set, int64_t id)
{
    BASE_ASSERT(set->count < LIFECYCLE_PER_GUILD);
    set->ids[set->count++] = id;
}

void round_begin(Round *round, bool startup, VmBrokenReason reason, bool keys)
{
    BASE_ASSERT(round->under_way == 0 && !round->page && !round->reading);
    *round = (Round){
        .lifecycle = round->lifecycle,
        .guild_id = round->guild_id,
        .reason = reason,
        .startup_due = startup,
        .keys_due = keys,
        .vms = startup,
        .ready = round->ready,
        .sleep = round->sleep,
        .next_ready = round->next_ready,
    };
}

bool round_is_over(const Round *round)
{
    if (round->under_way > 0 || round->reading || round->page)
        return false;
    return round->dropped ||
           (!round->startup_due && !round->keys_due && round->again.count == 0 && !round->remade);
}

void round_remade(Round *round, VmBrokenReason reason, bool keys)
{
    if (!round->begun || round_is_over(round)) {
        round_begin(round, true, reason, keys);
        return;
    }
    round->vms++;
    round->reason = reason;
    if (round->vms == 1) {
        round->startup_due = true; /* the first VM since the worker started */
        return;
    }
    if (round->repeated || round->to_blame || !(round->startup_told || round->keys_told))
        return;
    round->remade = true;
    round->repeat_startup = round->startup_told;
    round->repeat_until_id = round->keys_told ? round->after_id : 0;
    round->told_since.count = 0;
    for (int i = 0; i < LIFECYCLE_PER_GUILD; i++)
        if (round->tellings[i].round && round->tellings[i].id != 0)
            add_id(&round->told_since, round->tellings[i].id);
    for (int i = 0; i < round->again.count; i++)
        if (round->told_since.count < LIFECYCLE_PER_GUILD)
            add_id(&round->told_since, round->again.ids[i]);
}

void round_advance(Round *round)
{
    if (!round->remade || round->startup_due || round->keys_due || round->again.count > 0 ||
        round->page || round->reading)
        return;
    round->remade = false;
    if (round->to_blame)
        return;
    round->repeated = true;
    round->startup_due = round->repeat_startup;
    round->keys_due = round->repeat_until_id > 0;
    round->after_id = 0;
    round->until_id = round->repeat_until_id;
}

int round_room(const Round *round)
{
    return LIFECYCLE_PER_GUILD - round->under_way - round->again.count;
}

bool round_wants(const Round *round, int64_t id)
{
    return !round->repeated || !has_id(&round->told_since, id);
}

Telling *round_tell(Round *round, int64_t id)
{
    for (int i = 0; i < LIFECYCLE_PER_GUILD; i++) {
        Telling *telling = &round->tellings[i];
        if (telling->round)
            continue;
        *telling = (Telling){round, id, round->vms};
        round->begun = true;
        round->under_way++;
        return telling;
    }
    BASE_PANIC("a round has %d events under way", round->under_way);
}

/* It is to be told again, as far as that has an end: what a VM that is gone got is told once more
 * when the next one was there already (else that one's coming sees to it). */
static bool is_in_vain(Round *round, const Telling *telling, TellingEnd end)
{
    if (end == TELLING_REFUSED)
        return true;
    return end == TELLING_LOST && telling->vms < round->vms && !round->to_blame &&
           round->retold++ < LIFECYCLE_PER_GUILD;
}

void round_told(Telling *telling, TellingEnd end, bool listened)
{
    Round *round = telling->round;
    telling->round = NULL;
    round->under_way--;
    round->to_blame = round->to_blame || end == TELLING_TO_BLAME;
    if (is_in_vain(round, telling, end)) {
        if (telling->id == 0)
            round->startup_due = true;
        else
            add_id(&round->again, telling->id);
        return;
    }
    if (!listened)
        return;
    if (telling->id == 0)
        round->startup_told = true;
    else
        round->keys_told = true;
}
