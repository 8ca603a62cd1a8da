/* Synthetic tensors that go through a sink, for tests of archives and spools. */
#ifndef QINS_TESTS_ARCHIVE_TESTING_H
#define QINS_TESTS_ARCHIVE_TESTING_H

#include "convert/shape.h"
#include "core/bytes.h"
#include "core/file.h"
#include "formats/archive/sink.h"
#include "tests/unit/testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct test_tensor {
    const char *name;
    enum qins_dtype dtype;
    unsigned rank;
    uint64_t shape[6];
    struct qn_plan_line plan; /* zero: lossless, stored */
    const struct qn_plan_block *blocks;
    size_t n_blocks;
};

/* For rows of 32. */
enum { TEST_FEEDBACK_ROW = 32 };
static inline const struct qn_feedback *test_feedback(void)
{
    enum { N = TEST_FEEDBACK_ROW };
    static float factor[N * N];
    static const struct qn_feedback feedback = {factor, NULL, N};
    for (size_t j = 0; j < N; j++)
        for (size_t k = j + 1; k < N; k++)
            factor[j * N + k] = 0.5f / (float)(k - j + 1);
    return &feedback;
}

static inline const char *test_error(const struct qins_error *err)
{
    static char line[1024];
    return qins_error_format(err, line, sizeof line);
}

#define test_ok(call, err)                                                                         \
    do {                                                                                           \
        if ((call) != QINS_OK)                                                                     \
            fail_msg("%s", test_error(err));                                                       \
    } while (0)

/* The description that a converter hands to a sink. Its name is not a copy. */
static inline struct qn_archive_tensor test_describe_tensor(const struct test_tensor *t)
{
    struct qn_archive_tensor a = {.plan = t->plan,
                                  .blocks = (struct qn_plan_block *)(uintptr_t)t->blocks,
                                  .n_blocks = t->n_blocks};
    struct qn_tensor_list list = {0};
    struct qins_error err;
    test_ok(qn_tensor_list_add(&list, t->name, strlen(t->name), t->dtype, NULL, t->rank, t->shape,
                               NULL, &err),
            &err);
    a.tensor = list.items[0];
    a.tensor.name = (char *)(uintptr_t)t->name;
    qn_tensor_list_finish(&list);
    qn_layout_init(&a.layout, t->rank, t->shape);
    return a;
}

/* Source bytes: bell-shaped floats, every bit pattern of an integer, 0 and 1. A function of the
 * tensor's name alone. Freed by the caller. */
static inline uint8_t *test_tensor_bytes(const struct qn_tensor *t)
{
    uint8_t *data = malloc((size_t)t->n_bytes + 1);
    uint64_t seed = qn_hash64(t->name, strlen(t->name)) | 1;
    size_t size = qins_dtype_size(t->dtype);
    assert_non_null(data);
    for (uint64_t i = 0; i < t->n_elements; i++) {
        uint64_t r = test_random(&seed);
        float sum = 0;
        for (int k = 0; k < 4; k++)
            sum += (float)(r >> (16 * k) & 0xffff) / 65536.0f - 0.5f;
        if (qn_dtype_is_float(t->dtype))
            qn_from_f32(t->dtype, &sum, data + i * size, 1);
        else if (t->dtype == QINS_BOOL)
            data[i] = r >> 63;
        else
            memcpy(data + i * size, &r, size);
    }
    return data;
}

static inline void test_send_chunk(struct qn_sink *sink, const struct qn_archive_tensor *a,
                                   const uint8_t *data, uint64_t index)
{
    struct qn_chunk_work work = {0};
    struct qn_buf payload = {0}, runs = {0};
    struct qins_error err;
    uint64_t first, count;
    size_t size = qins_dtype_size(a->tensor.dtype);
    qn_layout_chunk(&a->layout, index, &first, &count);
    test_ok(qn_shape_runs(a, first, count, test_feedback(), &runs, &err), &err);
    test_ok(qn_chunk_encode_runs((const struct qn_chunk_run *)(const void *)runs.data,
                                 runs.size / sizeof(struct qn_chunk_run), data + first * size,
                                 &work, &payload, &err),
            &err);
    qn_buf_finish(&runs);
    struct qn_digest leaf = qn_hash128(data + first * size, (size_t)count * size);
    test_ok(sink->chunk(sink, payload.data, payload.size, &leaf, &err), &err);
    qn_buf_finish(&payload);
    qn_chunk_work_finish(&work);
}

/* Begins tensor T at chunk FIRST_CHUNK (the begin call is left out unless that is 0) and stops
 * before chunk END (UINT64_MAX: goes through to the end call). */
static inline void test_send_part(struct qn_sink *sink, const struct test_tensor *t,
                                  uint64_t first_chunk, uint64_t end)
{
    struct qn_archive_tensor a = test_describe_tensor(t);
    struct qins_error err;
    uint8_t *data = test_tensor_bytes(&a.tensor);
    if (a.tensor.rank == 0)
        memcpy(a.inline_data, data, (size_t)a.tensor.n_bytes);
    if (a.plan.content != QN_CONTENT_LOSSLESS && a.plan.group_kind == QN_GROUP_TENSOR)
        a.tensor_scale = 2.0f; /* no bell of four uniforms is wider */
    if (first_chunk == 0)
        test_ok(sink->begin(sink, &a, &err), &err);
    for (uint64_t i = first_chunk; i < a.layout.n_chunks && i < end; i++)
        test_send_chunk(sink, &a, data, i);
    if (end == UINT64_MAX)
        test_ok(sink->end(sink, &err), &err);
    free(data);
}

static inline void test_send(struct qn_sink *sink, const struct test_tensor *t)
{
    test_send_part(sink, t, 0, UINT64_MAX);
}

static char test_folder[64];

static inline int test_folder_setup(void **state)
{
    (void)state;
    snprintf(test_folder, sizeof test_folder, "/tmp/qins-test-XXXXXX");
    return mkdtemp(test_folder) ? 0 : -1;
}

static inline int test_folder_teardown(void **state)
{
    (void)state;
    char line[128];
    snprintf(line, sizeof line, "rm -rf '%s'", test_folder);
    return system(line); /* NOLINT(cert-env33-c) */
}

static inline const char *test_file(const char *name)
{
    static char paths[4][256];
    static unsigned next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", test_folder, name);
    return path;
}

#endif
