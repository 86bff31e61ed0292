#include "cli/units.h"

#include <inttypes.h>
#include <stdio.h>

/* Three digits at least and four at most are what a person compares: "1.2", "48.1", "481". */
static const char *scale(double value, const char *unit, char out[UNITS_TEXT])
{
    static const char prefixes[][2] = {"", "k", "M", "G", "T", "P", "E"};
    size_t i = 0;

    while (value >= 999.5 && i < sizeof(prefixes) / sizeof(prefixes[0]) - 1) {
        value /= 1000;
        i++;
    }
    snprintf(out, UNITS_TEXT, "%.*f %s%s", i > 0 && value < 99.95 ? 1 : 0, value, prefixes[i],
             unit);
    return out;
}

const char *units_bytes(uint64_t bytes, char out[UNITS_TEXT])
{
    return scale((double)bytes, "B", out);
}

const char *units_rate(uint64_t bits_per_second, char out[UNITS_TEXT])
{
    return scale((double)bits_per_second, "b/s", out);
}

const char *units_delay(double ms, char out[UNITS_TEXT])
{
    if (ms >= 999.5)
        snprintf(out, UNITS_TEXT, "%.1f s", ms / 1000);
    else
        snprintf(out, UNITS_TEXT, "%.*f ms", ms > 0 && ms < 9.95 ? 1 : 0, ms);
    return out;
}

const char *units_time(double seconds, char out[UNITS_TEXT])
{
    uint64_t s = seconds > 0 ? (uint64_t)seconds : 0;

    if (s < 60)
        snprintf(out, UNITS_TEXT, "%" PRIu64 " s", s);
    else if (s < 3600)
        snprintf(out, UNITS_TEXT, "%" PRIu64 " min", s / 60);
    else if (s < 86400)
        snprintf(out, UNITS_TEXT, "%" PRIu64 " h %" PRIu64 " min", s / 3600, s / 60 % 60);
    else
        snprintf(out, UNITS_TEXT, "%" PRIu64 " day%s", s / 86400, s < 2 * 86400 ? "" : "s");
    return out;
}

const char *units_percent(double percent, char out[UNITS_TEXT])
{
    snprintf(out, UNITS_TEXT, "%.*f %%", percent >= 0.05 && percent < 9.95 ? 1 : 0, percent);
    return out;
}
