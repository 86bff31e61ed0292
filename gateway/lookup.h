/* One condition of all rules, compiled: for every value that a flow may have there, the set of
 * rules whose condition it meets. Values (addresses, ports, ...) are numbers of one width, most
 * significant byte first. The lists of the rules cut all numbers into ranges in which the same
 * rules hold; a value's range is found by bisection, so that ten thousand networks cost some 15
 * comparisons. Immutable. */
#ifndef GATEWAY_LOOKUP_H
#define GATEWAY_LOOKUP_H

#include <stddef.h>
#include <stdint.h>

#define LOOKUP_WIDTH_MAX 16

/* Rule `rule` holds for these values, both included; bytes beyond the width are zero. */
struct lookup_interval {
    uint8_t first[LOOKUP_WIDTH_MAX], last[LOOKUP_WIDTH_MAX];
    uint32_t rule;
};

struct lookup;

/* width: bytes of a value. The intervals may overlap. Returns NULL when memory is short. */
struct lookup *lookup_new(size_t width, size_t n_rules, const struct lookup_interval *intervals,
                          size_t n);
void lookup_free(struct lookup *lookup); /* NULL is fine */

/* A set of rules: bit i % 64 of word i / 64 for rule i. It lives as long as the lookup. */
const uint64_t *lookup_find(const struct lookup *lookup, const void *value);
/* All sets that any value has, one behind the other. */
const uint64_t *lookup_sets(const struct lookup *lookup, size_t *n);
size_t lookup_bytes(const struct lookup *lookup); /* of memory */

static inline size_t lookup_words(size_t n_rules)
{
    return (n_rules + 63) / 64;
}

#endif
