#include "core/probe_packet.h"
