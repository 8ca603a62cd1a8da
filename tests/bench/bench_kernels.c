/* bench_kernels [MI_ELEMENTS [ROUNDS]]: speed of the codec's kernels on each CPU level, from and to
 * memory and in the second cache, beside memset and memcpy. All take turns in each round; medians
 * of the processor time are shown, ratios are medians of those within a round. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/bytes.h"
#include "core/clock.h"
#include "core/random.h"
#include "formats/codec/bitpack.h"
#include "formats/codec/kernels.h"

enum {
    CHUNK = 1 << 16, /* elements a call: 256 KiB of float32 */
    MAX_ROUNDS = 99,
    LEVELS = QN_CPU_AVX512 + 1,
};

struct arena {
    size_t n;    /* elements, a multiple of CHUNK */
    size_t span; /* elements that are really there: N, or CHUNK for the cache */
    float *values;
    uint8_t *packed, *bytes;
    uint16_t *codes;
    struct qn_grid grid;
    struct qn_code_decoder decoder;
    uint32_t counts[4096];
    struct qn_histogram_work work;
    uint64_t masks[CHUNK / 64];
    volatile uint32_t sink;
};

struct subject {
    const char *name;
    /* One chunk; AT is its first element. K is NULL for those that no table has. */
    void (*run)(struct arena *a, const struct qn_codec_kernels *k, size_t at, unsigned argument);
    unsigned argument;
    float bytes;                                         /* of an element, that the speed counts */
    bool common;                                         /* the same at each level */
    void (*prepare)(struct arena *a, unsigned argument); /* not timed */
};

static void run_memset(struct arena *a, const struct qn_codec_kernels *k, size_t at, unsigned v)
{
    (void)k;
    memset(a->values + at, (int)v, CHUNK * sizeof(float));
}

/* By one call, which may choose to pass the caches. */
static void run_memset_all(struct arena *a, const struct qn_codec_kernels *k, size_t at, unsigned v)
{
    (void)k;
    if (at == 0)
        memset(a->values, (int)v, a->span * sizeof(float));
}

static void run_memcpy(struct arena *a, const struct qn_codec_kernels *k, size_t at, unsigned v)
{
    (void)k;
    (void)v;
    memcpy(a->codes + at, a->packed + 2 * at, CHUNK * sizeof(uint16_t));
}

/* In the argument beside the width. */
enum { STREAM = 256, GROUPS = 512, BITS = 255 };

/* Valid codes, near enough those of normal weights, into a->packed: a chunk of them repeated. */
static void prepare_codes(struct arena *a, unsigned how)
{
    const unsigned bits = how & BITS, levels = (1U << (bits - 1)) - 1;
    const size_t size = qn_bitpack_size(CHUNK, bits);
    uint64_t seed = bits;
    qn_grid_init(&a->grid, QN_GRID_QINS, levels, 1.5f);
    for (size_t i = 0; i < CHUNK; i++) {
        uint64_t r = qn_random_u64(&seed), sum = 0;
        for (unsigned j = 0; j < 4; j++)
            sum += r >> 16 * j & 0xffff;
        a->codes[i] = (uint16_t)(sum * 2 * levels >> 18);
    }
    for (size_t at = 0; at < a->span; at += CHUNK)
        if (at == 0)
            qn_bitpack(a->codes, CHUNK, bits, a->packed);
        else
            memcpy(a->packed + at * bits / 8, a->packed, size);
    qn_code_decoder_init(&a->decoder, &a->grid, NULL, size, bits);
    a->decoder.stream = how & STREAM;
}

static void run_decode(struct arena *a, const struct qn_codec_kernels *k, size_t at, unsigned how)
{
    struct qn_code_range range = {UINT16_MAX, 0};
    const size_t group = how & GROUPS ? 64 : CHUNK;
    a->decoder.data = a->packed + at * (how & BITS) / 8;
    for (size_t i = 0; i < CHUNK; i += group)
        k->decode(&a->decoder, i, group, 0.37f, a->values + at + i, &range);
    a->sink = range.most;
}

