/* "Did you mean ...?": the known word that a mistyped one is closest to. */
#ifndef CONFIG_SUGGEST_H
#define CONFIG_SUGGEST_H

#include <stdbool.h>
#include <stddef.h>

/* Letters to insert, delete, change or swap with their neighbour to turn a into b; words longer
 * than 63 letters are as far as can be (SIZE_MAX). */
size_t suggest_distance(const char *a, const char *b);
/* Is b so close to a that a is likely a mistyped b? */
bool suggest_close(const char *a, const char *b);

#endif
