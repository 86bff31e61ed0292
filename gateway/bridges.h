/* What hinders the interception of connections that come from a bridge. */
#ifndef GATEWAY_BRIDGES_H
#define GATEWAY_BRIDGES_H

#include "config/gateway_config.h"

/* br_netfilter shows bridged packets to netfilter before the bridge hands them up, and the socket
 * that TPROXY gives them is lost on the way: no connection of the LAN would come about. Returns the
 * sysctl that asks for it, as core/sysctl.h names it, where an interface of the LAN is a bridge, or
 * a VLAN of one; NULL where there is no hindrance. */
const char *bridges_hindrance(const struct gateway_config *config);

#endif
