#define LEVEL(name) name##_avx2
#include "formats/codec/plain_histogram.h"
#include "formats/codec/plain_kernels.h"
