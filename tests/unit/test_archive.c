#include "formats/archive/reader.h"
#include "formats/archive/spool.h"
#include "formats/archive/writer.h"
#include "tests/unit/archive_samples.h"

#include <dirent.h>
#include <malloc.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

static void attach(struct qn_attachment_list *list)
{
    struct qins_error err;
    test_ok(qn_attachment_add(list, "config.json", "{\"a\": 1}\n", 9, &err), &err);
    test_ok(qn_attachment_add(list, "empty", NULL, 0, &err), &err);
    test_ok(qn_attachment_add(list, "100%", "\0\xff", 2, &err), &err);
}

/* By way of a spool if SPOOL is not NULL. */
static void write_archive(const char *path, const char *spool_path)
{
    struct qn_archive_writer *w;
    struct qn_attachment_list attachments = {0};
    struct qins_error err;
    uint64_t size;
    test_ok(qn_archive_writer_create(&w, path, "test", &err), &err);
    if (spool_path) {
        struct qn_spool *s;
        struct qn_spool_state at;
        static const struct qn_digest job = {{1}};
        test_ok(qn_spool_open(&s, spool_path, &job, false, NULL, &at, &err), &err);
        for (size_t i = 0; i < N_SAMPLES; i++)
            test_send(qn_spool_sink(s), &samples[i]);
        test_ok(qn_spool_replay(s, qn_archive_writer_sink(w), &err), &err);
        qn_spool_destroy(s, true);
    } else {
        for (size_t i = 0; i < N_SAMPLES; i++)
            test_send(qn_archive_writer_sink(w), &samples[i]);
    }
    attach(&attachments);
    assert_false(qn_exists(path));
    test_ok(qn_archive_writer_commit(w, &attachments, &size, &err), &err);
    qn_archive_writer_destroy(w);
    qn_attachment_list_finish(&attachments);
    struct qn_file f;
    test_ok(qn_file_open(&f, path, &err), &err);
    assert_int_equal(f.size, size);
    qn_file_close(&f);
}

/* Values of the quantised sample tensors lie within half a step of the coarsest place of the
 * grid, which is at |x| = scale. */
static void check_close(const struct test_tensor *t, const float *want, const float *got, size_t n)
{
    float scale = 2.0f, kappa = t->plan.kappa;
    float step = scale * (1 + kappa) / (float)t->plan.levels;
    for (size_t i = 0; i < n; i++)
        if (!(fabsf(want[i] - got[i]) <= step))
            fail_msg("%s: element %zu is %g, not %g", t->name, i, (double)got[i], (double)want[i]);
}

/* Elements [first, first + count) through the reader, as the source has them. */
static void check_range(const struct qn_archive *a, size_t i, const uint8_t *data, uint64_t first,
                        uint64_t count)
{
    const struct qn_tensor *t = &a->manifest.tensors[i].tensor;
    size_t size = qins_dtype_size(t->dtype);
    struct qn_chunk_work work = {0};
    struct qn_buf payload = {0};
    struct qins_error err;
    uint8_t *got = malloc((size_t)count * size + 1);
    float *wide = malloc(((size_t)count + 1) * sizeof *wide);
    assert_non_null(got);
    assert_non_null(wide);
    test_ok(qn_archive_decode(a, i, first, count, false, &work, &payload, got, &err), &err);
    if (samples[i].plan.content == QN_CONTENT_LOSSLESS) {
        assert_memory_equal(got, data + first * size, (size_t)count * size);
    } else {
        float *want = malloc(((size_t)count + 1) * sizeof *want);
        assert_non_null(want);
        qn_to_f32(t->dtype, data + first * size, want, (size_t)count);
        test_ok(qn_archive_decode(a, i, first, count, true, &work, &payload, wide, &err), &err);
        check_close(&samples[i], want, wide, (size_t)count);
        free(want);
    }
    free(wide);
    free(got);
    qn_buf_finish(&payload);
    qn_chunk_work_finish(&work);
}

static void check_ranges(const struct qn_archive *a)
{
    uint64_t seed = 11;
    for (size_t i = 0; i < N_SAMPLES; i++) {
        const struct qn_tensor *t = &a->manifest.tensors[i].tensor;
        uint8_t *data = test_tensor_bytes(t);
        assert_string_equal(t->name, samples[i].name);
        check_range(a, i, data, 0, t->n_elements);
        for (int k = 0; k < 3 && t->n_elements; k++) {
            uint64_t first = test_random(&seed) % t->n_elements;
            check_range(a, i, data, first, test_random(&seed) % (t->n_elements - first + 1));
        }
        check_range(a, i, data, t->n_elements, 0);
        free(data);
    }
}

