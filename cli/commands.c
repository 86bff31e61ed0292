/* The lists of what the program can be and do, apart from main(), for what describes them. */
#include <stddef.h>

#include "cli/role.h"

const struct role *const roles[] = {&role_gateway, &role_concentrator, NULL};

const struct command *const commands[] = {
    &gateway_command,
    &concentrator_command,
    &status_command,
    &flows_command,
    &events_command,
    &top_command,
    &doctor_command,
    &report_command,
    &invite_command,
    &join_command,
    &remove_command,
    &keygen_command,
    NULL,
};

const char *const commands_left_out[] = {NULL};
