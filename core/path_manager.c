#include "core/path_manager.h"