static void check_files(const struct qn_archive *a)
{
    struct qn_attachment_list want = {0};
    struct qins_error err;
    attach(&want);
    assert_int_equal(a->manifest.n_files, want.count);
    for (size_t i = 0; i < want.count; i++) {
        struct qn_buf got = {0};
        assert_string_equal(a->manifest.files[i].name, want.items[i].name);
        test_ok(qn_archive_file_read(a, i, &got, &err), &err);
        assert_int_equal(got.size, want.items[i].size);
        if (got.size)
            assert_memory_equal(got.data, want.items[i].data, got.size);
        qn_buf_finish(&got);
    }
    qn_attachment_list_finish(&want);
}

static void round_trip(void **state)
{
    (void)state;
    struct qn_archive *a;
    struct qins_error err;
    const char *path = test_file("round.qins");
    write_archive(path, NULL);
    test_ok(qn_archive_open(&a, path, &err), &err);
    test_ok(qn_archive_check_hash(a, 3, NULL, &err), &err);
    assert_int_equal(a->manifest.n_tensors, N_SAMPLES);
    check_ranges(a);
    check_files(a);
    struct qn_chunk_work work = {0};
    struct qn_buf payload = {0};
    uint8_t byte;
    assert_int_equal(qn_archive_decode(a, 0, 15, 1, true, &work, &payload, &byte, &err),
                     QINS_ERR_USAGE);
    assert_int_equal(qn_archive_decode(a, 0, 1, UINT64_MAX, true, &work, &payload, &byte, &err),
                     QINS_ERR_USAGE);
    qn_archive_destroy(a);
}

/* The fingerprint as docs/archive-format.md has it, from the source bytes alone. */
static void fingerprints(void **state)
{
    (void)state;
    struct qn_archive *a;
    struct qins_error err;
    test_ok(qn_archive_open(&a, test_file("round.qins"), &err), &err);
    for (size_t i = 0; i < N_SAMPLES; i++) {
        const struct qn_archive_tensor *t = &a->manifest.tensors[i];
        uint8_t *data = test_tensor_bytes(&t->tensor), leaves[64 * 16];
        uint64_t n = t->tensor.rank ? t->layout.n_chunks : 1;
        size_t size = qins_dtype_size(t->tensor.dtype);
        for (uint64_t k = 0; k < n; k++) {
            uint64_t first = 0, count = 1;
            if (t->tensor.rank)
                qn_layout_chunk(&t->layout, k, &first, &count);
            struct qn_digest leaf = qn_hash128(data + first * size, (size_t)count * size);
            memcpy(leaves + 16 * k, leaf.bytes, 16);
        }
        struct qn_digest want = qn_hash128(leaves, 16 * (size_t)n);
        assert_memory_equal(t->fingerprint.bytes, want.bytes, 16);
        free(data);
    }
    qn_archive_destroy(a);
}

static void check_public_tensor(const qins_archive *a, size_t i)
{
    struct qins_tensor_info info;
    struct qins_error err;
    struct qn_archive_tensor want = test_describe_tensor(&samples[i]);
    test_ok(qins_tensor(a, i, &info, &err), &err);
    assert_string_equal(info.name, samples[i].name);
    assert_int_equal(qins_find(a, samples[i].name), i);
    assert_int_equal(info.source_dtype, samples[i].dtype);
    assert_int_equal(info.n_elements, want.tensor.n_elements);
    assert_string_equal(info.codec, qn_codec_name(samples[i].plan.codec));
    assert_true(info.n_elements == 0 || info.archived_bytes > 0);
    size_t size = qins_dtype_size(info.dtype), n = (size_t)info.n_elements;
    assert_int_equal(
        size, qn_dtype_is_quantisable(info.source_dtype) ? 4 : qins_dtype_size(info.source_dtype));
    uint8_t *whole = malloc(n * size + 1), *data = test_tensor_bytes(&want.tensor);
    assert_non_null(whole);
    test_ok(qins_read(a, i, 0, n, whole + 1, n * size, &err), &err); /* unaligned on purpose */
    if (samples[i].plan.content == QN_CONTENT_LOSSLESS &&
        size == qins_dtype_size(want.tensor.dtype))
        assert_memory_equal(whole + 1, data, n * size);
    if (n)
        assert_int_equal(qins_read(a, i, 0, n, whole, n * size - 1, &err), QINS_ERR_USAGE);
    uint64_t rows = info.rank ? info.shape[0] : 1;
    if (n && rows > 1) {
        uint8_t *row = malloc(n / rows * size);
        assert_non_null(row);
        test_ok(qins_read_rows(a, i, rows - 1, 1, row, n / rows * size, &err), &err);
        assert_memory_equal(row, whole + 1 + (n - n / rows) * size, n / rows * size);
        free(row);
    }
    assert_int_equal(qins_read_rows(a, i, rows, 1, whole, SIZE_MAX, &err), QINS_ERR_USAGE);
    free(data);
    free(whole);
}

