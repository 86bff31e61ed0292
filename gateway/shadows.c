#include "gateway/shadows.h"

#include <stdlib.h>

#include "gateway/bypass.h"
#include "gateway/rules.h"

/* What stands before all rules, as if these were rules, too. */
enum { BUILT_IN, BYPASS, BEFORE };

static void tell(const struct gateway_config *config, const char *path, size_t number, int shadow,
                 FILE *out)
{
    const struct rule_config *rule = &config->rules[number];

    fprintf(out, "%s:%u: warning: rule \"%s\" never matches: ", path, rule->line, rule->name);
    if (shadow == RULES_MATCHES_NOTHING)
        fprintf(out, "its destinations are of another IP version than its clients; name some of "
                     "the same\n");
    else if (shadow == BUILT_IN)
        fprintf(out, "its destinations are private, local, reserved or a concentrator's, which are "
                     "left alone; remove the rule\n");
    else if (shadow == BYPASS)
        fprintf(out,
                "bypass (%s:%u) leaves all its destinations alone; remove them there, or the "
                "rule\n",
                path, config->bypass_line);
    else
        fprintf(out, "rule \"%s\" (%s:%u) takes all its flows before; move it up, or remove it\n",
                config->rules[shadow - BEFORE].name, path, config->rules[shadow - BEFORE].line);
}

static void tell_all(const struct gateway_config *config, const struct rules *rules,
                     const char *path, FILE *out)
{
    for (size_t i = 0; i < config->n_rules; i++) {
        int shadow = rules_shadow(rules, BEFORE + i);
        if (shadow != RULES_NO_SHADOW)
            tell(config, path, i, shadow, out);
    }
}

void shadows_tell(const struct gateway_config *config, const char *path, FILE *out)
{
    struct gateway_config all = {.n_rules = BEFORE + config->n_rules};
    size_t n_bypass = bypass_count(config);
    struct cidr *bypass = calloc(n_bypass, sizeof(*bypass));
    struct rules *rules = NULL;

    all.rules = calloc(all.n_rules, sizeof(*all.rules));
    if (bypass && all.rules) {
        for (size_t i = 0; i < n_bypass; i++)
            bypass[i] = bypass_at(config, i);
        all.rules[BUILT_IN].destinations = all.rules[BYPASS].destinations = bypass;
        all.rules[BUILT_IN].n_destinations = n_bypass - config->n_bypass;
        all.rules[BYPASS].n_destinations = n_bypass;
        for (size_t i = 0; i < config->n_rules; i++)
            all.rules[BEFORE + i] = config->rules[i];
        rules = rules_new(&all);
    }
    if (rules)
        tell_all(config, rules, path, out);
    rules_free(rules);
    free(all.rules);
    free(bypass);
}
