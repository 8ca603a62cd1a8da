/* Helpers for tests of checkpoint readers and writers. */
#ifndef QINS_TESTS_CHECKPOINT_TESTING_H
#define QINS_TESTS_CHECKPOINT_TESTING_H

#include "core/file.h"
#include "formats/checkpoint.h"
#include "formats/tensor_writer.h"
#include "tests/unit/testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

static char test_folder[64];

__attribute__((format(printf, 1, 2))) static inline const char *test_path(const char *format, ...)
{
    static char paths[4][512];
    static unsigned next;
    char *path = paths[next++ % 4];
    va_list ap;
    va_start(ap, format);
    int n = snprintf(path, sizeof paths[0], "%s/", test_folder);
    vsnprintf(path + n, sizeof paths[0] - (size_t)n, format, ap);
    va_end(ap);
    return path;
}

__attribute__((format(printf, 1, 2))) static inline void test_shell(const char *format, ...)
{
    char line[2048];
    va_list ap;
    va_start(ap, format);
    vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    assert_int_equal(system(line), 0); /* NOLINT(cert-env33-c) */
}

static inline const char *test_env(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value ? value : otherwise;
}

/* Runs the Python fixtures SCRIPT of tests/e2e. */
__attribute__((format(printf, 2, 3))) static inline void test_python(const char *script,
                                                                     const char *format, ...)
{
    char arguments[1024];
    va_list ap;
    va_start(ap, format);
    vsnprintf(arguments, sizeof arguments, format, ap);
    va_end(ap);
    test_shell("'%s' '%s/tests/e2e/%s' %s", test_env("QINS_PYTHON", "/usr/bin/python3"),
               test_env("QINS_SOURCE_ROOT", "."), script, arguments);
}

static inline void test_folder_create(void)
{
    snprintf(test_folder, sizeof test_folder, "/tmp/qins-test-XXXXXX");
    assert_non_null(mkdtemp(test_folder));
}

static inline void test_folder_remove(void)
{
    test_shell("rm -rf '%s'", test_folder);
}

/* Group fixtures of the tests that read what fixtures_safetensors_gguf.py makes. */
static inline int test_make_fixtures(void **state)
{
    (void)state;
    test_folder_create();
    test_python("fixtures_safetensors_gguf.py", "make '%s'", test_folder);
    return 0;
}

static inline int test_remove_fixtures(void **state)
{
    (void)state;
    test_folder_remove();
    return 0;
}

static inline char *test_slurp(const char *path, size_t *size)
{
    struct qn_buf b = {0};
    struct qins_error err;
    if (qn_read_whole(path, 1u << 30, &b, &err) != QINS_OK)
        fail_msg("%s: %s", path, err.message);
    assert_int_equal(qn_buf_append(&b, "", 1, &err), QINS_OK);
    if (size)
        *size = b.size - 1;
    return (char *)b.data;
}

static inline void test_files_equal(const char *a, const char *b)
{
    size_t na, nb;
    char *x = test_slurp(a, &na), *y = test_slurp(b, &nb);
    assert_int_equal(na, nb);
    assert_memory_equal(x, y, na);
    free(x);
    free(y);
}

static inline struct qn_checkpoint *test_open(const struct qn_checkpoint_ops *ops, const char *path)
{
    struct qn_checkpoint *ck = NULL;
    struct qins_error err;
    char line[1024];
    if (ops->open(&ck, path, NULL, &err) != QINS_OK)
        fail_msg("%s", qins_error_format(&err, line, sizeof line));
    return ck;
}

/* All bytes of a tensor, read in pieces of odd lengths. */
static inline uint8_t *test_read_all(struct qn_checkpoint *ck, size_t i)
{
    const struct qn_tensor *t = &ck->tensors.items[i];
    uint8_t *data = malloc(t->n_bytes + 1);
    size_t element = qins_dtype_size(t->dtype);
    struct qins_error err;
    assert_non_null(data);
    for (uint64_t at = 0, step; at < t->n_bytes; at += step) {
        step = 7 * element < t->n_bytes - at ? 7 * element : t->n_bytes - at;
        assert_int_equal(ck->ops->read(ck, i, at, data + at, (size_t)step, &err), QINS_OK);
    }
    return data;
}

/* The description that the Python fixtures write: "crc32 dtype shape name" lines. */
static inline char *test_describe(struct qn_checkpoint *ck)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    for (size_t i = 0; i < ck->tensors.count; i++) {
        const struct qn_tensor *t = &ck->tensors.items[i];
        char shape[256];
        uint8_t *data = test_read_all(ck, i);
        fprintf(f, "%08lx %s %s %s\n", crc32(0, data, (uInt)t->n_bytes), qins_dtype_name(t->dtype),
                qn_shape_format(t->rank, t->shape, shape, sizeof shape), t->name);
        free(data);
    }
    fclose(f);
    return text;
}

static inline void test_matches_description(struct qn_checkpoint *ck, const char *expect)
{
    char *got = test_describe(ck), *want = test_slurp(expect, NULL);
    assert_string_equal(got, want);
    free(got);
    free(want);
}

/* Writes every tensor of CK to PATH, in pieces. */
static inline enum qins_status test_write(const struct qn_tensor_writer_ops *ops,
                                          struct qn_checkpoint *ck, const char *path,
                                          struct qins_error *err)
{
    struct qn_tensor_writer *w = NULL;
    enum qins_status st = ops->create(&w, path, &ck->tensors, &ck->attachments, err);
    for (size_t i = 0; i < ck->tensors.count && st == QINS_OK; i++) {
        uint64_t size = ck->tensors.items[i].n_bytes;
        uint64_t step = 5 * qins_dtype_size(ck->tensors.items[i].dtype);
        uint8_t *data = test_read_all(ck, i);
        for (uint64_t at = 0; at < size && st == QINS_OK; at += step)
            st = ops->write(w, i, data + at, (size_t)(step < size - at ? step : size - at), err);
        free(data);
    }
    if (st == QINS_OK)
        st = ops->commit(w, err);
    if (w)
        ops->destroy(w);
    return st;
}

/* Writes SIZE bytes, opens them with OPS and expects failure with MESSAGE in the error's line. */
static inline void test_refused(const struct qn_checkpoint_ops *ops, const char *name,
                                const void *data, size_t size, enum qins_status status,
                                const char *message)
{
    struct qn_checkpoint *ck = NULL;
    struct qins_error err = {0};
    char line[1024];
    const char *path = test_path("%s", name);
    assert_int_equal(qn_write_whole(path, data, size, &err), QINS_OK);
    enum qins_status st = ops->open(&ck, path, NULL, &err);
    if (st == QINS_OK)
        st = qn_tensor_list_check_unique(&ck->tensors, &err);
    if (ck)
        ops->destroy(ck);
    qins_error_format(&err, line, sizeof line);
    if (st != status || !strstr(line, message))
        fail_msg("status %d '%s' instead of %d '%s'", (int)st, line, (int)status, message);
    assert_int_equal(err.status, st);
}

#endif
