#include "core/netlink.h"
