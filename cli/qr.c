#include "cli/qr.h"

#include <qrencode.h>

/* The standard asks for 4 light modules around; cameras are content with 2, and 80 by 24 characters
 * then hold links of up to 134 bytes. */
#define QUIET 2

static bool is_dark(const QRcode *code, int x, int y)
{
    bool within = x >= 0 && y >= 0 && x < code->width && y < code->width;

    return within && (code->data[y * code->width + x] & 1);
}

/* Two modules in a character, since that is twice as high as it is wide. */
static void print_line(const QRcode *code, const struct screen *screen, int y)
{
    static const char *const halves[] = {" ", "▄", "▀", "█"};

    fputs("\033[30;47m", screen->out);
    for (int x = -QUIET; x < code->width + QUIET; x++)
        fputs(halves[2 * is_dark(code, x, y) + is_dark(code, x, y + 1)], screen->out);
    fputs("\033[0m\n", screen->out);
}

struct qr_size qr_print(const struct screen *screen, struct qr_size room, const char *text)
{
    QRcode *code = QRcode_encodeString8bit(text, 0, QR_ECLEVEL_L);

    if (!code)
        return (struct qr_size){0, 0};
    size_t modules = (size_t)code->width + 2 * QUIET;
    struct qr_size size = {.columns = modules, .lines = (modules + 1) / 2};
    for (int y = -QUIET;
         size.columns <= room.columns && size.lines <= room.lines && y < code->width + QUIET;
         y += 2)
        print_line(code, screen, y);
    QRcode_free(code);
    return size;
}
