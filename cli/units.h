/* Figures as a person reads them. Each writes to out, and returns it. */
#ifndef CLI_UNITS_H
#define CLI_UNITS_H

#include <stddef.h>
#include <stdint.h>

#define UNITS_TEXT 32

/* "0 B", "999 B", "1.2 kB", "48 MB": decimal, as uplinks are sold. */
const char *units_bytes(uint64_t bytes, char out[UNITS_TEXT]);
/* "0 b/s", "48.1 Mb/s". */
const char *units_rate(uint64_t bits_per_second, char out[UNITS_TEXT]);
/* "0.4 ms", "20 ms", "1.5 s". */
const char *units_delay(double ms, char out[UNITS_TEXT]);
/* "12 s", "3 min", "2 h 5 min", "4 days". */
const char *units_time(double seconds, char out[UNITS_TEXT]);
/* "0 %", "0.3 %", "12 %". */
const char *units_percent(double percent, char out[UNITS_TEXT]);

#endif
