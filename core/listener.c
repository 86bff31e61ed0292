#include "core/listener.h"