/* What chunk_decode.c did before decode(): codes, their range, values, each in a pass. */
static void run_passes(struct arena *a, const struct qn_codec_kernels *k, size_t at, unsigned bits)
{
    k->unpack(a->packed + at * bits / 8, CHUNK, bits, a->codes);
    a->sink = k->range(a->codes, CHUNK).most;
    qn_dequantise(&a->grid, 0.37f, a->codes, CHUNK, a->values + at);
}

static void run_unpack(struct arena *a, const struct qn_codec_kernels *k, size_t at, unsigned bits)
{
    k->unpack(a->packed + at * bits / 8, CHUNK, bits, a->codes + at);
}

static void run_pack(struct arena *a, const struct qn_codec_kernels *k, size_t at, unsigned bits)
{
    k->pack(a->codes + at, CHUNK, bits, a->packed + at * bits / 8);
}

static void run_abs_max(struct arena *a, const struct qn_codec_kernels *k, size_t at, unsigned v)
{
    (void)v;
    a->sink = k->abs_max(a->values + at, CHUNK);
}

static void run_quantise(struct arena *a, const struct qn_codec_kernels *k, size_t at,
                         unsigned bits)
{
    (void)bits;
    k->quantise_qins(&a->grid, 1.7f, a->values + at, CHUNK, a->codes + at);
}

static void run_histogram(struct arena *a, const struct qn_codec_kernels *k, size_t at, unsigned v)
{
    (void)v;
    k->histogram(a->bytes + at, CHUNK, a->counts, &a->work);
}

static void run_count(struct arena *a, const struct qn_codec_kernels *k, size_t at, unsigned limit)
{
    k->count_codes(a->codes + at, CHUNK, limit, a->counts);
}

static void run_split(struct arena *a, const struct qn_codec_kernels *k, size_t at, unsigned size)
{
    uint8_t *planes[4];
    for (size_t i = 0; i < size; i++)
        planes[i] = a->packed + at * size + i * CHUNK;
    k->split_planes(size, true, (const uint8_t *)(a->values + at), CHUNK, planes);
}

static void run_merge(struct arena *a, const struct qn_codec_kernels *k, size_t at, unsigned size)
{
    const uint8_t *planes[4];
    for (size_t i = 0; i < size; i++)
        planes[i] = a->packed + at * size + i * CHUNK;
    k->merge_planes(size, true, planes, CHUNK, (uint8_t *)(a->values + at));
}

static void run_match(struct arena *a, const struct qn_codec_kernels *k, size_t at, unsigned v)
{
    k->match(a->bytes + at, CHUNK, (uint8_t)v, a->masks);
}

/* What is read is what others before have written: codes stay below the limit that is counted to.
 */
static const struct subject subjects[] = {
    {"memset of float32", run_memset, 0, 4, true},
    {"memset, one call", run_memset_all, 0, 4, true},
    {"memcpy", run_memcpy, 0, 2, true},
    {"decode 8 bits", run_decode, 8, 4, false, prepare_codes},
    {"decode 8 bits, streamed", run_decode, 8 | STREAM, 4, false, prepare_codes},
    {"decode 8 bits, groups of 64", run_decode, 8 | GROUPS, 4, false, prepare_codes},
    {"decode 6 bits", run_decode, 6, 4, false, prepare_codes},
    {"decode 6 bits, streamed", run_decode, 6 | STREAM, 4, false, prepare_codes},
    {"decode 12 bits", run_decode, 12, 4, false, prepare_codes},
    {"8 bits in three passes", run_passes, 8, 4, false, prepare_codes},
    {"6 bits in three passes", run_passes, 6, 4, false, prepare_codes},
    {"unpack 8 bits to 16", run_unpack, 8, 2, false, prepare_codes},
    {"unpack 6 bits to 16", run_unpack, 6, 2, false, prepare_codes},
    {"largest magnitude", run_abs_max, 0, 4, false},
    {"quantise to 8 bits", run_quantise, 8, 4, false, prepare_codes},
    {"count codes", run_count, 255, 2, false},
    {"pack 8 bits of 16", run_pack, 8, 2, false},
    {"quantise to 6 bits", run_quantise, 6, 4, false, prepare_codes},
    {"pack 6 bits of 16", run_pack, 6, 2, false},
    {"histogram of bytes", run_histogram, 0, 1, false},
    {"split BF16", run_split, 2, 2, false},
    {"merge BF16", run_merge, 2, 2, false},
    {"split F32", run_split, 4, 4, false},
    {"merge F32", run_merge, 4, 4, false},
    {"match", run_match, 3, 1, false},
};
enum { SUBJECTS = sizeof subjects / sizeof *subjects };

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(const double *values, size_t n)
{
    double sorted[MAX_ROUNDS];
    memcpy(sorted, values, n * sizeof *values);
    qsort(sorted, n, sizeof *sorted, compare_doubles);
    return sorted[n / 2];
}

