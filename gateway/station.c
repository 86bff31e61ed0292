#include "gateway/station.h"

#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/crypto.h"

static void free_entry(struct concentrator_entry *entry)
{
    key_wipe(&entry->key);
    free(entry->key_file);
    free(entry);
}

static struct concentrator_entry *copy_entry(const struct concentrator_entry *entry)
{
    struct concentrator_entry *copy = malloc(sizeof(*copy));

    if (!copy)
        return NULL;
    *copy = *entry;
    copy->key_file = strdup(entry->key_file);
    if (copy->key_file)
        return copy;
    free_entry(copy);
    return NULL;
}

struct station *station_new(const struct concentrator_entry *entry)
{
    struct station *s = calloc(1, sizeof(*s));

    if (!s)
        return NULL;
    s->entry = copy_entry(entry);
    if (!s->entry) {
        free(s);
        return NULL;
    }
    /* A guess: right where the wall clock is; a challenge corrects it elsewhere. */
    s->clock_offset_ms = (int64_t)(clock_wall_ms() - clock_boot_ms());
    s->holders = 1;
    return s;
}

struct station *station_hold(struct station *s)
{
    s->holders++;
    return s;
}

void station_release(struct station *s)
{
    if (!s || --s->holders > 0)
        return;
    free_entry(s->entry);
    free(s);
}

bool station_is(const struct station *s, const struct concentrator_entry *entry)
{
    return addr_equal(&s->entry->address, &entry->address) &&
           crypto_equal(&s->entry->key, &entry->key, sizeof(entry->key));
}

void station_rename(struct station *s, const struct concentrator_entry *entry)
{
    char *key_file = strdup(entry->key_file);

    if (!key_file)
        return;
    free(s->entry->key_file);
    s->entry->key_file = key_file;
    memcpy(s->entry->name, entry->name, sizeof(entry->name));
}
