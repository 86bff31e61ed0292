#include "cli/mask.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/addr.h"

#define WORD_MAX 64   /* no address is longer */
#define SECRET_MIN 40 /* of base64url or hex: 32 bytes are 43 and 64, a key's are 54 */
#define MAC_LENGTH 17
#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define LETTERS LOWER UPPER
#define DIGITS "0123456789"

/* What was masked, in the order of its first appearance. */
struct masked {
    char **words;
    size_t n;
};

struct mask {
    struct masked ipv4, ipv6, mac;
};

struct mask *mask_new(void)
{
    return calloc(1, sizeof(struct mask));
}

static void masked_free(struct masked *masked)
{
    for (size_t i = 0; i < masked->n; i++)
        free(masked->words[i]);
    free(masked->words);
}

void mask_free(struct mask *mask)
{
    if (!mask)
        return;
    masked_free(&mask->ipv4);
    masked_free(&mask->ipv6);
    masked_free(&mask->mac);
    free(mask);
}

/* Its number, from 1 on; 0: out of memory, and then it is nobody's. */
static size_t number_of(struct masked *masked, const char *word)
{
    for (size_t i = 0; i < masked->n; i++) {
        if (strcmp(masked->words[i], word) == 0)
            return i + 1;
    }
    char **words = reallocarray(masked->words, masked->n + 1, sizeof(*words));
    if (!words)
        return 0;
    masked->words = words;
    words[masked->n] = strdup(word);
    return words[masked->n] ? ++masked->n : 0;
}

/* ---- what is to be masked ---- */

static bool is_in(const struct addr *a, const char (*networks)[16], size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct cidr network;
        if (cidr_parse(&network, networks[i]) == 0 && cidr_contains(&network, a))
            return true;
    }
    return false;
}

/* Of IPv6 all but what everybody has: even a link-local address may hold a hardware address. */
static bool is_harmless(const struct addr *a)
{
    static const char networks[][16] = {"0.0.0.0/8",      "10.0.0.0/8",     "100.64.0.0/10",
                                        "127.0.0.0/8",    "169.254.0.0/16", "172.16.0.0/12",
                                        "192.168.0.0/16", "224.0.0.0/3",    "::/127",
                                        "ff00::/8",       "fc00::/7"};
    static const char whole[][16] = {"::/0",      "64:ff9b::/96", "2002::/16",
                                     "2001::/32", "fe80::/10",    "fec0::/10"};

    for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++) {
        struct cidr c;
        if (cidr_parse(&c, whole[i]) == 0 && addr_equal_ip(&c.base, a))
            return true;
    }
    return is_in(a, networks, sizeof(networks) / sizeof(networks[0]));
}

static bool is_mac(const char *word)
{
    if (strlen(word) != MAC_LENGTH)
        return false;
    for (int i = 0; i < MAC_LENGTH; i++) {
        bool fits = i % 3 == 2 ? word[i] == ':' : isxdigit((unsigned char)word[i]) != 0;
        if (!fits)
            return false;
    }
    return true;
}

/* Writes what the word becomes. False: it stays. */
static bool replace_address(struct mask *mask, const char *word, FILE *out)
{
    struct addr a;
    char text[ADDR_TEXT];

    if (is_mac(word)) {
        bool nobody = strcmp(word, "00:00:00:00:00:00") == 0;
        if (!nobody)
            fprintf(out, "mac-%zu", number_of(&mask->mac, word));
        return !nobody;
    }
    if (addr_parse_ip(&a, word) || is_harmless(&a))
        return false;
    addr_format_ip(&a, text); /* one way of writing it */
    fprintf(out, "ipv%u-%zu", (unsigned)a.family,
            number_of(a.family == 4 ? &mask->ipv4 : &mask->ipv6, text));
    return true;
}

/* ---- the text ---- */

/* How long the key line or join link is that begins here; 0: none does. */
static size_t secret_length(const char *at)
{
    size_t digits;

    if (strncmp(at, "bondway", 7) != 0 || (digits = strspn(at + 7, DIGITS)) == 0 ||
        at[7 + digits] != ':')
        return 0;
    return strcspn(at, " \t\r\n\"'");
}

/* Of the word, as much as is an address but for `but` bytes at its end. */
static bool mask_but(struct mask *mask, const char *at, size_t len, size_t but, FILE *out)
{
    char word[WORD_MAX];

    if (len - but >= sizeof(word))
        return false;
    memcpy(word, at, len - but);
    word[len - but] = '\0';
    if (!replace_address(mask, word, out))
        return false;
    fwrite(at + len - but, 1, but, out);
    return true;
}

/* A word that may be an address: with a port, or the text's own '.' or ':', behind it; or two, with
 * '-' between them, as nft writes a range. */
static void mask_word(struct mask *mask, const char *at, size_t len, FILE *out)
{
    const char *dash = memchr(at, '-', len), *colon = memchr(at, ':', len);
    size_t but = 0;

    if (dash) {
        mask_word(mask, at, (size_t)(dash - at), out);
        fputc('-', out);
        mask_word(mask, dash + 1, (size_t)(at + len - dash - 1), out);
        return;
    }
    do {
        if (mask_but(mask, at, len, but, out))
            return;
        but++;
    } while (but < len && strchr(".:", at[len - but]));
    if (!colon || !mask_but(mask, at, len, (size_t)(at + len - colon), out))
        fwrite(at, 1, len, out);
}

static bool is_label(const char *at, size_t len)
{
    return strspn(at, LETTERS DIGITS "-_") >= len;
}

static bool is_secret(const char *at, size_t len)
{
    bool mixed = strcspn(at, UPPER) < len && strcspn(at, LOWER) < len;
    bool hex = strcspn(at, DIGITS) < len && strcspn(at, UPPER LOWER) < len;

    return len >= SECRET_MIN && is_label(at, len) && (mixed || hex);
}

char *mask_text(struct mask *mask, const char *text)
{
    char *masked = NULL;
    size_t size;
    FILE *out = open_memstream(&masked, &size);

    if (!out)
        return NULL;
    while (*text) {
        size_t len = secret_length(text);
        bool secret = len > 0;
        if (!secret) {
            len = strspn(text, LETTERS DIGITS "-_.:");
            secret = is_secret(text, len);
        }
        if (secret)
            fputs("(secret)", out);
        else if (len > 0)
            mask_word(mask, text, len, out);
        else
            fputc(*text, out);
        text += len > 0 ? len : 1;
    }
    if (fclose(out) == 0)
        return masked;
    free(masked);
    return NULL;
}
