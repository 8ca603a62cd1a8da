/* bench_lossless [MI_ELEMENTS [ROUNDS [CHUNK_KI [PEER.so ...]]]]: ratio and speed of lossless
 * chunks of Gaussian weights on each CPU level, beside memcpy, libzstd with and without a shuffle
 * of bytes, and peers (include/qins/bench_peer.h). All take turns in each round; medians of
 * processor time. Speeds count bytes of the weights. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <zstd.h>

#include "bench/peer.h"
#include "bench/streams.h"
#include "core/cpu.h"
#include "formats/codec/chunk.h"

enum {
    MAX_ROUNDS = 99,
    MAX_SUBJECTS = 40,
    MAX_EXPANSION = 4, /* that a peer may ask room for */
};

/* One chunk in, one chunk out; SUBJECT's own state and buffers. Sizes in bytes; 0: failed. */
struct subject {
    char name[48];
    size_t (*encode)(struct subject *s, const uint8_t *src, size_t size, uint8_t *dst, size_t room);
    bool (*decode)(struct subject *s, const uint8_t *src, size_t size, uint8_t *dst, size_t want);
    enum qn_cpu_level level;
    enum qins_dtype dtype;
    int argument; /* enum qn_codec_id; level of libzstd */
    struct qn_chunk_work work;
    struct qn_buf buf;
    ZSTD_CCtx *cctx;
    ZSTD_DCtx *dctx;
    const struct qins_bench_peer *peer;
    void *state;
    size_t coded; /* bytes of all chunks */
    double seconds[3][MAX_ROUNDS];
};

static const char *const columns[] = {"encode", "decode", "decode to one place"};

static size_t encode_chunk(struct subject *s, const uint8_t *src, size_t size, uint8_t *dst,
                           size_t room)
{
    const struct qn_chunk_params p = {
        .content = QN_CONTENT_LOSSLESS, .dtype = s->dtype, .codec = (enum qn_codec_id)s->argument};
    struct qn_buf out = {dst, 0, room}; /* has room for any outcome, so it never grows */
    return qn_chunk_encode(&p, src, size / qins_dtype_size(s->dtype), &s->work, &out, NULL) ==
                   QINS_OK
               ? out.size
               : 0;
}

static bool decode_chunk(struct subject *s, const uint8_t *src, size_t size, uint8_t *dst,
                         size_t want)
{
    return qn_chunk_decode(src, size, s->dtype, want / qins_dtype_size(s->dtype), false, &s->work,
                           dst, NULL) == QINS_OK;
}

static size_t encode_copy(struct subject *s, const uint8_t *src, size_t size, uint8_t *dst,
                          size_t room)
{
    (void)s;
    memcpy(dst, src, size);
    return size <= room ? size : 0;
}

static bool decode_copy(struct subject *s, const uint8_t *src, size_t size, uint8_t *dst,
                        size_t want)
{
    (void)s;
    memcpy(dst, src, want);
    return size == want;
}

static size_t encode_zstd(struct subject *s, const uint8_t *src, size_t size, uint8_t *dst,
                          size_t room)
{
    const size_t coded = ZSTD_compressCCtx(s->cctx, dst, room, src, size, s->argument);
    return ZSTD_isError(coded) ? 0 : coded;
}

static bool decode_zstd(struct subject *s, const uint8_t *src, size_t size, uint8_t *dst,
                        size_t want)
{
    return ZSTD_decompressDCtx(s->dctx, dst, want, src, size) == want;
}

/* Byte k of every element together, as HDF5's shuffle filter has them. */
static size_t encode_shuffled(struct subject *s, const uint8_t *src, size_t size, uint8_t *dst,
                              size_t room)
{
    const size_t width = qins_dtype_size(s->dtype), n = size / width;
    for (size_t k = 0; k < width; k++)
        for (size_t i = 0; i < n; i++)
            s->buf.data[k * n + i] = src[i * width + k];
    return encode_zstd(s, s->buf.data, size, dst, room);
}

static bool decode_shuffled(struct subject *s, const uint8_t *src, size_t size, uint8_t *dst,
                            size_t want)
{
    const size_t width = qins_dtype_size(s->dtype), n = want / width;
    if (!decode_zstd(s, src, size, s->buf.data, want))
        return false;
    for (size_t k = 0; k < width; k++)
        for (size_t i = 0; i < n; i++)
            dst[i * width + k] = s->buf.data[k * n + i];
    return true;
}

static size_t encode_peer(struct subject *s, const uint8_t *src, size_t size, uint8_t *dst,
                          size_t room)
{
    const size_t coded = s->peer->encode(s->state, src, size, dst, room);
    return coded <= room ? coded : 0;
}

