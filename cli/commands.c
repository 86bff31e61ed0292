/* The list of commands, apart from main(), for what describes them. */
#include <stddef.h>

#include "cli/command.h"

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
