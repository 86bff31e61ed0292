#include "core/addr.h"
