#include "core/crypto.h"
