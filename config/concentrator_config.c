#include "config/concentrator_config.h"
