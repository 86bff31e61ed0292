/* The status page, gateway/page.html, compressed by gzip as embed.cmake makes it: one file, nothing
 * from elsewhere. It asks for /status.json and /flows.json once a second. */
#ifndef GATEWAY_PAGE_H
#define GATEWAY_PAGE_H

#include <stddef.h>

extern const unsigned char gateway_page[];
extern const size_t gateway_page_size;

#endif
