#define LEVEL(name) name##_avx2
#define PAIRS       pairs
#include "formats/codec/plain_histogram.h"
#include "formats/codec/plain_kernels.h"
