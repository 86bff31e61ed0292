#include "cli/top_view.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli/units.h"
#include "cli/view.h"

#define KEY_TEXT_MAX 48
#define LINE_TEXT 2048
#define NAME_COLUMNS 12 /* a name may have these, and on a wide screen more */
#define STATE_COLUMNS 9 /* "degraded" and a blank */
#define RATE_COLUMNS 11 /* a blank, "48.1 Mb/s" and a blank */
#define DELAY_COLUMNS 8
#define END_COLUMNS 24    /* of a flow: an IPv4 address and port, and a blank; or more */
#define SHARES_COLUMNS 20 /* of a flow: what its uplinks carry may have these; or more */
#define FLOW_BAR 8        /* a flow's bar gives up no more for that */
#define ROLE_COLUMNS 9    /* " standby", at the end */
#define BAR_MIN 4         /* a shorter one says nothing */
#define SHARES_MAX 64     /* subflows of a flow, and a text of them */
#define SHARES_TEXT 1024
#define SCALE_COLUMNS 16 /* one that has room for its scale above it */
#define SCALE_MIN_BPS 1000000.0

/* What one flow, or one gateway, had carried, and how fast it does. */
struct meter {
    char key[KEY_TEXT_MAX];
    uint64_t rx_bytes, tx_bytes;
    double rx_bps, tx_bps;
};

struct meters {
    struct meter *list;
    size_t n;
};

struct top_memory {
    struct meters flows, gateways;
    uint64_t at_ms;     /* 0: there was no frame yet */
    double fastest_bps; /* of an uplink, since top was started */
};

struct top_memory *top_memory_new(void)
{
    return calloc(1, sizeof(struct top_memory));
}

void top_memory_free(struct top_memory *memory)
{
    if (!memory)
        return;
    free(memory->flows.list);
    free(memory->gateways.list);
    free(memory);
}

/* ---- rates ---- */

static const struct meter *find_meter(const struct meters *meters, const char *key)
{
    for (size_t i = 0; i < meters->n; i++) {
        if (strcmp(meters->list[i].key, key) == 0)
            return &meters->list[i];
    }
    return NULL;
}

static void key_of(struct json_object *object, const char *field, char out[KEY_TEXT_MAX])
{
    if (view_has(object, "id"))
        snprintf(out, KEY_TEXT_MAX, "%" PRIu64, view_count(object, "id"));
    else
        snprintf(out, KEY_TEXT_MAX, "%s", view_text(object, field));
}

static double rate_of(uint64_t before, uint64_t now, double seconds)
{
    return now > before && seconds > 0 ? (double)(now - before) * 8 / seconds : 0;
}

static void read_meters(struct meters *meters, struct json_object *list, const char *field,
                        double seconds)
{
    size_t n = view_length(list);
    struct meters next = {calloc(n ? n : 1, sizeof(struct meter)), 0};

    for (size_t i = 0; next.list && i < n; i++) {
        struct json_object *object = json_object_array_get_idx(list, i);
        struct meter *m = &next.list[next.n++];
        key_of(object, field, m->key);
        m->rx_bytes = view_count(object, "rx_bytes");
        m->tx_bytes = view_count(object, "tx_bytes");
        const struct meter *before = find_meter(meters, m->key);
        if (before) {
            m->rx_bps = rate_of(before->rx_bytes, m->rx_bytes, seconds);
            m->tx_bps = rate_of(before->tx_bytes, m->tx_bytes, seconds);
        }
    }
    free(meters->list);
    *meters = next;
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

void top_update(struct top_memory *memory, struct json_object *status, struct json_object *flows,
                uint64_t now_ms)
{
    double seconds = memory->at_ms ? (double)(now_ms - memory->at_ms) / 1000 : 0;
    struct json_object *uplinks = view_list(status, "uplinks");

    read_meters(&memory->flows, json_object_is_type(flows, json_type_array) ? flows : NULL,
                "source", seconds);
    read_meters(&memory->gateways, view_list(status, "gateways"), "name", seconds);
    memory->at_ms = now_ms;
    for (size_t i = 0; i < view_length(uplinks); i++) {
        struct json_object *u = json_object_array_get_idx(uplinks, i);
        memory->fastest_bps = larger(memory->fastest_bps, view_number(u, "rx_bps"));
        memory->fastest_bps = larger(memory->fastest_bps, view_number(u, "tx_bps"));
        memory->fastest_bps = larger(memory->fastest_bps, view_number(u, "rx_capacity_bps"));
        memory->fastest_bps = larger(memory->fastest_bps, view_number(u, "tx_capacity_bps"));
    }
}

/* 1, 2, 5, 10 ... Mb/s: a scale that does not move with every frame. */
static double round_scale(double bps)
{
    static const double steps[] = {1, 2, 5};

    for (double decade = SCALE_MIN_BPS;; decade *= 10) {
        for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
            if (bps <= steps[i] * decade)
                return steps[i] * decade;
        }
    }
}

