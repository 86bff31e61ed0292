#include "gateway/guard.h"
