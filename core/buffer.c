#include "core/buffer.h"