static void public_api(void **state)
{
    (void)state;
    qins_archive *a;
    struct qins_error err;
    struct qins_tensor_info info;
    test_ok(qins_open(&a, test_file("round.qins"), &err), &err);
    assert_int_equal(qins_tensor_count(a), N_SAMPLES);
    for (size_t i = 0; i < N_SAMPLES; i++)
        check_public_tensor(a, i);
    assert_int_equal(qins_tensor(a, N_SAMPLES, &info, &err), QINS_ERR_USAGE);
    assert_int_equal(qins_read(a, N_SAMPLES, 0, 0, &info, 0, &err), QINS_ERR_USAGE);
    assert_true(qins_find(a, "no such tensor") == SIZE_MAX);
    assert_true(qins_find(a, "") == SIZE_MAX);
    qins_close(a);
    qins_close(NULL);
    assert_int_equal(qins_open(&a, test_file("nothing.qins"), &err), QINS_ERR_IO);
    assert_null(a);
}

enum { N_READERS = 4, N_READS = 60 };

struct reading {
    const qins_archive *archive;
    uint64_t seed;
    unsigned wrong;
};

/* Rows read alone must be those of the whole tensor, whoever else reads. */
static void *read_rows(void *arg)
{
    struct reading *r = arg;
    static const size_t which[] = {1, 3, 24, 25};
    for (int i = 0; i < (test_briefly() ? N_READS / 4 : N_READS); i++) {
        struct qins_tensor_info info;
        struct qins_error err;
        size_t index = which[test_random(&r->seed) % 4];
        r->wrong += qins_tensor(r->archive, index, &info, &err) != QINS_OK;
        uint64_t rows = 1 + test_random(&r->seed) % 9;
        uint64_t row = test_random(&r->seed) % (info.shape[0] - rows);
        uint64_t n = info.n_elements / info.shape[0];
        float *some = calloc(rows * n, sizeof *some), *one = calloc(n, sizeof *one);
        r->wrong += !some || !one ||
                    qins_read_rows(r->archive, index, row, rows, some, rows * n * sizeof *some,
                                   &err) != QINS_OK ||
                    qins_read_rows(r->archive, index, row + rows - 1, 1, one, n * sizeof *one,
                                   &err) != QINS_OK ||
                    memcmp(some + (rows - 1) * n, one, n * sizeof *one) != 0;
        free(some);
        free(one);
    }
    return NULL;
}

static void several_threads(void **state)
{
    (void)state;
    qins_archive *a;
    struct qins_error err;
    struct reading readings[N_READERS];
    pthread_t threads[N_READERS];
    test_ok(qins_open(&a, test_file("round.qins"), &err), &err);
    for (uint64_t i = 0; i < N_READERS; i++) {
        readings[i] = (struct reading){a, i + 1, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, read_rows, &readings[i]), 0);
    }
    for (int i = 0; i < N_READERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(readings[i].wrong, 0);
    }
    qins_close(a);
}

/* Neither a spool on the way, nor what fresh memory holds, changes a byte. */
static void same_bytes(void **state)
{
    (void)state;
    struct qn_buf first = {0}, second = {0};
    struct qins_error err;
    test_ok(qn_read_whole(test_file("round.qins"), 1 << 30, &first, &err), &err);
    for (int perturb = 0; perturb < (test_briefly() ? 86 : 256); perturb += 85) {
        const char *path = test_file("again.qins");
        mallopt(M_PERTURB, perturb);
        write_archive(path, perturb == 85 ? test_file("again.part") : NULL);
        second.size = 0;
        test_ok(qn_read_whole(path, 1 << 30, &second, &err), &err);
        assert_int_equal(first.size, second.size);
        assert_memory_equal(first.data, second.data, first.size);
        unlink(path);
    }
    mallopt(M_PERTURB, 0);
    qn_buf_finish(&first);
    qn_buf_finish(&second);
}

