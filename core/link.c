#include "core/link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/addr.h"
#include "core/crypto.h"

#define SCHEME "bondway1://"
#define KEY_PREFIX "bondway1:"
#define KEY_PREFIX_LEN (sizeof(KEY_PREFIX) - 1)
#define KEY_DIGITS (KEY_TEXT - 1 - KEY_PREFIX_LEN)
#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

/* scheme [ host ] : port / key # name, and the terminator */
_Static_assert(sizeof(SCHEME) - 1 + LINK_HOST_MAX + 2 + 1 + 5 + 1 + KEY_DIGITS + 1 + LINK_NAME_MAX +
                       1 <=
                   LINK_TEXT,
               "every link fits");

void link_wipe(struct join_link *link)
{
    crypto_wipe(link, sizeof(*link));
}

void link_format(const struct join_link *link, char out[LINK_TEXT])
{
    char key[KEY_TEXT];
    bool bracketed = strchr(link->host, ':') != NULL;

    key_format(&link->key, key);
    snprintf(out, LINK_TEXT, SCHEME "%s%s%s:%u/%s#%s", bracketed ? "[" : "", link->host,
             bracketed ? "]" : "", (unsigned)link->port, key + KEY_PREFIX_LEN, link->name);
    crypto_wipe(key, sizeof(key));
}

/* What mail programs, chats and terminals put around a link, and into it: white space, quotes,
 * brackets, and all that is not ASCII, as typographic quotes and unbreakable blanks are not. */
static bool is_wrapping(char c)
{
    return (unsigned char)c > 0x7f || strchr(" \t\r\n\"'`<>", c);
}

/* Copies the link without that, and without what stands before it. False when it is longer than
 * any. */
static bool compact(const char *text, char out[LINK_TEXT])
{
    const char *start = strstr(text, SCHEME);
    size_t n = 0;

    for (text = start ? start : text; *text; text++) {
        if (is_wrapping(*text))
            continue;
        if (n == LINK_TEXT - 1)
            return false;
        out[n++] = *text;
    }
    out[n] = '\0';
    return true;
}

/* "7171"; the digits and nothing else. Returns 0 for what is no port. */
static uint16_t read_port(const char *text)
{
    unsigned long port = strtoul(text, NULL, 10);
    size_t len = strlen(text);

    if (len == 0 || len > 5 || strspn(text, DIGITS) != len || text[0] == '0')
        return 0;
    return port <= UINT16_MAX ? (uint16_t)port : 0;
}

static bool is_host_name(const char *text, size_t len)
{
    return len > 0 && len <= LINK_HOST_MAX && strspn(text, LETTERS DIGITS "-.") >= len &&
           text[0] != '-' && text[0] != '.';
}

bool link_is_name(const char *text)
{
    size_t len = strlen(text);

    return len > 0 && len <= LINK_NAME_MAX && strspn(text, LETTERS DIGITS "._-") == len;
}

enum link_verdict link_set_host(struct join_link *link, const char *text)
{
    const char *colon = strrchr(text, ':');
    struct addr a;
    char ip[ADDR_TEXT];

    if (!colon || !(link->port = read_port(colon + 1)))
        return LINK_HOST;
    if (addr_parse(&a, text) == 0) {
        snprintf(link->host, sizeof(link->host), "%s", addr_format_ip(&a, ip));
        return LINK_OK;
    }
    size_t len = (size_t)(colon - text);
    if (!is_host_name(text, len))
        return LINK_HOST;
    memcpy(link->host, text, len);
    link->host[len] = '\0';
    return LINK_OK;
}

static enum link_verdict read_name(struct join_link *link, const char *text)
{
    size_t len = strlen(text);

    if (len == 0)
        return LINK_CUT;
    if (!link_is_name(text))
        return len > LINK_NAME_MAX ? LINK_LONG : LINK_NAME;
    memcpy(link->name, text, len + 1);
    return LINK_OK;
}

/* "DIGITS#NAME" */
static enum link_verdict read_key(struct join_link *link, const char *text)
{
    char line[KEY_TEXT] = KEY_PREFIX;
    size_t len = strcspn(text, "#");

    if (text[len] == '\0')
        return len > KEY_DIGITS ? LINK_LONG : LINK_CUT;
    if (len != KEY_DIGITS)
        return LINK_DAMAGED;
    memcpy(line + KEY_PREFIX_LEN, text, len);
    bool good = key_parse(&link->key, line) == 0 && key_is_whole(&link->key);
    crypto_wipe(line, sizeof(line));
    return good ? read_name(link, text + len + 1) : LINK_DAMAGED;
}

/* Cuts text up. */
static enum link_verdict read_link(struct join_link *link, char *text)
{
    if (strncmp(text, "bondway", 7) != 0)
        return LINK_NONE;
    size_t digits = strspn(text + 7, DIGITS);
    if (digits == 0)
        return LINK_NONE;
    if (strncmp(text + 7 + digits, "://", 3) != 0)
        return text[7 + digits] == ':' ? LINK_KEY : LINK_NONE;
    if (strncmp(text, SCHEME, sizeof(SCHEME) - 1) != 0)
        return LINK_VERSION;
    char *host = text + sizeof(SCHEME) - 1, *slash = strchr(host, '/');
    if (!slash)
        return LINK_CUT;
    *slash = '\0';
    enum link_verdict verdict = link_set_host(link, host);
    return verdict == LINK_OK ? read_key(link, slash + 1) : verdict;
}

enum link_verdict link_parse(struct join_link *link, const char *text)
{
    char compacted[LINK_TEXT];

    memset(link, 0, sizeof(*link));
    enum link_verdict verdict = compact(text, compacted) ? read_link(link, compacted)
                                : strstr(text, SCHEME)   ? LINK_LONG
                                                         : LINK_NONE;
    crypto_wipe(compacted, sizeof(compacted));
    if (verdict != LINK_OK)
        link_wipe(link);
    return verdict;
}

const char *link_why(enum link_verdict verdict)
{
    static const char *const texts[] = {
        [LINK_OK] = "good",
        [LINK_NONE] = "this is no join link: one begins with " SCHEME
                      "; `bondway invite NAME` prints it on the VPS",
        [LINK_KEY] = "this is a key, not a join link: `bondway invite NAME` prints one on the VPS",
        [LINK_VERSION] = "this join link is of another version of bondway: install the same one "
                         "here and on the VPS",
        [LINK_CUT] = "the join link is cut short: copy all of it, up to the name behind the #",
        [LINK_HOST] =
            "the join link is damaged: no host and port behind " SCHEME "; copy all of it again",
        [LINK_DAMAGED] = "the join link is damaged: a part of its key is missing or wrong; copy "
                         "all of it again",
        [LINK_NAME] = "the join link is damaged: a name of letters, digits, '.', '_' and '-' ends "
                      "it, behind the #; copy all of it again",
        [LINK_LONG] = "something follows the join link: give the link alone",
    };

    return texts[verdict];
}
