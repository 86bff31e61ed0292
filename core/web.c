#include "core/web.h"

#include <errno.h>
#include <event2/bufferevent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "core/document.h"
#include "core/list.h"
#include "core/listener.h"

struct web {
    struct event_base *base;
    struct listener *listener;
    const struct web_page *pages;
    void *arg;
    struct list clients;
    unsigned n_clients;
};

struct client {
    struct web *web;
    struct list node;
    struct bufferevent *stream;
};

static const struct timeval patience = {.tv_sec = WEB_PATIENCE_S};

/* The one way a client ends. */
static void end(struct client *c)
{
    list_remove(&c->node);
    c->web->n_clients--;
    bufferevent_free(c->stream); /* closes its socket */
    free(c);
}

static void on_sent(struct bufferevent *stream, void *arg)
{
    end(arg);
}

static void on_event(struct bufferevent *stream, short what, void *arg)
{
    end(arg);
}

static int write_head(struct evbuffer *out, const char *status, const struct web_page *page,
                      size_t length)
{
    int n = evbuffer_add_printf(
        out,
        "HTTP/1.1 %s\r\nContent-Type: %s\r\n%s%s%sContent-Length: %zu\r\n"
        "Connection: close\r\nCache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n"
        "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; "
        "script-src 'unsafe-inline'; connect-src 'self'; img-src data:\r\n\r\n",
        status, page->type, page->encoding ? "Content-Encoding: " : "",
        page->encoding ? page->encoding : "", page->encoding ? "\r\n" : "", length);

    return n < 0 ? -1 : 0;
}

/* What is written is all that he gets: he is hung up on when it is out, or cannot go out. The
 * client may be gone afterwards. */
static void answer(struct client *c, const char *status, const struct web_page *page,
                   struct evbuffer *body, bool with_body)
{
    struct evbuffer *out = bufferevent_get_output(c->stream);
    int err = write_head(out, status, page, evbuffer_get_length(body));

    if (!err && with_body)
        err = evbuffer_add_buffer(out, body);
    bufferevent_disable(c->stream, EV_READ);
    bufferevent_setcb(c->stream, NULL, on_sent, on_event, c);
    /* It notices by itself that there is something to write, unless it had no memory for that. */
    if (err || bufferevent_enable(c->stream, EV_WRITE) == -1)
        end(c);
}

static void complain(struct client *c, const char *status, const char *advice)
{
    static const struct web_page words = {.type = "text/plain"};
    struct evbuffer *body = evbuffer_new();

    if (!body) {
        end(c);
        return;
    }
    evbuffer_add_printf(body, "%s%s\n", status, advice);
    answer(c, status, &words, body, true);
    evbuffer_free(body);
}

static void send_page(struct client *c, const struct web_page *page, bool with_body)
{
    struct evbuffer *body = evbuffer_new();

    if (body && page->write(c->web->arg, body) == 0)
        answer(c, "200 OK", page, body, with_body);
    else
        complain(c, "500 Internal Server Error", "");
    if (body)
        evbuffer_free(body);
}

static const struct web_page *find_page(const struct web *web, const char *path)
{
    size_t len = strcspn(path, "?#");

    for (const struct web_page *page = web->pages; page->path; page++) {
        if (strlen(page->path) == len && strncmp(page->path, path, len) == 0)
            return page;
    }
    return NULL;
}

/* Of domains that the Internet's root does not have, nor will (RFC 6761, 6762, 8375; ICANN on
 * .internal), and of those that routers give though nobody has reserved them. */
static bool is_local_domain(const char *name)
{
    static const char domains[][13] = {".lan",       ".local",       ".home.arpa", ".internal",
                                       ".localhost", ".localdomain", ".home"};
    size_t len = strlen(name);

    for (size_t i = 0; i < sizeof(domains) / sizeof(domains[0]); i++) {
        size_t n = strlen(domains[i]);
        if (len > n && strcasecmp(name + len - n, domains[i]) == 0)
            return true;
    }
    return false;
}

bool web_is_local_name(const char *host, const char *own)
{
    char name[256];
    struct addr address;
    size_t len = strcspn(host, ":");

    if (host[0] == '[')
        return true;
    if (len > 0 && host[len - 1] == '.')
        len--;
    if (len >= sizeof(name))
        return false;
    memcpy(name, host, len);
    name[len] = '\0';
    return !strchr(name, '.') || is_local_domain(name) || strcasecmp(name, own) == 0 ||
           addr_parse_ip(&address, name) == 0;
}

