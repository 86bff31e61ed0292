#include "gateway/ledger.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/state_file.h"
#include "core/sysctl.h"
#include "gateway/budget_file.h"
#include "gateway/changes.h"

#define LABEL "budgets"
#define FILE_NAME "budgets"
#define SAVE_MS (15 * 60 * 1000)

/* One uplink's. */
struct account {
    bool has_budget;
    struct budget budget;
    enum budget_state state;
    bool off; /* as it was told to changed() */
};

struct ledger {
    struct ledger_setup setup;
    struct event *look;
    struct state_writer *writer;
    struct budget_book book; /* as in the file, those of other uplinks, too */
    bool dirty;              /* something was counted since it was saved */
    bool failing;            /* the last save did */
    bool started;            /* ledger_new() has returned */
    uint64_t saved_ms;
    struct account of[UPLINKS_MAX];
};

static const struct uplink *uplink_of(const struct ledger *l, uint32_t index)
{
    return uplinks_get(l->setup.uplinks, index);
}

static int64_t now_s(const struct ledger *l)
{
    return (int64_t)(clock_told_ms(l->setup.time) / 1000);
}

/* --- the file --- */

static void report_file(struct ledger *l, const char *what, const char *reason)
{
    struct event_note note = {.kind = "budget", .name = FILE_NAME, .what = what, .reason = reason};

    log_warning(LABEL, "file %s: %s", what, reason);
    events_add(l->setup.events, &note);
}

static const char *remedy_for(int err)
{
    return err == -ENOSPC ? "; make room there" : "; can another state_dir be written?";
}

static void report_saved(struct ledger *l, int err)
{
    char reason[256];

    if (err && !l->failing) {
        snprintf(reason, sizeof(reason), "cannot write %s/" FILE_NAME " (state_dir): %s%s",
                 l->setup.config->state_dir, strerror(-err), remedy_for(err));
        report_file(l, "unsaved", reason);
    } else if (!err && l->failing) {
        log_info(LABEL, "saved again");
    }
    l->failing = err != 0;
    l->dirty = l->dirty || err;
}

static void on_saved(void *arg, int err)
{
    report_saved(arg, err);
}

static int write_text(struct ledger *l, char text[STATE_FILE_MAX + 1])
{
    for (uint32_t i = 0; i < uplinks_count(l->setup.uplinks); i++) {
        const struct account *a = &l->of[i];
        if (a->has_budget)
            budget_book_find(&l->book, uplink_of(l, i)->config->name, l->setup.config)->count =
                a->budget.count;
    }
    return budget_book_write(&l->book, text, STATE_FILE_MAX + 1);
}

static void save(struct ledger *l, uint64_t now_ms)
{
    char text[STATE_FILE_MAX + 1];
    int len = write_text(l, text);
    int err = len < 0 ? len : state_writer_save(l->writer, text, (size_t)len);

    if (err == -EBUSY)
        return;
    l->saved_ms = now_ms;
    l->dirty = false;
    if (err)
        report_saved(l, err);
}

static void set_aside(struct ledger *l, const char *why)
{
    const char *dir = l->setup.config->state_dir;
    char reason[256];
    int err = state_file_set_aside(dir, FILE_NAME);

    snprintf(reason, sizeof(reason), "%s/" FILE_NAME ": %s%s; all budgets count from zero", dir,
             why, err ? "" : " (now " FILE_NAME ".bad)");
    report_file(l, "lost", reason);
}

/* The counters of another life of the machine have begun anew since. */
static void forget_readings(struct budget_book *book)
{
    for (size_t i = 0; i < book->n; i++)
        book->entries[i].count.last = (struct budget_reading){0};
}

static void load(struct ledger *l)
{
    char text[STATE_FILE_MAX + 1], boot[BUDGET_BOOT_ID + 2] = "";
    int len = state_file_read(l->setup.config->state_dir, FILE_NAME, text);

    if (len >= 0 && budget_book_read(&l->book, text, (size_t)len) < 0)
        len = -EBADMSG;
    if (len < 0)
        l->book = (struct budget_book){0};
    if (len == -EBADMSG || len == -EFBIG)
        set_aside(l, "it is torn, or was changed by hand");
    else if (len < 0 && len != -ENOENT)
        set_aside(l, strerror(-len));
    if (sysctl_read("kernel/random/boot_id", boot, sizeof(boot)) < 0)
        strcpy(boot, "unknown");
    if (strcmp(boot, l->book.boot) != 0)
        forget_readings(&l->book);
    snprintf(l->book.boot, sizeof(l->book.boot), "%.*s", BUDGET_BOOT_ID, boot);
}

/* --- looking --- */

static bool is_off(const struct ledger *l, uint32_t index)
{
    return l->of[index].state == BUDGET_SPENT && l->setup.time->known &&
           uplink_of(l, index)->config->on_budget == ON_BUDGET_OFF;
}

