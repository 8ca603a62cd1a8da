/* study_bench [MB [THREADS]]: the study of one F32 tensor of Gaussian weights in rows of 4096,
 * statistics, densities and all candidates, beside encoding a chunk anew for each candidate. The
 * tensor is a file in $TMPDIR. Times are the processor's, of all threads together, so that rates
 * are those of a core whatever else the machine does. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "analyze/candidates.h"
#include "core/random.h"
#include "formats/codec/chunk.h"

enum {
    ROW = 4096,
    MIB = 1 << 20,
    BLOCK = 4 * MIB, /* elements that are made once and written again with other scales */
    SAMPLE = 128 * ROW,
    PASSES = 3, /* of which the fastest is shown */
    PATH_MAX_LENGTH = 512,
};

static double uniform(uint64_t *state)
{
    return ((double)(qn_random_u64(state) >> 11) + 0.5) * 0x1p-53;
}

/* Box and Muller's transform, 1958. */
static void fill_gaussian(float *x, size_t n)
{
    const double two_pi = 6.283185307179586, sigma = 0.02;
    uint64_t state = 1;
    for (size_t i = 0; i + 1 < n; i += 2) {
        double r = sigma * sqrt(-2.0 * log(uniform(&state))), a = two_pi * uniform(&state);
        x[i] = (float)(r * cos(a));
        x[i + 1] = (float)(r * sin(a));
    }
}

/* One tensor "w" of N elements, a multiple of BLOCK. */
static bool write_model(FILE *f, size_t n)
{
    char header[256];
    size_t bytes = BLOCK * sizeof(float);
    float *block = malloc(bytes), *scaled = malloc(bytes);
    int length = snprintf(header, sizeof header,
                          "{\"w\":{\"dtype\":\"F32\",\"shape\":[%zu,%d],\"data_offsets\":[0,%zu]}}",
                          n / ROW, ROW, n * sizeof(float));
    uint64_t size = (uint64_t)length;
    bool ok = block && scaled && fwrite(&size, sizeof size, 1, f) == 1 &&
              fwrite(header, 1, size, f) == size;
    if (ok)
        fill_gaussian(block, BLOCK);
    for (size_t k = 0; k * BLOCK < n && ok; k++) {
        float scale = 1.0F + (float)k / 64.0F;
        for (size_t i = 0; i < BLOCK; i++)
            scaled[i] = scale * block[i];
        ok = fwrite(scaled, 1, bytes, f) == bytes;
    }
    free(block);
    free(scaled);
    return ok && fflush(f) == 0;
}

/* Largest resident size of this process so far, in KiB; 0 where it is not known. */
static unsigned long peak_kib(void)
{
    char line[256];
    unsigned long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "VmHWM:", 6) == 0)
            kib = strtoul(line + 6, NULL, 10);
    if (f)
        fclose(f);
    return kib;
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct times {
    double study, fixed, coded;
    size_t candidates;
};

static enum qins_status study_once(const struct qn_source *source, unsigned threads,
                                   struct times *out, struct qins_error *err)
{
    struct qn_study_options options = {.threads = threads};
    struct qn_candidate_list fixed = {0}, coded = {0};
    struct qn_tensor_study s;
    double begin = seconds();
    enum qins_status st = qn_study_tensor(source, 0, &options, 0, 0, NULL, &s, err);
    double studied = seconds();
    if (st == QINS_OK)
        st = qn_candidates_fixed(&s, &fixed, err);
    double half = seconds();
    if (st == QINS_OK)
        st = qn_candidates_coded(&s, &coded, err);
    double end = seconds();
    *out = (struct times){studied - begin, half - studied, end - half, fixed.count + coded.count};
    qn_candidate_list_finish(&fixed);
    qn_candidate_list_finish(&coded);
    qn_tensor_study_finish(&s);
    return st;
}

