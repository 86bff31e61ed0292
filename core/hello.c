#include "core/hello.h"
