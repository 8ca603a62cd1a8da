/* bench_codec [MI_SYMBOLS [ROUNDS [CHUNK_KI]]]: ratio and speed of every coder on the streams
 * of streams.h, in chunks, beside memcpy and libzstd's levels 1 and 3. All coders take turns in
 * each round; the median of the processor time is shown. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <zstd.h>

#include "bench/streams.h"
#include "formats/codec/bitpack.h"
#include "formats/codec/codec.h"

struct arena {
    size_t n, chunk; /* symbols */
    uint8_t *symbols, *decoded, *coded, *scratch;
    uint16_t *codes;
    size_t *sizes; /* of each chunk, coded */
    size_t stride; /* bytes for each coded chunk */
    ZSTD_CCtx *cctx;
    ZSTD_DCtx *dctx;
};

/* Codes or decodes one chunk; returns the coded size, 0 for a failure. */
struct subject {
    const char *name;
    size_t (*encode)(struct arena *a, const uint8_t *src, size_t n, uint8_t *dst, int argument);
    size_t (*decode)(struct arena *a, const uint8_t *src, size_t size, uint8_t *dst, size_t n,
                     int argument);
    int argument;
};

static size_t encode_codec(struct arena *a, const uint8_t *src, size_t n, uint8_t *dst, int id)
{
    return qn_codec((enum qn_codec_id)id)->encode(src, n, dst, a->stride, a->scratch);
}

static size_t decode_codec(struct arena *a, const uint8_t *src, size_t size, uint8_t *dst, size_t n,
                           int id)
{
    return qn_codec((enum qn_codec_id)id)->decode(src, size, dst, n, a->scratch) ? size : 0;
}

static size_t encode_libzstd(struct arena *a, const uint8_t *src, size_t n, uint8_t *dst, int level)
{
    size_t size = ZSTD_compressCCtx(a->cctx, dst, a->stride, src, n, level);
    return ZSTD_isError(size) ? 0 : size;
}

static size_t decode_libzstd(struct arena *a, const uint8_t *src, size_t size, uint8_t *dst,
                             size_t n, int level)
{
    (void)level;
    return ZSTD_decompressDCtx(a->dctx, dst, n, src, size) == n ? size : 0;
}

/* Bit-packing of 16-bit codes; its speeds count codes as bytes, like the others'. */
static size_t encode_bitpack(struct arena *a, const uint8_t *src, size_t n, uint8_t *dst, int bits)
{
    (void)src;
    qn_bitpack(a->codes, n, (unsigned)bits, dst);
    return qn_bitpack_size(n, (unsigned)bits);
}

static size_t decode_bitpack(struct arena *a, const uint8_t *src, size_t size, uint8_t *dst,
                             size_t n, int bits)
{
    (void)dst;
    return qn_bitunpack(src, size, n, (unsigned)bits, a->codes) ? size : 0;
}

static const struct subject subjects[] = {
    {"store (memcpy)", encode_codec, decode_codec, QN_CODEC_STORE},
    {"bitpack 6", encode_bitpack, decode_bitpack, 6},
    {"bitpack 8", encode_bitpack, decode_bitpack, 8},
    {"huffman", encode_codec, decode_codec, QN_CODEC_HUFFMAN},
    {"rle", encode_codec, decode_codec, QN_CODEC_RLE},
    {"rle-huffman", encode_codec, decode_codec, QN_CODEC_RLE_HUFFMAN},
    {"zstd", encode_codec, decode_codec, QN_CODEC_ZSTD},
    {"tans", encode_codec, decode_codec, QN_CODEC_TANS},
    {"libzstd -1", encode_libzstd, decode_libzstd, 1},
    {"libzstd -3", encode_libzstd, decode_libzstd, 3},
};
enum { SUBJECTS = sizeof subjects / sizeof *subjects, MAX_ROUNDS = 99 };

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, compare_doubles);
    return values[n / 2];
}

