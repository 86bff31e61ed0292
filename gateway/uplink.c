#include "gateway/uplink.h"