/* HDF5 has its own bounds; ours must not be narrower than what tensors may be called. */
static void extreme_descriptions(void **state)
{
    (void)state;
    struct qn_archive_writer *w;
    struct qn_archive *a;
    struct qins_error err;
    char *name = malloc(65536);
    assert_non_null(name);
    memset(name, '/', 65535);
    name[65535] = '\0';
    const char *path = test_file("extreme.qins");
    struct test_tensor t = {name, QINS_F32, 1, {300}, LOSSLESS(QN_CODEC_HUFFMAN)};
    test_ok(qn_archive_writer_create(&w, path, "test", &err), &err);
    test_send(qn_archive_writer_sink(w), &t);
    struct qn_archive_tensor many = {.tensor = {(char[]){"many axes"}, QINS_U8, "", QINS_MAX_RANK}};
    for (unsigned i = 0; i < QINS_MAX_RANK; i++)
        many.tensor.shape[i] = i == 17 ? 3 : 1;
    many.tensor.n_elements = many.tensor.n_bytes = 3;
    qn_layout_init(&many.layout, many.tensor.rank, many.tensor.shape);
    struct qn_sink *sink = qn_archive_writer_sink(w);
    test_ok(sink->begin(sink, &many, &err), &err);
    test_send_chunk(sink, &many, (const uint8_t *)"abc", 0);
    test_ok(sink->end(sink, &err), &err);
    test_ok(qn_archive_writer_commit(w, NULL, NULL, &err), &err);
    qn_archive_writer_destroy(w);
    test_ok(qn_archive_open(&a, path, &err), &err);
    assert_string_equal(a->manifest.tensors[0].tensor.name, name);
    check_range(a, 1, (const uint8_t *)"abc", 0, 3);
    qn_archive_destroy(a);
    free(name);
}

/* What a tensor costs beyond its coded bytes: chunk header, HDF5's object, a row of the chunk
 * table, its part of the manifest. */
static void overhead(void **state)
{
    (void)state;
    enum { N = 120, LIMIT = 500 };
    struct qn_archive_writer *w;
    struct qn_archive *a;
    struct qins_error err;
    uint64_t size, coded = 0;
    const char *path = test_file("overhead.qins");
    test_ok(qn_archive_writer_create(&w, path, "safetensors", &err), &err);
    for (int i = 0; i < N; i++) {
        char name[80];
        snprintf(name, sizeof name, "model.layers.%d.self_attn.q_proj.weight", i);
        struct test_tensor t = {name,
                                QINS_F32,
                                2,
                                {16, 16 + (uint64_t)i},
                                QUANTISED(QN_CODEC_BITPACK, 127, QN_GROUP_ROW, 0)};
        snprintf(t.plan.reason, sizeof t.plan.reason,
                 "a matrix of %d elements: 8 bits, one scale a row", 16 * (16 + i));
        test_send(qn_archive_writer_sink(w), &t);
    }
    test_ok(qn_archive_writer_commit(w, NULL, &size, &err), &err);
    qn_archive_writer_destroy(w);
    test_ok(qn_archive_open(&a, path, &err), &err);
    for (size_t i = 0; i < N; i++)
        coded += a->chunks[i].size - QN_CHUNK_HEADER_SIZE;
    printf("overhead: %g bytes a tensor\n", (double)(size - coded) / N);
    assert_true(size - coded <= (uint64_t)N * LIMIT);
    qn_archive_destroy(a);
}

static void nothing_at_all(void **state)
{
    (void)state;
    struct qn_archive_writer *w;
    struct qn_archive *a;
    struct qins_error err;
    const char *path = test_file("nothing at all.qins");
    test_ok(qn_archive_writer_create(&w, path, "test", &err), &err);
    test_ok(qn_archive_writer_commit(w, NULL, NULL, &err), &err);
    assert_int_equal(qn_archive_writer_commit(w, NULL, NULL, &err), QINS_ERR_USAGE);
    qn_archive_writer_destroy(w);
    test_ok(qn_archive_open(&a, path, &err), &err);
    test_ok(qn_archive_check_hash(a, 3, NULL, &err), &err);
    assert_int_equal(a->manifest.n_tensors, 0);
    qn_archive_destroy(a);
}

static void wrong_order(void **state)
{
    (void)state;
    struct qn_archive_writer *w;
    struct qins_error err;
    const char *path = test_file("order.qins");
    test_ok(qn_archive_writer_create(&w, path, "test", &err), &err);
    struct qn_sink *sink = qn_archive_writer_sink(w);
    struct qn_digest leaf = {{0}};
    static const uint8_t payload[QN_CHUNK_HEADER_SIZE];
    assert_int_equal(sink->end(sink, &err), QINS_ERR_USAGE);
    assert_int_equal(sink->chunk(sink, payload, sizeof payload, &leaf, &err), QINS_ERR_USAGE);
    test_send_part(sink, &samples[0], 0, 0);
    assert_int_equal(sink->end(sink, &err), QINS_ERR_USAGE);
    assert_int_equal(qn_archive_writer_commit(w, NULL, NULL, &err), QINS_ERR_USAGE);
    qn_archive_writer_destroy(w);
    assert_false(qn_exists(path));
}

