#include "core/mptcp.h"