/* Who names no host is no browser. */
static bool may_see(const struct web_page *page, const char *host)
{
    char own[256] = "";

    gethostname(own, sizeof(own) - 1);
    return !page->is_private || !host || web_is_local_name(host, own);
}

/* line: METHOD SP PATH SP HTTP/1.x; host: of its Host field, or NULL */
static void on_request(struct client *c, char *line, const char *host)
{
    char *path = strchr(line, ' ');
    char *version = path ? strchr(path + 1, ' ') : NULL;

    if (!version || strncmp(version, " HTTP/1.", 8) != 0) {
        complain(c, "400 Bad Request", "");
        return;
    }
    *path++ = *version = '\0';
    bool is_get = strcmp(line, "GET") == 0;
    const struct web_page *page = find_page(c->web, path);
    if (!is_get && strcmp(line, "HEAD") != 0)
        complain(c, "405 Method Not Allowed", "");
    else if (!page)
        complain(c, "404 Not Found", "");
    else if (!may_see(page, host))
        complain(c, "421 Misdirected Request",
                 ": this page is shown under the router's address, or a name of its own network");
    else
        send_page(c, page, is_get);
}

/* The rest of the headers is read. Returns the Host field's value with what to free before it, or
 * NULL. */
static char *read_host(struct evbuffer *in, const char **value)
{
    static const char field[] = "host:";
    char *line;

    *value = NULL;
    while ((line = evbuffer_readln(in, NULL, EVBUFFER_EOL_CRLF_STRICT))) {
        if (strncasecmp(line, field, strlen(field)) == 0) {
            *value = line + strlen(field) + strspn(line + strlen(field), " \t");
            return line;
        }
        free(line);
    }
    return NULL;
}

/* Nothing is done before the headers are whole: what they say does not matter here, but one who is
 * answered too early may miss it, since unread bytes make a reset of our end. */
static void on_readable(struct bufferevent *stream, void *arg)
{
    struct client *c = arg;
    struct evbuffer *in = bufferevent_get_input(stream);
    struct evbuffer_ptr found = evbuffer_search(in, "\r\n\r\n", 4, NULL);
    const char *host;
    char *line, *header;

    if (found.pos < 0) {
        if (evbuffer_get_length(in) >= WEB_REQUEST_MAX)
            end(c);
        return;
    }
    line = evbuffer_readln(in, NULL, EVBUFFER_EOL_CRLF_STRICT);
    header = read_host(in, &host);
    evbuffer_drain(in, evbuffer_get_length(in));
    if (line)
        on_request(c, line, host);
    else
        end(c);
    free(header);
    free(line);
}

static void on_accepted(void *arg, int fd, const struct addr *peer)
{
    struct web *web = arg;
    struct client *c = web->n_clients < WEB_CLIENTS_MAX ? calloc(1, sizeof(*c)) : NULL;

    if (c)
        c->stream = bufferevent_socket_new(web->base, fd, BEV_OPT_CLOSE_ON_FREE);
    if (!c || !c->stream) {
        free(c);
        close(fd);
        return;
    }
    c->web = web;
    list_append(&web->clients, &c->node);
    web->n_clients++;
    /* Without a watermark, for which libevent does not survive that memory is short: what comes at
     * once is bounded, and more than WEB_REQUEST_MAX is not waited for. */
    bufferevent_setcb(c->stream, on_readable, NULL, on_event, c);
    bufferevent_set_timeouts(c->stream, &patience, &patience);
    /* Where it does not wait, there is no timeout either. */
    if (bufferevent_enable(c->stream, EV_READ | EV_WRITE) == -1)
        end(c);
}

int web_add_json(struct evbuffer *out, struct json_object *document)
{
    char *text = document_write(document);
    int err = text && evbuffer_add_printf(out, "%s\n", text) >= 0 ? 0 : -ENOMEM;

    json_object_put(document);
    free(text);
    return err;
}

int web_new(struct web **out, struct event_base *base, const struct addr *at,
            const struct web_page *pages, void *arg)
{
    struct web *web = calloc(1, sizeof(*web));

    if (!web)
        return -ENOMEM;
    *web = (struct web){.base = base, .pages = pages, .arg = arg};
    list_init(&web->clients);
    int err = listener_new(&web->listener, base, LISTENER_PLAIN, at, on_accepted, web);
    if (err) {
        free(web);
        return err;
    }
    *out = web;
    return 0;
}

void web_free(struct web *web)
{
    if (!web)
        return;
    listener_free(web->listener);
    list_each(node, &web->clients) end(list_entry(node, struct client, node));
    free(web);
}
