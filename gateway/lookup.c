#include "gateway/lookup.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct lookup {
    size_t width, words;
    size_t n_ranges, n_sets;
    uint8_t *firsts;  /* of each range its first value; the first of all is 0 */
    uint32_t *set_of; /* each range's set */
    uint64_t *sets;   /* no two alike */
};

/* From this value on, an interval of the rule has begun, or has ended. */
struct edge {
    uint8_t at[LOOKUP_WIDTH_MAX];
    uint32_t rule;
    int step; /* 1 or -1 */
};

/* The sweep over all edges in order. */
struct sweep {
    struct lookup *lookup;
    struct edge *edges;
    size_t n_edges;
    uint32_t *open;   /* how many intervals of each rule hold here */
    uint64_t *now;    /* the rules of which any does */
    uint32_t *hashed; /* sets by their hash: index + 1, or 0 */
    size_t hash_size; /* a power of two */
};

static int by_value(const void *a, const void *b)
{
    const struct edge *one = a, *other = b;

    return memcmp(one->at, other->at, LOOKUP_WIDTH_MAX);
}

/* False when there is no next value. */
static bool increment(uint8_t *value, size_t width)
{
    for (size_t i = width; i-- > 0;) {
        if (++value[i] != 0)
            return true;
    }
    return false;
}

static void add_edges(struct sweep *s, const struct lookup_interval *interval)
{
    struct edge begin = {.rule = interval->rule, .step = 1},
                end = {.rule = interval->rule, .step = -1};

    memcpy(begin.at, interval->first, sizeof(begin.at));
    memcpy(end.at, interval->last, sizeof(end.at));
    s->edges[s->n_edges++] = begin;
    if (increment(end.at, s->lookup->width))
        s->edges[s->n_edges++] = end;
}

static uint64_t *set_at(const struct lookup *l, size_t index)
{
    return l->sets + index * l->words;
}

static size_t hash_of(const uint64_t *set, size_t words)
{
    uint64_t hash = 0;

    for (size_t i = 0; i < words; i++)
        hash = (hash ^ set[i]) * UINT64_C(0x9e3779b97f4a7c15);
    return (size_t)(hash >> 32);
}

/* The index of the set that holds now. */
static uint32_t intern(struct sweep *s)
{
    struct lookup *l = s->lookup;
    size_t bytes = l->words * sizeof(uint64_t);
    size_t at = hash_of(s->now, l->words) & (s->hash_size - 1);

    for (; s->hashed[at]; at = (at + 1) & (s->hash_size - 1)) {
        if (memcmp(set_at(l, s->hashed[at] - 1), s->now, bytes) == 0)
            return s->hashed[at] - 1;
    }
    memcpy(set_at(l, l->n_sets), s->now, bytes);
    s->hashed[at] = (uint32_t)++l->n_sets;
    return s->hashed[at] - 1;
}

static void apply(struct sweep *s, const struct edge *edge)
{
    uint64_t bit = UINT64_C(1) << edge->rule % 64;

    s->open[edge->rule] += (uint32_t)edge->step;
    if (s->open[edge->rule])
        s->now[edge->rule / 64] |= bit;
    else
        s->now[edge->rule / 64] &= ~bit;
}

/* From `first` on, the rules are as now: another range, unless they are as before. */
static void note_range(struct sweep *s, const uint8_t *first)
{
    struct lookup *l = s->lookup;
    uint32_t set = intern(s);

    if (l->n_ranges > 0 && l->set_of[l->n_ranges - 1] == set)
        return;
    memcpy(l->firsts + l->n_ranges * l->width, first, l->width);
    l->set_of[l->n_ranges++] = set;
}

static void sweep_all(struct sweep *s)
{
    static const uint8_t zero[LOOKUP_WIDTH_MAX];
    size_t i = 0;

    qsort(s->edges, s->n_edges, sizeof(*s->edges), by_value);
    while (i < s->n_edges && memcmp(s->edges[i].at, zero, sizeof(zero)) == 0)
        apply(s, &s->edges[i++]);
    note_range(s, zero);
    while (i < s->n_edges) {
        const uint8_t *at = s->edges[i].at;
        while (i < s->n_edges && memcmp(s->edges[i].at, at, LOOKUP_WIDTH_MAX) == 0)
            apply(s, &s->edges[i++]);
        note_range(s, at);
    }
}

/* As much as there can be: a range for each edge, and a set for each range. */
static bool make_room(struct sweep *s, size_t n_rules, size_t n_intervals)
{
    struct lookup *l = s->lookup;
    size_t most = 2 * n_intervals + 1;

    for (s->hash_size = 2; s->hash_size < 2 * most; s->hash_size *= 2)
        ;
    s->edges = calloc(most, sizeof(*s->edges));
    s->open = calloc(n_rules + 1, sizeof(*s->open));
    s->now = calloc(l->words + 1, sizeof(*s->now));
    s->hashed = calloc(s->hash_size, sizeof(*s->hashed));
    l->firsts = calloc(most, l->width);
    l->set_of = calloc(most, sizeof(*l->set_of));
    l->sets = calloc(most, (l->words + 1) * sizeof(*l->sets));
    return s->edges && s->open && s->now && s->hashed && l->firsts && l->set_of && l->sets;
}

/* What the ranges that came out do not need is given back; a smaller piece of memory there always
 * is, or else the old one stays. */
static void *shrink(void *memory, size_t n, size_t size)
{
    size_t bytes = n * size;
    void *smaller = realloc(memory, bytes > 0 ? bytes : 1);

    return smaller ? smaller : memory;
}

struct lookup *lookup_new(size_t width, size_t n_rules, const struct lookup_interval *intervals,
                          size_t n)
{
    struct lookup *l = calloc(1, sizeof(*l));
    struct sweep s = {.lookup = l};

    if (!l)
        return NULL;
    l->width = width;
    l->words = lookup_words(n_rules);
    bool fits = make_room(&s, n_rules, n);
    if (fits) {
        for (size_t i = 0; i < n; i++)
            add_edges(&s, &intervals[i]);
        sweep_all(&s);
        l->firsts = shrink(l->firsts, l->n_ranges, l->width);
        l->set_of = shrink(l->set_of, l->n_ranges, sizeof(*l->set_of));
        l->sets = shrink(l->sets, l->n_sets, l->words * sizeof(*l->sets));
    }
    free(s.edges);
    free(s.open);
    free(s.now);
    free(s.hashed);
    if (fits)
        return l;
    lookup_free(l);
    return NULL;
}

void lookup_free(struct lookup *l)
{
    if (!l)
        return;
    free(l->firsts);
    free(l->set_of);
    free(l->sets);
    free(l);
}

const uint64_t *lookup_find(const struct lookup *l, const void *value)
{
    size_t low = 0, high = l->n_ranges;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(l->firsts + middle * l->width, value, l->width) <= 0)
            low = middle;
        else
            high = middle;
    }
    return set_at(l, l->set_of[low]);
}

const uint64_t *lookup_sets(const struct lookup *l, size_t *n)
{
    *n = l->n_sets;
    return l->sets;
}

size_t lookup_bytes(const struct lookup *l)
{
    return sizeof(*l) + l->n_ranges * (l->width + sizeof(*l->set_of)) +
           l->n_sets * l->words * sizeof(*l->sets);
}