/* ---- lines ---- */

/* Drawn from left to right; what is beyond the screen's width is left out. */
struct line {
    const struct top_page *page;
    char text[LINE_TEXT];
    size_t bytes;
    int columns;
};

struct frame {
    const struct top_page *page;
    int lines;
};

static void put_bytes(struct line *l, const char *bytes, size_t n)
{
    if (l->bytes + n < sizeof(l->text)) {
        memcpy(l->text + l->bytes, bytes, n);
        l->bytes += n;
        l->text[l->bytes] = '\0';
    }
}

static void set_paint(struct line *l, enum paint paint)
{
    const char *code = screen_paint(&l->page->screen, paint);

    put_bytes(l, code, strlen(code));
}

/* Text of one column for each byte. */
static void put_text(struct line *l, enum paint paint, const char *text)
{
    int room = l->page->width - l->columns;
    int n = (int)strlen(text) < room ? (int)strlen(text) : room;

    if (n <= 0)
        return;
    set_paint(l, paint);
    put_bytes(l, text, (size_t)n);
    if (paint != PAINT_NONE)
        set_paint(l, PAINT_NONE);
    l->columns += n;
}

__attribute__((format(printf, 3, 4))) static void put(struct line *l, enum paint paint,
                                                      const char *fmt, ...)
{
    char text[LINE_TEXT / 2];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    screen_clean(text);
    put_text(l, paint, text);
}

/* A text in so many columns; a longer one is cut. */
static void put_cell(struct line *l, enum paint paint, int columns, const char *text)
{
    put(l, paint, "%-*.*s", columns, columns - 1, text);
}

/* Eighths of a character, from one to all. */
static const char blocks[][4] = {"▏", "▎", "▍", "▌", "▋", "▊", "▉", "█"};

/* A bar in so many columns: full at scale; the rest, up to capacity, in a lighter tone. */
static void put_bar(struct line *l, enum paint paint, int columns, double value, double capacity,
                    double scale)
{
    double eighths = value / scale * columns * 8, known = capacity / scale * columns;

    if (l->columns + columns > l->page->width)
        columns = l->page->width - l->columns;
    set_paint(l, paint);
    for (int i = 0; i < columns; i++, l->columns++) {
        double rest = eighths - i * 8;
        int part = rest >= 8 ? 8 : (int)rest;
        const char *mark = i < known ? l->page->utf8 ? "·" : "." : " ";
        if (part > 0 && l->page->utf8)
            mark = blocks[part - 1];
        else if (rest >= 4 && !l->page->utf8)
            mark = "#";
        put_bytes(l, mark, strlen(mark));
    }
    set_paint(l, PAINT_NONE);
}

static bool is_full(const struct frame *f)
{
    return f->page->height > 0 && f->lines >= f->page->height;
}

static void end_line(struct frame *f, struct line *l)
{
    if (is_full(f))
        return;
    if (!f->page->terminal) {
        while (l->bytes > 0 && l->text[l->bytes - 1] == ' ')
            l->text[--l->bytes] = '\0';
    }
    /* The last line of a screen must not scroll it. */
    bool last = f->page->height > 0 && f->lines + 1 == f->page->height;
    fprintf(f->page->screen.out, "%s%s", l->text,
            !f->page->terminal ? "\n"
            : last             ? "\033[K"
                               : "\033[K\n");
    f->lines++;
}

/* How many of n lines fit, after one more. */
static size_t room_for(const struct frame *f, size_t n)
{
    int room = f->page->height - f->lines - 1;

    if (f->page->height <= 0 || (room > 0 && (size_t)room > n))
        return n;
    return room > 0 ? (size_t)room : 0;
}

static struct line begin_line(const struct frame *f)
{
    return (struct line){.page = f->page};
}

static void blank_line(struct frame *f)
{
    struct line l = begin_line(f);

    end_line(f, &l);
}

/* ---- what the lines are of ---- */

static int larger_of(int a, int b)
{
    return a > b ? a : b;
}

/* How the width is shared; 0: left out. */
struct columns {
    int name, bar, delay;
    bool both; /* directions */
};

