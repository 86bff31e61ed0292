#include "gateway/intercept.h"
