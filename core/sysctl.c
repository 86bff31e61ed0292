#include "core/sysctl.h"