static bool decode_peer(struct subject *s, const uint8_t *src, size_t size, uint8_t *dst,
                        size_t want)
{
    return s->peer->decode(s->state, src, size, dst, want) == want;
}

struct arena {
    enum qins_dtype dtype;
    size_t n, chunk, stride, rounds; /* bytes; of each coded chunk's place */
    uint8_t *source, *coded, *decoded, *place;
    size_t *sizes;
    struct subject *subjects;
    size_t n_subjects;
};

static struct subject *add(struct arena *a, const char *name, const char *suffix)
{
    struct subject *s = &a->subjects[a->n_subjects++];
    *s = (struct subject){.dtype = a->dtype, .level = qn_cpu_level()};
    snprintf(s->name, sizeof s->name, "%s%s", name, suffix);
    return s;
}

static void add_own(struct arena *a, enum qn_codec_id codec, enum qn_cpu_level level)
{
    char suffix[32];
    if (level > qn_cpu_level())
        return;
    snprintf(suffix, sizeof suffix, " %s", qn_cpu_level_name(level));
    struct subject *s = add(a, qn_codec_name(codec), suffix);
    s->encode = encode_chunk;
    s->decode = decode_chunk;
    s->argument = (int)codec;
    s->level = level;
}

static bool add_libzstd(struct arena *a, int level, bool shuffled)
{
    char suffix[32];
    snprintf(suffix, sizeof suffix, " -%d", level);
    struct subject *s = add(a, shuffled ? "shuffle, libzstd" : "libzstd", suffix);
    s->encode = shuffled ? encode_shuffled : encode_zstd;
    s->decode = shuffled ? decode_shuffled : decode_zstd;
    s->argument = level;
    s->cctx = ZSTD_createCCtx();
    s->dctx = ZSTD_createDCtx();
    return s->cctx && s->dctx && qn_buf_reserve(&s->buf, a->chunk, NULL) == QINS_OK;
}

static bool add_peers(struct arena *a, const struct qn_bench_peers *peers)
{
    const uint32_t kind = a->dtype == QINS_BF16  ? QINS_BENCH_BF16
                          : a->dtype == QINS_F32 ? QINS_BENCH_F32
                                                 : UINT32_MAX;
    for (size_t i = 0; i < peers->n && a->n_subjects < MAX_SUBJECTS; i++) {
        const struct qins_bench_peer *peer = peers->list[i].peer;
        if (peer->kind != kind)
            continue;
        struct subject *s = add(a, peer->name, "");
        s->peer = peer;
        s->encode = encode_peer;
        s->decode = decode_peer;
        s->state = peer->create ? peer->create() : NULL;
        if (peer->create && !s->state)
            return false;
        const size_t room = peer->bound(s->state, a->chunk);
        if (room == 0 || room > MAX_EXPANSION * a->chunk)
            return false;
        a->stride = room > a->stride ? room : a->stride;
    }
    return true;
}

