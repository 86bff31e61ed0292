/* Takes out of a text what a stranger must not see: keys, and public addresses. Each address
 * becomes another, made-up one, the same wherever it stands, so that one still sees what belongs
 * together. */
#ifndef CLI_MASK_H
#define CLI_MASK_H

struct mask;

struct mask *mask_new(void);       /* NULL: out of memory */
void mask_free(struct mask *mask); /* NULL is fine */

/* A new text, malloced; NULL: out of memory. What is private, local, or means nothing by itself
 * (0.0.0.0, ::1, masks of networks) stays. A public IPv4 address becomes "ipv4-1", an IPv6 one, and
 * one that a hardware address may be in, "ipv6-1", a hardware address "mac-1". Key lines, join
 * links and whatever else is as long as a key's secret become "(secret)". */
char *mask_text(struct mask *mask, const char *text);

#endif
