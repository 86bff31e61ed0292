#include "cli/terminal.h"

#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

/* The other screen, and no cursor; and back. */
static const char enter[] = "\033[?1049h\033[?25l", leave[] = "\033[?25h\033[?1049l";

static const int taken_signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH};
#define N_SIGNALS (sizeof(taken_signals) / sizeof(taken_signals[0]))

static struct {
    bool taken, has_keys;
    struct termios before;
    sigset_t mask_before; /* in which they are let in while waiting */
    struct sigaction actions_before[N_SIGNALS];
} terminal;

static volatile sig_atomic_t ended, stopped, resized;

static void on_signal(int number)
{
    if (number == SIGTSTP)
        stopped = 1;
    else if (number == SIGWINCH || number == SIGCONT)
        resized = 1;
    else
        ended = 1;
}

/* A terminal that takes nothing more is none. */
static void say(const char *text)
{
    size_t len = strlen(text);

    while (len > 0) {
        ssize_t n = write(STDOUT_FILENO, text, len);
        if (n <= 0)
            return;
        text += n;
        len -= (size_t)n;
    }
}

static void set_modes(void)
{
    struct termios raw = terminal.before;

    raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
    raw.c_cc[VMIN] = 0;
    raw.c_cc[VTIME] = 0;
    if (terminal.has_keys)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
    say(enter);
}

static void restore_modes(void)
{
    say(leave);
    if (terminal.has_keys)
        tcsetattr(STDIN_FILENO, TCSADRAIN, &terminal.before);
}

int terminal_take(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    sigset_t ours;

    if (!isatty(STDOUT_FILENO))
        return -ENOTTY;
    terminal.has_keys = isatty(STDIN_FILENO) && tcgetattr(STDIN_FILENO, &terminal.before) == 0;
    ended = stopped = resized = 0;
    sigemptyset(&ours);
    for (size_t i = 0; i < N_SIGNALS; i++)
        sigaddset(&ours, taken_signals[i]);
    if (sigprocmask(SIG_BLOCK, &ours, &terminal.mask_before) == -1)
        return -errno;
    for (size_t i = 0; i < N_SIGNALS; i++)
        sigaction(taken_signals[i], &action, &terminal.actions_before[i]);
    terminal.taken = true;
    atexit(terminal_give_back);
    set_modes();
    return 0;
}

void terminal_give_back(void)
{
    if (!terminal.taken)
        return;
    terminal.taken = false;
    restore_modes();
    for (size_t i = 0; i < N_SIGNALS; i++)
        sigaction(taken_signals[i], &terminal.actions_before[i], NULL);
    sigprocmask(SIG_SETMASK, &terminal.mask_before, NULL);
}

/* Ctrl-Z: the shell gets its terminal; whoever continues us finds it taken again. */
static void stop_here(void)
{
    stopped = 0;
    restore_modes();
    raise(SIGSTOP);
    set_modes();
    resized = 1;
}

static enum terminal_event take_key(char *key)
{
    ssize_t n = read(STDIN_FILENO, key, 1);

    if (n == 1)
        return TERMINAL_KEY;
    return n == -1 && (errno == EINTR || errno == EAGAIN) ? TERMINAL_TIMEOUT : TERMINAL_END;
}

enum terminal_event terminal_wait(int timeout_ms, char *key)
{
    struct timespec timeout = {.tv_sec = timeout_ms / 1000,
                               .tv_nsec = (long)(timeout_ms % 1000) * 1000000};
    struct pollfd keys = {.fd = terminal.has_keys ? STDIN_FILENO : -1, .events = POLLIN};
    int n = ended || stopped || resized ? 0 : ppoll(&keys, 1, &timeout, &terminal.mask_before);

    if (stopped)
        stop_here();
    if (ended)
        return TERMINAL_END;
    if (resized) {
        resized = 0;
        return TERMINAL_RESIZED;
    }
    return n > 0 ? take_key(key) : TERMINAL_TIMEOUT;
}

void terminal_size(int *columns, int *lines)
{
    struct winsize size = {0};

    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == -1)
        size.ws_col = size.ws_row = 0;
    *columns = size.ws_col > 0 ? size.ws_col : 80;
    *lines = size.ws_row > 0 ? size.ws_row : 24;
}

bool terminal_has_utf8(void)
{
    setlocale(LC_CTYPE, "");
    return strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
}
