#include "gateway/changes.h"

#include <stdio.h>
#include <string.h>

#include "core/document.h"
#include "core/log.h"

/* Nothing, where it was never measured. */
static void add_rtt(struct document *figures, uint32_t rtt_us)
{
    if (rtt_us)
        document_add_decimal(figures, "rtt_ms", rtt_us / 1000.0, 1);
}

static void add_loss(struct document *figures, uint32_t permille)
{
    if (permille)
        document_add_decimal(figures, "loss_percent", permille / 10.0, 1);
}

static bool is_change(const struct uplink_told *told, const struct uplink_told *now)
{
    if (!told->told || told->state != now->state)
        return true;
    /* An address that goes with its uplink, or before it is up, is no change of its own. */
    return now->state == UPLINK_DOWN ? strcmp(told->reason, now->reason) != 0
                                     : !addr_equal_ip(&told->address, &now->address);
}

void changes_uplink(struct events *events, struct uplink_told *told, const struct uplink *uplink,
                    uint8_t family, const struct gauge *gauge)
{
    struct uplink_told now = {.told = true,
                              .state = gauge_state(gauge, uplink),
                              .address = uplink_route(uplink, family)->address};
    char text[ADDR_TEXT];

    snprintf(now.reason, sizeof(now.reason), "%s", gauge_reason(gauge, uplink));
    if (!is_change(told, &now))
        return;
    bool moved = told->told && told->state == now.state && now.state != UPLINK_DOWN;
    struct event_note note = {.kind = "uplink",
                              .name = uplink->config->name,
                              .what = uplink_state_name(now.state),
                              .before = told->told ? uplink_state_name(told->state) : NULL,
                              .reason = moved ? "another address" : now.reason};
    struct document figures = {.depth = 0};
    document_open_object(&figures, NULL);
    if (now.address.family)
        document_add_text(&figures, "address", addr_format_ip(&now.address, text));
    add_rtt(&figures, gauge->rtt_us);
    add_loss(&figures, gauge->health.loss_permille);
    note.figures = document_finish(&figures);
    events_add(events, &note);
    *told = now;
}

void changes_path(struct events *events, const struct uplink *uplink, const char *what,
                  const char *reason, uint32_t token)
{
    struct event_note note = {
        .kind = "path", .name = uplink_name(uplink), .what = what, .reason = reason};
    struct document figures = {.depth = 0};
    char text[16];

    snprintf(text, sizeof(text), "%08x", token);
    document_open_object(&figures, NULL);
    document_add_text(&figures, "connection", text);
    note.figures = document_finish(&figures);
    events_add(events, &note);
}

void changes_worth(struct events *events, const struct uplink *uplink, const struct worth *worth)
{
    bool slow = worth_is_slow(worth);
    struct event_note note = {.kind = "path",
                              .name = uplink->config->name,
                              .what = slow ? "standby" : "active",
                              .before = slow ? "active" : "standby",
                              .reason = slow ? worth->reason : "takes part again"};

    events_add(events, &note);
}

static const char *explain_budget(const struct uplink *uplink, const struct budget_status *now)
{
    switch (now->state) {
    case BUDGET_OK:
        return "a new month";
    case BUDGET_LOW:
        return "four fifths are used";
    default:
        return uplink->config->on_budget == ON_BUDGET_OFF ? "it is used up: the uplink is off"
                                                          : "it is used up: the uplink stands by";
    }
}

void changes_budget(struct events *events, const struct uplink *uplink, enum budget_state before,
                    const struct budget_status *now)
{
    struct event_note note = {.kind = "budget",
                              .name = uplink->config->name,
                              .what = budget_state_name(now->state),
                              .before = budget_state_name(before),
                              .reason = explain_budget(uplink, now)};
    struct document figures = {.depth = 0};

    log_line(now->state == BUDGET_OK ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING, uplink->config->name,
             "budget %s: %s used_bytes=%llu limit_bytes=%llu", note.what, note.reason,
             (unsigned long long)now->used, (unsigned long long)now->limit);
    document_open_object(&figures, NULL);
    document_add_number(&figures, "used_bytes", now->used);
    document_add_number(&figures, "limit_bytes", now->limit);
    note.figures = document_finish(&figures);
    events_add(events, &note);
}

void changes_concentrator(struct events *events, enum concentrator_state before,
                          const struct concentrator_status *now)
{
    struct event_note note = {.kind = "concentrator",
                              .name = now->entry->name,
                              .what = concentrator_state_name(now->state),
                              .before = concentrator_state_name(before),
                              .reason = now->reason};
    struct document figures = {.depth = 0};
    char text[ADDR_TEXT];

    document_open_object(&figures, NULL);
    document_add_text(&figures, "address", addr_format(&now->entry->address, text));
    add_rtt(&figures, now->rtt_us);
    note.figures = document_finish(&figures);
    events_add(events, &note);
}

void changes_removed(struct events *events, const char *kind, const char *name)
{
    struct event_note note = {.kind = kind, .name = name, .what = "removed"};

    events_add(events, &note);
}

void changes_hindrance(struct events *events, const char *sysctl)
{
    struct event_note note = {.kind = "interception",
                              .name = "",
                              .what = sysctl ? "hindered" : "possible again",
                              .reason = sysctl};

    events_add(events, &note);
}

void changes_reload(struct events *events, const char *why)
{
    struct event_note note = {
        .kind = "gateway", .name = "", .what = why ? "not reloaded" : "reloaded", .reason = why};

    events_add(events, &note);
}