static int name_columns(struct json_object *list, int width)
{
    int columns = 4, most = larger_of(NAME_COLUMNS, width / 5);

    for (size_t i = 0; i < view_length(list); i++) {
        int len = (int)strlen(view_text(json_object_array_get_idx(list, i), "name")) + 2;
        columns = len > columns ? len : columns;
    }
    return columns < most ? columns : most;
}

/* Two bars and the delay, where they fit; else first the delay goes, then the bar upwards, then the
 * other one. */
static struct columns share_width(int width, int name)
{
    struct columns c = {.name = name, .both = true, .delay = DELAY_COLUMNS};
    int rest = width - name - STATE_COLUMNS;

    c.bar = (rest - 2 * RATE_COLUMNS - c.delay - ROLE_COLUMNS) / 2;
    if (c.bar < BAR_MIN) {
        c.delay = 0;
        c.bar = (rest - 2 * RATE_COLUMNS) / 2;
    }
    if (c.bar < BAR_MIN) {
        c.both = false;
        c.bar = rest - RATE_COLUMNS;
    }
    if (c.bar < BAR_MIN)
        c.bar = 0;
    return c;
}

static void put_rate(struct line *l, double bps, enum paint paint)
{
    char text[UNITS_TEXT];

    put(l, paint, "%*s ", RATE_COLUMNS - 1, units_rate((uint64_t)bps, text));
}

static void put_direction(struct line *l, const struct columns *c, double bps, double capacity,
                          double scale)
{
    if (c->bar > 0)
        put_bar(l, PAINT_GOOD, c->bar, bps, capacity, scale);
    put_rate(l, bps, bps > 0 ? PAINT_BOLD : PAINT_FAINT);
}

static void put_titles(struct frame *f, const struct columns *c, const char *title, double scale)
{
    struct line l = begin_line(f);
    char full[UNITS_TEXT], text[2 * UNITS_TEXT] = "down";
    int field = c->bar + RATE_COLUMNS;

    put(&l, PAINT_BOLD, "%-*s", c->name + STATE_COLUMNS, title);
    if (c->bar >= SCALE_COLUMNS)
        snprintf(text, sizeof(text), "down; full: %s", units_rate((uint64_t)scale, full));
    put(&l, PAINT_FAINT, "%-*s", field, text);
    if (c->both)
        put(&l, PAINT_FAINT, "%-*s", field, "up");
    if (c->delay > 0)
        put(&l, PAINT_FAINT, "%*s", c->delay - 1, "rtt");
    end_line(f, &l);
}

static void put_uplink(struct frame *f, const struct columns *c, struct json_object *u,
                       double scale)
{
    struct line l = begin_line(f);
    const char *state = view_text(u, "state"), *reason = view_text(u, "reason");
    char delay[UNITS_TEXT];

    put_cell(&l, PAINT_NONE, c->name, view_text(u, "name"));
    put_cell(&l, view_paint_state(state), STATE_COLUMNS, state);
    if (*reason && (strcmp(state, "down") == 0 || strcmp(state, "dead") == 0)) {
        put(&l, PAINT_WARN, "%s", reason);
        end_line(f, &l);
        return;
    }
    put_direction(&l, c, view_number(u, "rx_bps"), view_number(u, "rx_capacity_bps"), scale);
    if (c->both)
        put_direction(&l, c, view_number(u, "tx_bps"), view_number(u, "tx_capacity_bps"), scale);
    if (c->delay > 0)
        put(&l, PAINT_NONE, "%*s", c->delay - 1,
            view_has(u, "rtt_ms") ? units_delay(view_number(u, "rtt_ms"), delay) : "");
    if (strcmp(view_text(u, "role"), "active") != 0)
        put(&l, PAINT_FAINT, " %s", view_text(u, "role"));
    end_line(f, &l);
}

static void put_sum(struct frame *f, const struct columns *c, struct json_object *uplinks)
{
    struct line l = begin_line(f);
    double down = 0, up = 0;

    for (size_t i = 0; i < view_length(uplinks); i++) {
        down += view_number(json_object_array_get_idx(uplinks, i), "rx_bps");
        up += view_number(json_object_array_get_idx(uplinks, i), "tx_bps");
    }
    put(&l, PAINT_FAINT, "%-*s", c->name + STATE_COLUMNS + c->bar, "together");
    put_rate(&l, down, PAINT_BOLD);
    if (c->both) {
        put(&l, PAINT_NONE, "%*s", c->bar, "");
        put_rate(&l, up, PAINT_BOLD);
    }
    end_line(f, &l);
}