static void finish_subjects(struct arena *a)
{
    for (size_t i = 0; i < a->n_subjects; i++) {
        struct subject *s = &a->subjects[i];
        qn_chunk_work_finish(&s->work);
        qn_buf_finish(&s->buf);
        ZSTD_freeCCtx(s->cctx);
        ZSTD_freeDCtx(s->dctx);
        if (s->state && s->peer->destroy)
            s->peer->destroy(s->state);
    }
    a->n_subjects = 0;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static bool decode_all(struct arena *a, struct subject *s, uint8_t *dst, size_t step)
{
    for (size_t i = 0; i < a->n / a->chunk; i++)
        if (!s->decode(s, a->coded + i * a->stride, a->sizes[i], dst + i * step, a->chunk))
            return false;
    return true;
}

static bool run(struct arena *a, struct subject *s, size_t round)
{
    qn_cpu_use(s->level);
    double begin = seconds();
    s->coded = 0;
    for (size_t i = 0; i < a->n / a->chunk; i++) {
        a->sizes[i] =
            s->encode(s, a->source + i * a->chunk, a->chunk, a->coded + i * a->stride, a->stride);
        if (a->sizes[i] == 0)
            return false;
        s->coded += a->sizes[i];
    }
    s->seconds[0][round] = seconds() - begin;
    begin = seconds();
    bool ok = decode_all(a, s, a->decoded, a->chunk);
    s->seconds[1][round] = seconds() - begin;
    ok = ok && memcmp(a->decoded, a->source, a->n) == 0;
    begin = seconds();
    ok = ok && decode_all(a, s, a->place, 0);
    s->seconds[2][round] = seconds() - begin;
    return ok;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double speed(struct arena *a, double *times)
{
    qsort(times, a->rounds, sizeof *times, compare_doubles);
    return (double)a->n / times[a->rounds / 2] / 1e9;
}

static void fill(enum qins_dtype dtype, uint8_t *dst, size_t n)
{
    const size_t width = qins_dtype_size(dtype);
    uint64_t seed = 1;
    float row[QN_STREAM_ROW];
    for (size_t at = 0; at < n; at += QN_STREAM_ROW) {
        qn_gaussian_row(&seed, row);
        for (size_t i = 0; i < QN_STREAM_ROW; i++)
            row[i] *= 0.02f;
        qn_from_f32(dtype, row, dst + at * width, QN_STREAM_ROW);
    }
}

static bool measure(struct arena *a, const struct qn_bench_peers *peers)
{
    const enum qn_cpu_level level = qn_cpu_level();
    struct subject *copy = add(a, "memcpy", "");
    copy->encode = encode_copy;
    copy->decode = decode_copy;
    for (int l = QN_CPU_AVX512; l >= QN_CPU_C; l--)
        add_own(a, QN_CODEC_TANS, (enum qn_cpu_level)l);
    add_own(a, QN_CODEC_HUFFMAN, level);
    bool ok = add_libzstd(a, 1, false) && add_libzstd(a, 3, false) && add_libzstd(a, 1, true) &&
              add_libzstd(a, 3, true) && add_peers(a, peers);
    a->coded = malloc(a->n / a->chunk * a->stride);
    ok = ok && a->coded;
    for (size_t r = 0; r < a->rounds; r++)
        for (size_t i = 0; i < a->n_subjects && ok; i++) {
            ok = run(a, &a->subjects[i], r);
            if (!ok)
                fprintf(stderr, "%s failed\n", a->subjects[i].name);
        }
    qn_cpu_use(level);
    printf("%s, %zu elements a chunk\n", qins_dtype_name(a->dtype),
           a->chunk / qins_dtype_size(a->dtype));
    for (size_t i = 0; i < a->n_subjects && ok; i++) {
        struct subject *s = &a->subjects[i];
        printf("  %-24s %7.4fx", s->name, (double)a->n / (double)s->coded);
        for (size_t k = 0; k < 3; k++)
            printf("  %s %6.2f", columns[k], speed(a, s->seconds[k]));
        printf(" GB/s\n");
    }
    free(a->coded);
    a->coded = NULL;
    finish_subjects(a);
    return ok;
}

static bool measure_type(enum qins_dtype dtype, size_t n, size_t chunk, size_t rounds,
                         const struct qn_bench_peers *peers)
{
    const size_t width = qins_dtype_size(dtype);
    struct arena a = {
        .dtype = dtype, .n = n / chunk * chunk * width, .chunk = chunk * width, .rounds = rounds};
    a.stride = ZSTD_compressBound(a.chunk) + QN_CHUNK_HEADER_SIZE;
    a.source = malloc(a.n);
    a.decoded = malloc(a.n);
    a.place = malloc(a.chunk);
    a.sizes = malloc(a.n / a.chunk * sizeof *a.sizes);
    a.subjects = calloc(MAX_SUBJECTS, sizeof *a.subjects);
    bool ok = a.source && a.decoded && a.place && a.sizes && a.subjects;
    if (ok) {
        fill(dtype, a.source, a.n / width);
        ok = measure(&a, peers);
    }
    free(a.source);
    free(a.decoded);
    free(a.place);
    free(a.sizes);
    free(a.subjects);
    return ok;
}

static size_t argument(int argc, char **argv, int i, size_t otherwise, size_t max)
{
    unsigned long v = i < argc ? strtoul(argv[i], NULL, 10) : otherwise;
    return v < 1 ? 1 : v > max ? max : v;
}

int main(int argc, char **argv)
{
    static const enum qins_dtype types[] = {QINS_BF16, QINS_F16, QINS_F32, QINS_F64};
    static const enum qins_bench_kind kinds[] = {QINS_BENCH_BF16, QINS_BENCH_F32};
    const size_t n = argument(argc, argv, 1, 32, 1024) << 20;
    const size_t rounds = argument(argc, argv, 2, 5, MAX_ROUNDS);
    const size_t chunk = argument(argc, argv, 3, 512, 1024) << 10;
    bool ok = true;
    for (size_t i = 0; i < sizeof types / sizeof *types && ok; i++) {
        struct qn_bench_peers peers = {0};
        struct qins_error err = {0};
        if (argc > 4 && types[i] != QINS_F16 && types[i] != QINS_F64)
            ok = qn_bench_peers_load(&peers, (const char *const *)argv + 4, (size_t)argc - 4,
                                     kinds[types[i] == QINS_F32], &err) == QINS_OK;
        if (!ok)
            fprintf(stderr, "%s\n", err.message);
        ok = ok && measure_type(types[i], n, chunk, rounds, &peers);
        qn_bench_peers_finish(&peers);
    }
    return ok ? 0 : 1;
}
