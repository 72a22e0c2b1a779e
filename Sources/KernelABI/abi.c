#include "martlet_abi.h"
