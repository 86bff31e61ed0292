/* The same lists as in commands.c, of a build without the concentrator: routers have little flash.
 */
#include <stddef.h>

#include "cli/role.h"

const struct role *const roles[] = {&role_gateway, NULL};

const struct command *const commands[] = {
    &gateway_command,
    &status_command,
    &flows_command,
    &events_command,
    &top_command,
    &doctor_command,
    &report_command,
    &join_command,
    &remove_command,
    &keygen_command,
    NULL,
};

const char *const commands_left_out[] = {"concentrator", "invite", NULL};
