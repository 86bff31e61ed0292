#include "core/relay.h"
