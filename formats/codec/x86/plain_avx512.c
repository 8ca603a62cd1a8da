#define LEVEL(name) name##_avx512
#define PAIRS       short_pairs
#include "formats/codec/plain_histogram.h"
#include "formats/codec/plain_kernels.h"
