/* The terminal as a screen of its own, for a command that redraws it: without echo and without
 * lines, and as it was before when the command ends, however it does, short of SIGKILL. One at a
 * time. */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H

#include <stdbool.h>

/* Standard output is the screen, standard input the keyboard where it is a terminal, too. Takes
 * SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT and SIGWINCH. Returns 0, or -errno. */
int terminal_take(void);
void terminal_give_back(void); /* idempotent */

enum terminal_event {
    TERMINAL_TIMEOUT,
    TERMINAL_KEY,     /* *key holds it */
    TERMINAL_RESIZED, /* or there again after Ctrl-Z: draw anew */
    TERMINAL_END      /* a signal, or the terminal is gone */
};
/* Waits for the next; Ctrl-Z is seen to within. */
enum terminal_event terminal_wait(int timeout_ms, char *key);
/* 80 by 24 where it does not say. */
void terminal_size(int *columns, int *lines);
/* By the environment's locale, which this sets. */
bool terminal_has_utf8(void);

#endif