/* Seconds to encode and decode SAMPLE elements for one candidate, the mean of a few. */
static enum qins_status encode_once(double *each, struct qins_error *err)
{
    static const unsigned levels[] = {7, 31, 127, 511};
    enum { LEVELS = sizeof levels / sizeof *levels };
    struct qn_chunk_work work = {{0}};
    struct qn_buf payload = {0};
    float *x = malloc(SAMPLE * sizeof *x), *y = malloc(SAMPLE * sizeof *y);
    enum qins_status st = x && y ? QINS_OK : qn_fail_memory(err);
    if (st == QINS_OK)
        fill_gaussian(x, SAMPLE);
    double begin = seconds();
    for (size_t i = 0; i < LEVELS && st == QINS_OK; i++) {
        struct qn_chunk_params p = {.content = QN_CONTENT_QINS,
                                    .dtype = QINS_F32,
                                    .codec = QN_CODEC_HUFFMAN,
                                    .levels = levels[i],
                                    .clip = 1.0F,
                                    .row_length = ROW,
                                    .group = ROW};
        payload.size = 0;
        st = qn_chunk_encode(&p, x, SAMPLE, &work, &payload, err);
        if (st == QINS_OK)
            st = qn_chunk_decode(payload.data, payload.size, QINS_F32, SAMPLE, true, &work, y, err);
    }
    *each = (seconds() - begin) / LEVELS;
    qn_chunk_work_finish(&work);
    qn_buf_finish(&payload);
    free(x);
    free(y);
    return st;
}

static void report(const struct times *t, double one_encoding, size_t n, unsigned threads)
{
    double megabytes = (double)n * sizeof(float) * 1e-6;
    double total = t->study + t->fixed + t->coded;
    double naive = one_encoding * (double)n / SAMPLE * (double)t->candidates;
    printf("%.0f MB of F32, %u thread%s; processor time, rates a core\n", megabytes, threads,
           threads == 1 ? "" : "s");
    printf("statistics and densities  %9.3f s  %9.1f MB/s\n", t->study, megabytes / t->study);
    printf("fixed-rate candidates     %9.3f s\n", t->fixed);
    printf("coded candidates          %9.3f s\n", t->coded);
    printf("all of it, %5zu candidates%9.3f s  %9.1f MB/s\n", t->candidates, total,
           megabytes / total);
    printf("encoding for each of them %9.0f s  %9.3f MB/s (from four of them on %d Ki elements)\n",
           naive, megabytes / naive, SAMPLE / 1024);
    printf("ratio                     %9.0f\n", naive / total);
    printf("largest resident size     %9.1f MB\n", (double)peak_kib() * 1024e-6);
}

int main(int argc, char **argv)
{
    size_t blocks = (argc > 1 ? strtoul(argv[1], NULL, 10) : 1024) * (size_t)MIB / sizeof(float);
    blocks = blocks / BLOCK > 0 ? blocks / BLOCK : 1;
    unsigned threads = argc > 2 ? (unsigned)strtoul(argv[2], NULL, 10) : 1;
    const char *folder = getenv("TMPDIR");
    char path[PATH_MAX_LENGTH], line[2048];
    struct times best = {0}, t;
    struct qins_error err = {0};
    struct qn_source *source = NULL;
    double one_encoding = 0.0;
    snprintf(path, sizeof path, "%s/study-XXXXXX.safetensors", folder ? folder : "/tmp");
    int fd = mkstemps(path, (int)strlen(".safetensors"));
    FILE *f = fd >= 0 ? fdopen(fd, "wb") : NULL;
    threads = threads > 0 ? threads : 1;
    enum qins_status st = f && write_model(f, blocks * BLOCK)
                              ? QINS_OK
                              : qn_fail_errno(&err, path, "write the tensor");
    if (st == QINS_OK)
        st = qn_source_open(&source, path, NULL, &err);
    for (int i = 0; i < PASSES && st == QINS_OK; i++) {
        st = study_once(source, threads, &t, &err);
        if (i == 0 || t.study + t.fixed + t.coded < best.study + best.fixed + best.coded)
            best = t;
    }
    if (st == QINS_OK)
        st = encode_once(&one_encoding, &err);
    if (st == QINS_OK)
        report(&best, one_encoding, blocks * BLOCK, threads);
    else
        fprintf(stderr, "study_bench: %s\n", qins_error_format(&err, line, sizeof line));
    qn_source_destroy(source);
    if (f)
        fclose(f);
    if (fd >= 0)
        unlink(path);
    return st == QINS_OK ? 0 : 1;
}