/* Encodes, then decodes all chunks. Returns the total coded size, 0 for a failure. */
static size_t run(struct arena *a, const struct subject *s, double *encode, double *decode)
{
    size_t total = 0;
    double begin = seconds();
    for (size_t at = 0, i = 0; at < a->n; at += a->chunk, i++) {
        size_t n = a->n - at < a->chunk ? a->n - at : a->chunk;
        a->sizes[i] = s->encode(a, a->symbols + at, n, a->coded + i * a->stride, s->argument);
        if (a->sizes[i] == 0)
            return 0;
        total += a->sizes[i];
    }
    *encode = seconds() - begin;
    begin = seconds();
    for (size_t at = 0, i = 0; at < a->n; at += a->chunk, i++) {
        size_t n = a->n - at < a->chunk ? a->n - at : a->chunk;
        if (s->decode(a, a->coded + i * a->stride, a->sizes[i], a->decoded + at, n, s->argument) ==
            0)
            return 0;
    }
    *decode = seconds() - begin;
    return total;
}

static bool measure_stream(struct arena *a, const struct qn_stream *stream, size_t rounds)
{
    static double encode[SUBJECTS][MAX_ROUNDS], decode[SUBJECTS][MAX_ROUNDS];
    size_t total[SUBJECTS] = {0};
    stream->fill(a->symbols, a->n, 1);
    for (size_t i = 0; i < a->chunk; i++)
        a->codes[i] = a->symbols[i] & 63;
    for (size_t r = 0; r < rounds; r++) {
        for (size_t s = 0; s < SUBJECTS; s++) {
            total[s] = run(a, &subjects[s], &encode[s][r], &decode[s][r]);
            if (total[s] == 0 || (subjects[s].encode != encode_bitpack &&
                                  memcmp(a->symbols, a->decoded, a->n) != 0)) {
                fprintf(stderr, "%s failed on stream %s\n", subjects[s].name, stream->name);
                return false;
            }
        }
    }
    printf("stream %s: %s, entropy %.2f\n", stream->name, stream->what, stream->entropy);
    for (size_t s = 0; s < SUBJECTS; s++) {
        double n = (double)a->n;
        printf("  %-16s %7.4f bits %7.3fx  encode %6.2f GB/s  decode %6.2f GB/s\n",
               subjects[s].name, 8 * (double)total[s] / n, n / (double)total[s],
               n / median(encode[s], rounds) / 1e9, n / median(decode[s], rounds) / 1e9);
    }
    return true;
}

static bool allocate(struct arena *a)
{
    size_t chunks = (a->n + a->chunk - 1) / a->chunk, scratch = 0;
    a->stride = ZSTD_compressBound(a->chunk) + a->chunk;
    for (int id = 0; id < QN_CODEC_COUNT; id++) {
        const struct qn_codec *c = qn_codec((enum qn_codec_id)id);
        size_t need = c == NULL ? 0 : c->scratch(a->chunk);
        scratch = need > scratch ? need : scratch;
    }
    a->symbols = malloc(a->n);
    a->decoded = malloc(a->n);
    a->coded = malloc(chunks * a->stride);
    a->scratch = malloc(scratch);
    a->codes = malloc(a->chunk * sizeof *a->codes);
    a->sizes = malloc(chunks * sizeof *a->sizes);
    a->cctx = ZSTD_createCCtx();
    a->dctx = ZSTD_createDCtx();
    return a->symbols != NULL && a->decoded != NULL && a->coded != NULL && a->scratch != NULL &&
           a->codes != NULL && a->sizes != NULL && a->cctx != NULL && a->dctx != NULL;
}

static void finish(struct arena *a)
{
    free(a->symbols);
    free(a->decoded);
    free(a->coded);
    free(a->scratch);
    free(a->codes);
    free(a->sizes);
    ZSTD_freeCCtx(a->cctx);
    ZSTD_freeDCtx(a->dctx);
}

static size_t argument(int argc, char **argv, int i, size_t otherwise, size_t max)
{
    unsigned long v = i < argc ? strtoul(argv[i], NULL, 10) : otherwise;
    return v < 1 ? 1 : v > max ? max : v;
}

int main(int argc, char **argv)
{
    struct arena a = {.n = argument(argc, argv, 1, 32, 1024) << 20};
    size_t rounds = argument(argc, argv, 2, 5, MAX_ROUNDS);
    a.chunk = argument(argc, argv, 3, 256, 65536) << 10;
    bool ok = allocate(&a);
    for (size_t i = 0; ok && i < qn_n_streams; i++)
        ok = measure_stream(&a, &qn_streams[i], rounds);
    finish(&a);
    return ok ? 0 : 1;
}
