/* A text as a QR code, drawn on a terminal: dark on light, whatever the terminal's own colours are.
 */
#ifndef CLI_QR_H
#define CLI_QR_H

#include "cli/table.h"

/* Of the screen's characters. One that is drawn as 0 by 0 could not be made. */
struct qr_size {
    size_t columns, lines;
};

/* screen: one with colours, in UTF-8. Draws nothing when that is more than room. Returns what it
 * takes.
 */
struct qr_size qr_print(const struct screen *screen, struct qr_size room, const char *text);

#endif
