#define XXH_INLINE_ALL
#include <xxhash.h>

#define QN_HASH_FUNCTIONS qn_hash_avx2
#include "core/hash_xxh3.h"
