/* One value of a configuration file: the kinds that an option may have, and their reading. */
#ifndef CONFIG_VALUE_H
#define CONFIG_VALUE_H

#include <stddef.h>
#include <libconfig.h>

#include "config/option.h"

/* How much of the configuration's struct one value of the row takes. */
size_t value_size(const struct option_row *row);
/* Returns 0; -EINVAL when the setting is not as value_expected() says, -ENOTSUP when it is a word
 * that this version does not have, or -ENOMEM. *into is written only on success. */
int value_read(const struct option_row *row, const config_setting_t *setting, void *into);

/* "a whole number from 1 to 65535": what may be written. Returns out. */
const char *value_expected(const struct option_row *row, char *out, size_t len);
/* Where it nearly is what may be written: what is wrong with it, and what to write; "" otherwise.
 * Returns out. */
const char *value_explain(const struct option_row *row, const config_setting_t *setting, char *out,
                          size_t len);
/* What was written instead, for a complaint: "70000", "\"text\"", "a list". Returns out. */
const char *value_show(const config_setting_t *setting, char *out, size_t len);

#endif