/* Those with a dot in front, too, where HIDDEN. */
static unsigned count_files(bool hidden)
{
    unsigned n = 0;
    DIR *d = opendir(test_folder);
    assert_non_null(d);
    for (const struct dirent *e = readdir(d); e; e = readdir(d)) /* NOLINT(concurrency-mt-unsafe) */
        n += e->d_name[0] != '.' || (hidden && strspn(e->d_name, ".") < strlen(e->d_name));
    closedir(d);
    return n;
}

static unsigned files_in_folder(void)
{
    return count_files(false);
}

static void stop_while_hashing(void *ctx, const char *what, const char *unit, uint64_t done,
                               uint64_t total)
{
    assert_string_equal(what, "hash the archive");
    assert_null(unit);
    assert_true(done <= total);
    atomic_store((atomic_bool *)ctx, true);
}

/* While the finished file is read back for its hash. */
static void interrupted(void **state)
{
    (void)state;
    const char *path = test_file("interrupted.qins");
    const unsigned before = count_files(true);
    for (unsigned threads = 1; threads <= 3; threads += 2) {
        atomic_bool stop = false;
        const struct qn_monitor monitor = {
            .progress = stop_while_hashing, .ctx = &stop, .stop = &stop};
        struct qn_archive_writer *w;
        struct qins_error err;
        test_ok(qn_archive_writer_create(&w, path, "test", &err), &err);
        qn_archive_writer_use(w, threads, &monitor);
        for (size_t i = 0; i < N_SAMPLES; i++)
            test_send(qn_archive_writer_sink(w), &samples[i]);
        assert_int_equal(qn_archive_writer_commit(w, NULL, NULL, &err), QINS_ERR_INTERRUPTED);
        assert_true(stop);
        qn_archive_writer_destroy(w);
        assert_int_equal(count_files(true), before);
    }
}

/* One tensor of one chunk, as far as the sink lets it come. */
static enum qins_status send_zeros(struct qn_sink *sink, const struct qn_archive_tensor *a,
                                   struct qins_error *err)
{
    static const uint8_t payload[28100];
    static const struct qn_digest leaf;
    enum qins_status st = sink->begin(sink, a, err);
    if (st == QINS_OK)
        st = sink->chunk(sink, payload, sizeof payload, &leaf, err);
    return st == QINS_OK ? sink->end(sink, err) : st;
}

/* The disk fills up at any point: one clear error, nothing left, and the process lives on. */
static void full_disk(void **state)
{
    (void)state;
    static const struct test_tensor t = {"t", QINS_F32, 2, {100, 70}, LOSSLESS(QN_CODEC_STORE)};
    struct rlimit old, limit;
    struct qins_error err;
    const char *path = test_file("full.qins");
    unsigned before = files_in_folder();
    int successes = 0;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_IGN);
    for (rlim_t size = 0; size < 33000; size += test_briefly() ? 1250 : 250) {
        struct qn_archive_writer *w;
        struct qn_archive_tensor a = test_describe_tensor(&t);
        limit = (struct rlimit){size, old.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        enum qins_status st = qn_archive_writer_create(&w, path, "test", &err);
        if (st == QINS_OK)
            st = send_zeros(qn_archive_writer_sink(w), &a, &err);
        if (st == QINS_OK)
            st = qn_archive_writer_commit(w, NULL, NULL, &err);
        qn_archive_writer_destroy(w);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
        if (st == QINS_OK) {
            successes++;
            unlink(path);
        } else {
            assert_int_equal(st, QINS_ERR_IO);
            assert_non_null(strstr(err.message, "File too large"));
        }
        assert_int_equal(files_in_folder(), before);
    }
    assert_in_range(successes, 1, 25);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),  cmocka_unit_test(fingerprints),
        cmocka_unit_test(public_api),  cmocka_unit_test(several_threads),
        cmocka_unit_test(same_bytes),  cmocka_unit_test(extreme_descriptions),
        cmocka_unit_test(overhead),    cmocka_unit_test(nothing_at_all),
        cmocka_unit_test(wrong_order), cmocka_unit_test(interrupted),
        cmocka_unit_test(full_disk),
    };
    return cmocka_run_group_tests(tests, test_folder_setup, test_folder_teardown);
}
