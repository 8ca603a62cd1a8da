#include <xxhash.h>

#define QN_HASH_FUNCTIONS qn_hash_c
#include "core/hash_xxh3.h"
