#include "gateway/routes.h"