static void follow_state(struct ledger *l, uint32_t index, enum budget_state before)
{
    struct account *a = &l->of[index];
    struct gauge *gauge = &l->setup.gauges->of[index];
    bool spent = a->state == BUDGET_SPENT, off = is_off(l, index);
    struct budget_status status;

    if (a->state != before) {
        ledger_status(l, index, &status);
        changes_budget(l->setup.events, uplink_of(l, index), before, &status);
    }
    if (gauge->spent == spent && a->off == off)
        return;
    gauge->spent = spent;
    a->off = off;
    if (l->started)
        l->setup.changed(l->setup.arg, index, off);
}

static void count(struct ledger *l, uint32_t index, uint64_t now_ms)
{
    struct budget *budget = &l->of[index].budget;
    const struct uplink *uplink = uplink_of(l, index);
    bool first = !budget->count.begun;
    struct uplink_counters counters;

    if (uplinks_read_counters(l->setup.uplinks, uplink, &counters) < 0)
        return; /* no such interface now */
    struct budget_reading reading = {uplink->ifindex, counters.rx_bytes, counters.tx_bytes};
    l->dirty = budget_add(budget, &reading, now_ms) > 0 || first || l->dirty;
}

static void look_at(struct ledger *l, uint32_t index, uint64_t now_ms)
{
    struct account *a = &l->of[index];
    enum budget_state before = a->state;

    count(l, index, now_ms);
    if (l->setup.time->known && budget_turn(&a->budget, now_s(l)))
        l->dirty = true;
    a->state = budget_judge(&a->budget, gauge_delay_us(&l->setup.gauges->of[index]));
    follow_state(l, index, before);
}

static void look(struct ledger *l)
{
    uint64_t now_ms = clock_now_ms();
    uint32_t next_ms = UINT32_MAX;

    for (uint32_t i = 0; i < uplinks_count(l->setup.uplinks); i++) {
        if (!l->of[i].has_budget)
            continue;
        look_at(l, i, now_ms);
        uint32_t ms = budget_next_ms(&l->of[i].budget);
        next_ms = ms < next_ms ? ms : next_ms;
    }
    if (l->dirty && now_ms - l->saved_ms >= SAVE_MS)
        save(l, now_ms);
    struct timeval in = {.tv_sec = next_ms / 1000, .tv_usec = (suseconds_t)(next_ms % 1000) * 1000};
    event_add(l->look, &in);
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
    look(arg);
}

void ledger_time_told(struct ledger *l)
{
    if (l)
        event_active(l->look, 0, 0);
}

bool ledger_is_off(const struct ledger *l, uint32_t index)
{
    return l && l->of[index].off;
}

bool ledger_status(struct ledger *l, uint32_t index, struct budget_status *out)
{
    if (!l || !l->of[index].has_budget)
        return false;
    const struct budget *b = &l->of[index].budget;
    uint64_t used = b->count.now.used;

    *out = (struct budget_status){.limit = b->limit,
                                  .used = used,
                                  .left = used < b->limit ? b->limit - used : 0,
                                  .dated = l->setup.time->known,
                                  .state = l->of[index].state};
    if (out->dated)
        out->days_left = budget_days_left(b, now_s(l));
    return true;
}

/* --- start and end --- */

static void open_accounts(struct ledger *l)
{
    for (uint32_t i = 0; i < uplinks_count(l->setup.uplinks); i++) {
        const struct uplink_config *config = uplink_of(l, i)->config;
        if (config->monthly_budget == 0)
            continue;
        struct budget_count *kept =
            &budget_book_find(&l->book, config->name, l->setup.config)->count;
        l->of[i].has_budget = true;
        budget_init(&l->of[i].budget, config->monthly_budget, config->budget_day,
                    kept->day ? kept : NULL);
    }
}

int ledger_new(struct ledger **out, const struct ledger_setup *setup)
{
    struct ledger *l = calloc(1, sizeof(*l));

    if (!l)
        return -ENOMEM;
    l->setup = *setup;
    l->look = evtimer_new(setup->base, on_look, l);
    int err = l->look ? state_writer_new(&l->writer, setup->base, setup->config->state_dir,
                                         FILE_NAME, on_saved, l)
                      : -ENOMEM;
    if (err) {
        ledger_free(l);
        return err;
    }
    load(l);
    open_accounts(l);
    l->saved_ms = clock_now_ms();
    look(l);
    /* Whether it can be written is better known now than in 15 minutes. */
    save(l, l->saved_ms);
    l->started = true;
    *out = l;
    return 0;
}

static void save_at_end(struct ledger *l)
{
    char text[STATE_FILE_MAX + 1];
    uint64_t now_ms = clock_now_ms();

    for (uint32_t i = 0; i < uplinks_count(l->setup.uplinks); i++) {
        if (l->of[i].has_budget)
            count(l, i, now_ms);
    }
    int len = write_text(l, text);
    report_saved(
        l,
        len < 0 ? len : state_file_write(l->setup.config->state_dir, FILE_NAME, text, (size_t)len));
}

void ledger_free(struct ledger *l)
{
    if (!l)
        return;
    if (l->writer) {
        state_writer_free(l->writer);
        save_at_end(l);
    }
    if (l->look)
        event_free(l->look);
    free(l);
}