static double median_ratio(const double *a, const double *b, size_t n)
{
    double ratio[MAX_ROUNDS];
    for (size_t i = 0; i < n; i++)
        ratio[i] = a[i] / b[i];
    return median(ratio, n);
}

static void fill(struct arena *a)
{
    uint64_t seed = 1;
    for (size_t i = 0; i < a->n; i++) {
        uint64_t r = qn_random_u64(&seed);
        a->values[i] = (float)((r & 0xffff) + (r >> 16 & 0xffff)) / 65536 - 1;
        a->bytes[i] = (uint8_t)((r >> 32 & 0xff) / 4 + (r >> 40 & 0xff) / 4);
    }
}

static double measure(struct arena *a, const struct subject *s, const struct qn_codec_kernels *k)
{
    if (s->prepare)
        s->prepare(a, s->argument);
    double begin = qn_cpu_seconds();
    for (size_t at = 0; at < a->n; at += CHUNK)
        s->run(a, k, at % a->span, s->argument);
    return 1e-9 * (double)s->bytes * (double)a->n / (qn_cpu_seconds() - begin);
}

typedef double figures[LEVELS][SUBJECTS][MAX_ROUNDS];

static void measure_all(struct arena *a, size_t rounds, figures speed)
{
    fill(a);
    for (size_t r = 0; r < rounds; r++)
        for (size_t s = 0; s < SUBJECTS; s++)
            for (int l = 0; l < LEVELS; l++) {
                const struct qn_codec_kernels *k = qn_codec_kernels_of((enum qn_cpu_level)l);
                if (k && (l == 0 || !subjects[s].common))
                    speed[l][s][r] = measure(a, &subjects[s], k);
            }
}

static void print(const char *where, size_t rounds, figures speed)
{
    printf("%s, GB/s (share of memset, times C)\n", where);
    for (size_t s = 0; s < SUBJECTS; s++) {
        printf("  %-28s", subjects[s].name);
        for (int l = 0; l < LEVELS; l++) {
            if (!qn_codec_kernels_of((enum qn_cpu_level)l) || (l > 0 && subjects[s].common))
                continue;
            printf("  %s %6.2f (%4.2f, %5.2f)", qn_cpu_level_name((enum qn_cpu_level)l),
                   median(speed[l][s], rounds), median_ratio(speed[l][s], speed[0][0], rounds),
                   median_ratio(speed[l][s], speed[0][s], rounds));
        }
        printf("\n");
    }
}

static size_t argument(int argc, char **argv, int i, size_t otherwise, size_t max)
{
    unsigned long v = i < argc ? strtoul(argv[i], NULL, 10) : otherwise;
    return v < 1 ? 1 : v > max ? max : v;
}

int main(int argc, char **argv)
{
    static figures speed;
    struct arena *a = calloc(1, sizeof *a);
    if (!a)
        return 1;
    a->n = argument(argc, argv, 1, 16, 256) << 20;
    const size_t rounds = argument(argc, argv, 2, 9, MAX_ROUNDS);
    a->values = aligned_alloc(64, a->n * sizeof *a->values);
    a->packed = malloc(4 * a->n);
    a->bytes = malloc(a->n);
    a->codes = malloc(a->n * sizeof *a->codes);
    const bool ok = a->values && a->packed && a->bytes && a->codes;
    if (ok) {
        a->span = a->n;
        measure_all(a, rounds, speed);
        print("from and to memory", rounds, speed);
        a->span = CHUNK;
        measure_all(a, rounds, speed);
        print("in the cache", rounds, speed);
    }
    free(a->values);
    free(a->packed);
    free(a->bytes);
    free(a->codes);
    free(a);
    return ok ? 0 : 1;
}
