/* What doctor and join look at. Each adds what it finds. */
#ifndef CLI_CHECKS_H
#define CLI_CHECKS_H

#include "cli/findings.h"
#include "config/gateway_config.h"

/* Is this kernel fit for a gateway? config may be NULL: then what depends on it is left out. */
void checks_gateway_kernel(struct findings *findings, const struct gateway_config *config);
/* For a concentrator? */
void checks_concentrator_kernel(struct findings *findings);
/* Does it offer that packet_scheduler? "" is its own. */
void checks_packet_scheduler(struct findings *findings, const char *name);
/* The LAN's interfaces. */
void checks_lan(struct findings *findings, const struct gateway_config *config);
/* Every concentrator by every uplink (gateway/checkup.h). Takes up to 12 s for each concentrator.
 */
void checks_uplinks(struct findings *findings, const struct gateway_config *config);

#endif