static void put_uplinks(struct frame *f, const struct top_memory *m, struct json_object *uplinks)
{
    struct columns c = share_width(f->page->width, name_columns(uplinks, f->page->width));
    double scale = round_scale(m->fastest_bps);

    put_titles(f, &c, "uplinks", scale);
    for (size_t i = 0; i < view_length(uplinks); i++)
        put_uplink(f, &c, json_object_array_get_idx(uplinks, i), scale);
    put_sum(f, &c, uplinks);
}

static double fastest(const struct meters *meters)
{
    double bps = 0;

    for (size_t i = 0; i < meters->n; i++)
        bps = larger(bps, larger(meters->list[i].rx_bps, meters->list[i].tx_bps));
    return bps;
}

static void put_gateways(struct frame *f, const struct top_memory *m, struct json_object *gateways)
{
    struct columns c = share_width(f->page->width, name_columns(gateways, f->page->width));
    double scale = round_scale(fastest(&m->gateways));

    c.delay = 0; /* a gateway's is not known here */
    put_titles(f, &c, "gateways", scale);
    for (size_t i = 0; i < view_length(gateways); i++) {
        struct json_object *gateway = json_object_array_get_idx(gateways, i);
        const struct meter *meter = find_meter(&m->gateways, view_text(gateway, "name"));
        struct line l = begin_line(f);
        char flows[UNITS_TEXT];

        snprintf(flows, sizeof(flows), "%" PRIu64 " now", view_count(gateway, "flows"));
        put_cell(&l, PAINT_NONE, c.name, view_text(gateway, "name"));
        put_cell(&l, PAINT_NONE, STATE_COLUMNS, flows);
        /* What a gateway's clients receive is what is sent to it. */
        put_direction(&l, &c, meter ? meter->tx_bps : 0, 0, scale);
        if (c.both)
            put_direction(&l, &c, meter ? meter->rx_bps : 0, 0, scale);
        end_line(f, &l);
    }
}

/* ---- flows ---- */

struct row {
    struct json_object *flow;
    const struct meter *meter;
};

static double busy(const struct row *row)
{
    return row->meter ? row->meter->rx_bps + row->meter->tx_bps : 0;
}

/* The busiest first, then the newest. */
static int by_rate(const void *a, const void *b)
{
    const struct row *one = a, *other = b;
    double difference = busy(other) - busy(one);

    if (difference > 0 || difference < 0)
        return difference > 0 ? 1 : -1;
    return view_number(one->flow, "age_s") < view_number(other->flow, "age_s") ? -1 : 1;
}

static struct row *sort_flows(const struct top_memory *m, struct json_object *flows, size_t n)
{
    struct row *rows = calloc(n ? n : 1, sizeof(*rows));

    for (size_t i = 0; rows && i < n; i++) {
        char key[KEY_TEXT_MAX];
        rows[i].flow = json_object_array_get_idx(flows, i);
        key_of(rows[i].flow, "source", key);
        rows[i].meter = find_meter(&m->flows, key);
    }
    if (rows)
        qsort(rows, n, sizeof(*rows), by_rate);
    return rows;
}

struct share {
    const char *uplink;
    double bytes;
};

static int by_share(const void *a, const void *b)
{
    double one = ((const struct share *)a)->bytes, other = ((const struct share *)b)->bytes;

    return (one < other) - (one > other);
}

/* "dsl 52 %, lte 48 %" of all that the flow has carried: the largest first, since what does not fit
 * is cut. At the concentrator, which sees no uplinks, whose flow it is. */
static void tell_shares(struct json_object *flow, char *out, size_t len)
{
    struct json_object *subflows = view_list(flow, "subflows");
    struct share shares[SHARES_MAX];
    size_t n = 0, used = 0;
    double total = 0;

    out[0] = '\0';
    if (!view_has(flow, "subflows"))
        snprintf(out, len, "%s", view_text(flow, "gateway"));
    for (; n < view_length(subflows) && n < SHARES_MAX; n++) {
        struct json_object *s = json_object_array_get_idx(subflows, n);
        shares[n].uplink = view_text(s, "uplink");
        shares[n].bytes = view_number(s, "rx_bytes") + view_number(s, "tx_bytes");
        total += shares[n].bytes;
    }
    qsort(shares, n, sizeof(shares[0]), by_share);
    for (size_t i = 0; i < n && used < len; i++)
        used += (size_t)snprintf(out + used, len - used, "%s%s %.0f %%", i ? ", " : "",
                                 shares[i].uplink, total > 0 ? 100 * shares[i].bytes / total : 0);
}

/* How the width is shared among the columns of flows; bar 0: left out. */
struct flow_columns {
    int end, bar;
};

