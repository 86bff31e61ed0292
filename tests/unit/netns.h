/* For tests that need a network of their own: namespaces that live as long as the test. A program
 * that uses them leaves out the case that SKIP_TEST names in the environment: cmocka has no option
 * for it. */
#ifndef TESTS_UNIT_NETNS_H
#define TESTS_UNIT_NETNS_H

#include <stdbool.h>

/* Moves this process into a fresh network namespace, lo up. Exits 77 where that is not allowed. */
void netns_enter(void);
/* Another one, lo up. Returns its descriptor. */
int netns_new(void);
/* This process's sockets and commands are made there from now on. Returns where it was before: to
 * go back to, and to close by going back. */
int netns_switch(int ns);
void netns_back(int before);

/* Runs a shell command; the test fails when it does. */
void netns_run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Did the command succeed? Its words are thrown away. */
bool netns_try(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A veth pair: `here` in this namespace and `there` in the other, both up. */
void netns_veth(const char *here, int ns, const char *there);

/* For loops that wait for a state: sleeps a moment; fails the test after 10 s of the same wait. */
struct netns_wait {
    unsigned long long deadline_ms;
};
void netns_wait(struct netns_wait *wait);

#endif
