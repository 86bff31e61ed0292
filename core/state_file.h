/* A small file that outlives the program and the machine's power: it is there whole, as it was
 * written last or the time before. The new one is written beside it (NAME.new), synced, and takes
 * its place in one step; then the directory is synced. */
#ifndef CORE_STATE_FILE_H
#define CORE_STATE_FILE_H

#include <stddef.h>
#include <event2/event.h>

#define STATE_FILE_MAX 16384

/* At most STATE_FILE_MAX bytes, and a '\0' behind them. Returns their number, or -errno (-ENOENT:
 * there is none; -EFBIG). */
int state_file_read(const char *dir, const char *name, char text[STATE_FILE_MAX + 1]);
/* Makes the directory (0755) where it is missing; the file is 0600. Blocks: on flash for up to
 * seconds. Returns 0, or -errno, and then the file is as before. */
int state_file_write(const char *dir, const char *name, const char *text, size_t len);
/* Renames it to NAME.bad, out of the way but there to look at. Returns 0, or -errno. */
int state_file_set_aside(const char *dir, const char *name);

/* Writes it from a thread of its own, so that nobody waits for the flash. */
struct state_writer;

/* After a save, from the event loop: 0, or -errno. */
typedef void state_writer_done(void *arg, int err);

/* dir and name must outlive it. Returns 0, or -errno. */
int state_writer_new(struct state_writer **out, struct event_base *base, const char *dir,
                     const char *name, state_writer_done *done, void *arg);
/* Waits for a save that is under way; done() is not called for it. NULL is fine. */
void state_writer_free(struct state_writer *writer);
/* Copies the text. Returns 0, -EBUSY while the last save is under way, or -errno. */
int state_writer_save(struct state_writer *writer, const char *text, size_t len);

#endif