/* Where the ends and the shares are long, the bar makes room for them. */
static struct flow_columns share_flow_width(int width, const struct row *rows, size_t n)
{
    struct flow_columns c = {.end = END_COLUMNS};
    int shares = SHARES_COLUMNS;
    char text[SHARES_TEXT];

    for (size_t i = 0; i < n; i++) {
        c.end = larger_of(c.end, (int)strlen(view_text(rows[i].flow, "destination")) + 1);
        tell_shares(rows[i].flow, text, sizeof(text));
        shares = larger_of(shares, (int)strlen(text));
    }
    if (c.end > larger_of(END_COLUMNS, width / 3))
        c.end = larger_of(END_COLUMNS, width / 3);
    int rest = width - c.end - 2 * RATE_COLUMNS, least = rest - SHARES_COLUMNS;
    c.bar = larger_of(rest - shares, least < FLOW_BAR ? least : FLOW_BAR);
    c.bar = c.bar < BAR_MIN ? 0 : c.bar;
    return c;
}

static void put_flow(struct frame *f, const struct flow_columns *c, const struct row *row,
                     double scale)
{
    struct line l = begin_line(f);
    double down = row->meter ? row->meter->rx_bps : 0, up = row->meter ? row->meter->tx_bps : 0;
    /* On the VPS, what comes in is what the destination sends. */
    bool of_gateway = view_has(row->flow, "subflows");
    char shares[SHARES_TEXT];

    put_cell(&l, PAINT_NONE, c->end, view_text(row->flow, "destination"));
    if (c->bar > 0)
        put_bar(&l, PAINT_GOOD, c->bar, busy(row), 0, scale);
    put_rate(&l, of_gateway ? down : up, PAINT_NONE);
    put_rate(&l, of_gateway ? up : down, PAINT_NONE);
    tell_shares(row->flow, shares, sizeof(shares));
    put(&l, PAINT_NONE, "%s", shares);
    end_line(f, &l);
}

static void put_flow_titles(struct frame *f, const struct flow_columns *c, size_t n)
{
    struct line l = begin_line(f);
    char title[END_COLUMNS];

    snprintf(title, sizeof(title), "%zu flow%s", n, n == 1 ? "" : "s");
    put(&l, PAINT_BOLD, "%-*s", c->end, title);
    put(&l, PAINT_FAINT, "%*s%*s ", c->bar + RATE_COLUMNS - 1, "down", RATE_COLUMNS, "up");
    end_line(f, &l);
}

static void put_flows(struct frame *f, const struct top_memory *m, struct json_object *flows)
{
    size_t n = json_object_is_type(flows, json_type_array) ? json_object_array_length(flows) : 0;
    struct row *rows = sort_flows(m, flows, n);
    size_t shown = !rows ? 0 : room_for(f, n);
    struct flow_columns c = share_flow_width(f->page->width, rows, shown);
    double scale = round_scale(shown > 0 ? busy(&rows[0]) : 0);

    put_flow_titles(f, &c, n);
    for (size_t i = 0; i < shown; i++)
        put_flow(f, &c, &rows[i], scale);
    free(rows);
}

/* ---- the whole ---- */

static void put_head(struct frame *f, struct json_object *status, const char *complaint)
{
    struct line l = begin_line(f);
    struct screen nowhere = {.out = NULL};
    char up[UNITS_TEXT];

    put(&l, PAINT_BOLD, "bondway %s", view_text(status, "role"));
    put(&l, PAINT_NONE, " %s, for %s", view_text(status, "version"),
        units_time(view_number(status, "uptime_s"), up));
    if (*complaint)
        put(&l, PAINT_BAD, "  gone: what it said last");
    else if (view_status(status, &nowhere) != EXIT_WELL)
        put(&l, PAINT_WARN, "  degraded: `bondway status` says how");
    if (f->page->terminal)
        put(&l, PAINT_FAINT, "  (q: end)");
    end_line(f, &l);
    l = begin_line(f);
    put(&l, PAINT_BAD, "%s", complaint);
    end_line(f, &l);
}

void top_render(const struct top_memory *memory, struct json_object *status,
                struct json_object *flows, const char *complaint, const struct top_page *page)
{
    struct frame f = {.page = page};

    put_head(&f, status, complaint);
    if (view_has(status, "uplinks"))
        put_uplinks(&f, memory, view_list(status, "uplinks"));
    else
        put_gateways(&f, memory, view_list(status, "gateways"));
    blank_line(&f);
    put_flows(&f, memory, flows);
    if (page->terminal && !is_full(&f))
        fputs("\033[J", page->screen.out);
}
